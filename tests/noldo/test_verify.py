"""`verify` finds each planted fault and names all of them; `digest` is about the data alone."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from noldo.digest import digest
from noldo.errors import StoreError
from noldo.manifest import RequestCounts, RunReport, read_manifest, write_manifest, write_run_report
from noldo.store import shard_path, write_rows, write_shard
from noldo.verify import verify
from tests.noldo.made_up_data_set import LAYOUT, DataSet, small_layout, write_data_set, write_index

Plant = Callable[[DataSet], None]


def shard_of(data_set: DataSet, name: str, shard: int) -> Path:
    return shard_path(data_set.store, LAYOUT.spec(name), shard)


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    path.write_bytes(content)


def change_manifest(data_set: DataSet, **changes: object) -> None:
    path = data_set.root / "nol.json"
    write_manifest(path, read_manifest(path).model_copy(update=changes))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def put_data_into_a_refused_row(data_set: DataSet) -> None:
    spec = LAYOUT.spec("s1_grd_10m")
    items = data_set.pixels[spec.name][:4].copy()
    items[3, 0, 0, 0, 0] = 7
    write_shard(data_set.store, spec, shard=0, items=items)


def change_a_label(data_set: DataSet) -> None:
    spec = LAYOUT.spec("dynamic_world_10m")
    items = data_set.pixels[spec.name][4:8].copy()
    items[1, 0, 0, 0] = (items[1, 0, 0, 0] + 1) % 9
    write_shard(data_set.store, spec, shard=1, items=items)


def swap_metadata(data_set: DataSet) -> None:
    path = data_set.store / "s2_scl_20m/zarr.json"
    path.write_text(path.read_text().replace('"scale": 1.0', '"scale": 2.0'))


def write_other_axis(data_set: DataSet) -> None:
    from noldo.codecs import LABEL_CODEC

    (data_set.store / "x_20m/c/0").write_bytes(LABEL_CODEC.encode(np.arange(6, dtype=np.int32)))


PLANTS: dict[str, tuple[Plant, str]] = {
    "a flipped byte": (lambda d: flip(shard_of(d, "s2_l1c_10m", 1), 5), "s2_l1c_10m/c/1/0/0/0/0, chunk 0"),
    "a flipped byte of the index": (
        lambda d: flip(shard_of(d, "s2_l2a_20m", 0), -7),
        "s2_l2a_20m/c/0/0/0/0/0, index",
    ),
    "a lost shard": (lambda d: shard_of(d, "s2_scl_20m", 2).unlink(), "shard 2 of s2_scl_20m is missing"),
    "a cut shard": (lambda d: cut(shard_of(d, "s1_grd_10m", 0)), "s1_grd_10m/c/0/0/0/0/0"),
    "a foreign file": (lambda d: (d.store / "notes.txt").touch(), "notes.txt: does not belong"),
    "what a killed writer left": (
        lambda d: (d.store / "s1_grd_10m/c/0/0/0/0/.0.partial").touch(),
        ".0.partial: does not belong",
    ),
    "a lost small array": (lambda d: (d.store / "split/c/0").unlink(), "split/c/0: missing"),
    "a damaged small array": (lambda d: flip(d.store / "time_s2/c/0/0", 3), "time_s2/c/0/0"),
    "a lost axis": (lambda d: (d.store / "season/c/0").unlink(), "season/c/0: missing"),
    "a damaged axis": (lambda d: flip(d.store / "y_60m/c/0", 3), "y_60m/c/0"),
    "another axis": (write_other_axis, "x_20m/c/0: not the positions"),
    "lost metadata": (lambda d: (d.store / "x_ul/zarr.json").unlink(), "x_ul/zarr.json: missing"),
    "changed metadata": (swap_metadata, "s2_scl_20m/zarr.json: differs from its copy"),
    "garbled metadata": (lambda d: (d.store / "id/zarr.json").write_text("{"), "id/zarr.json: differs"),
    "a lost index": (lambda d: (d.root / "nol.parquet").unlink(), "nol.parquet: can't be read"),
    "a garbled index": (
        lambda d: (d.root / "nol.parquet").write_text("no"),
        "nol.parquet: not a parquet file",
    ),
    "another id": (lambda d: write_index(d, changed={"id": list(range(10))}), "index: id of location 100"),
    "another status": (
        lambda d: write_index(d, changed={"status": ["kept"] * 10}),
        "index: status of location 121, 163 is not",
    ),
    "an unknown split": (
        lambda d: write_index(d, changed={"split": ["holdout"] * 10}),
        "split of location 100, 107, 114, 121, 128 and 5 more",
    ),
    "another corner": (lambda d: write_rows(d.store, {"x_ul": d.rows["x_ul"] + 60}), "index: x_ul"),
    "another time": (lambda d: write_rows(d.store, {"time_s1": d.rows["time_s1"] + 1}), "index: time_s1"),
    "another cut": (lambda d: write_index(d, changed={"shard": [0] * 10}), "index: shard of location 128"),
    "data in a refused row": (put_data_into_a_refused_row, "row 3 was not kept, but holds data"),
    "another label": (change_a_label, "dynamic_world_10m/c/1/0/0/0: labels of row 5"),
    "a lost manifest": (lambda d: (d.root / "nol.json").unlink(), "nol.json: can't be read"),
    "a garbled manifest": (lambda d: (d.root / "nol.json").write_text("[]"), "nol.json: not a JSON object"),
    "another number kept": (
        lambda d: change_manifest(d, locations_kept=3),
        "locations_kept is 3, but the store has 8",
    ),
    "another class count": (
        lambda d: change_manifest(d, class_counts={"dynamic_world_10m": {"winter": (1,)}}),
        "class_counts of dynamic_world_10m",
    ),
    "another split count": (lambda d: change_manifest(d, split_counts={"train": 8}), "split_counts"),
    "another patch size": (lambda d: change_manifest(d, patch_size_px=264), "patch_size_px is 264"),
}


def test_a_whole_data_set_has_no_problems(data_set: DataSet) -> None:
    seen: list[tuple[int, int]] = []
    found = verify(data_set.root, progress=lambda done, total: seen.append((done, total)))
    assert found.problems == ()
    assert found.num_shards == 27
    assert seen == [(done, 27) for done in range(1, 28)]


@pytest.mark.parametrize("fault", PLANTS)
def test_each_planted_fault_is_found_and_named(own_data_set: DataSet, fault: str) -> None:
    plant, message = PLANTS[fault]
    plant(own_data_set)
    problems = verify(own_data_set.store).problems
    assert any(message in problem for problem in problems), problems
    assert all("\n" not in problem for problem in problems)


def test_all_faults_are_named_and_not_just_the_first(own_data_set: DataSet) -> None:
    path = shard_of(own_data_set, "s2_l1c_10m", 0)
    first = int(np.frombuffer(path.read_bytes()[-196:-4], "<u8")[1])
    flip(path, 5)
    flip(path, first + 5)
    shard_of(own_data_set, "s2_l1c_10m", 2).unlink()
    (own_data_set.store / "notes.txt").touch()
    (own_data_set.root / "nol.json").unlink()
    problems = verify(own_data_set.root).problems
    assert len(problems) == 5
    assert sum("s2_l1c_10m/c/0" in problem for problem in problems) == 2


def test_a_folder_without_store_is_an_error(tmp_path: Path) -> None:
    for check in (verify, digest):
        with pytest.raises(StoreError, match="no store here"):
            check(tmp_path)


def test_the_digest_does_not_depend_on_order_codec_or_cut(data_set: DataSet, tmp_path: Path) -> None:
    expected = digest(data_set.root)
    others = {
        "backwards": write_data_set(tmp_path / "backwards", backwards=True),
        "fast": write_data_set(tmp_path / "fast", layout=small_layout(codec="fast")),
        "cut": write_data_set(tmp_path / "cut", layout=small_layout(locations_per_shard=3)),
    }
    assert {name: digest(other.store) for name, other in others.items()} == dict.fromkeys(others, expected)


def test_counters_times_and_names_are_not_in_the_digest(own_data_set: DataSet) -> None:
    before = digest(own_data_set.root)
    report = RunReport(requests=RequestCounts(pixels=99), versions={"numpy": "9"}, seconds={"pack": 1.5})
    write_run_report(own_data_set.root / "nol.run.json", report)
    change_manifest(own_data_set, name="other", config={"source": "elsewhere"})
    assert digest(own_data_set.root) == before
    (own_data_set.root / "nol.run.json").unlink()
    assert digest(own_data_set.root) == before


@pytest.mark.parametrize(
    "plant",
    [
        change_a_label,
        lambda d: write_rows(d.store, {"time_s1": d.rows["time_s1"] + 1}),
        lambda d: write_index(d, changed={"reason": ["other"] * 10}),
        lambda d: change_manifest(d, synthetic=False),
    ],
    ids=["pixel", "row", "index", "manifest"],
)
def test_any_change_of_the_data_changes_the_digest(own_data_set: DataSet, plant: Plant) -> None:
    before = digest(own_data_set.root)
    plant(own_data_set)
    assert digest(own_data_set.root) != before


@pytest.mark.parametrize(
    "lost", ["nol.json", "nol.parquet", "nol.zarr/status/c/0", "nol.zarr/s1_grd_10m/c/0/0/0/0/0"]
)
def test_there_is_no_digest_of_half_a_data_set(own_data_set: DataSet, lost: str) -> None:
    (own_data_set.root / lost).unlink()
    with pytest.raises(StoreError):
        digest(own_data_set.root)


def test_the_metadata_copy_in_the_group_is_the_metadata(data_set: DataSet) -> None:
    group = json.loads((data_set.store / "zarr.json").read_bytes())
    for name, document in group["consolidated_metadata"]["metadata"].items():
        assert json.loads((data_set.store / name / "zarr.json").read_bytes()) == document

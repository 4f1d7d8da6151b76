"""Comparing label sources of a store, as a function and as a command."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from noldo import __main__ as command
from noldo.compare_figure import write_figure
from noldo.compare_labels import compare_labels
from noldo.compare_table import CSV_COLUMNS, render, to_csv
from noldo.confusion import LabelComparison
from noldo.errors import ConfigError, ShardMissingError, StoreError
from noldo.legend import DYNAMIC_WORLD
from noldo.rows import SPLITS
from tests.noldo.label_store import write_label_store

REFUSED = (3, 5)
SPLIT = np.array([0, 0, 1, 0, 2, 1, 0, 0, 2, 0], np.uint8)


def made_up_labels(*, seed: int = 0) -> dict[str, np.ndarray]:
    """(location, season, y, x): experts leave holes, Dynamic World errs in a third of the pixels."""
    random = np.random.default_rng(seed)
    shape = (10, 2, 12, 12)
    clean = random.integers(0, 9, shape).astype(np.uint8)
    noisy = np.where(random.random(shape) < 0.33, random.integers(0, 9, shape), clean).astype(np.uint8)
    clean[random.random(shape) < 0.3] = 255
    noisy[random.random(shape) < 0.05] = 255
    osm = random.integers(0, 13, shape).astype(np.uint8)
    return {"dynamic_world": noisy, "expert": clean, "osm": osm}


@pytest.fixture(scope="module")
def labels() -> dict[str, np.ndarray]:
    return made_up_labels()


@pytest.fixture(scope="module")
def store(labels: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labels")
    return write_label_store(root, labels, split=SPLIT, refused=REFUSED)


def brute_force(labels: dict[str, np.ndarray], rows: list[int], seasons: list[int]) -> np.ndarray:
    counts = np.zeros((9, 9), np.int64)
    for row in rows:
        for season in seasons:
            reference = labels["expert"][row, season].ravel().tolist()
            other = labels["dynamic_world"][row, season].ravel().tolist()
            for i, j in zip(reference, other, strict=True):
                if 255 not in (i, j):
                    counts[i, j] += 1
    return counts


@pytest.mark.parametrize(
    ("split", "season", "seasons"),
    [(None, None, [0, 1]), ("train", None, [0, 1]), ("test", "spring", [1]), (None, "winter", [0])],
)
def test_kept_pixels_are_counted_as_by_hand(
    store: Path,
    labels: dict[str, np.ndarray],
    split: str | None,
    season: str | None,
    seasons: list[int],
) -> None:
    rows = [row for row in range(10) if row not in REFUSED]
    if split is not None:
        rows = [row for row in rows if SPLIT[row] == SPLITS.index(split)]
    found = compare_labels(store, of="expert", against="dynamic_world", split=split, season=season)
    expected = brute_force(labels, rows, seasons)
    assert np.array_equal(found.counts, expected)
    assert found.num_locations == len(rows)
    assert found.noise_rate == pytest.approx(1 - np.trace(expected) / expected.sum())


def test_the_size_of_shards_plays_no_part(store: Path, labels: dict[str, np.ndarray], tmp_path: Path) -> None:
    write_label_store(tmp_path, labels, split=SPLIT, refused=REFUSED, locations_per_shard=3)
    one = compare_labels(store, of="expert", against="dynamic_world")
    two = compare_labels(tmp_path, of="expert", against="dynamic_world")
    assert one.model_copy(update={"store": ""}) == two.model_copy(update={"store": ""})


def test_another_subset_of_a_folder_is_found_by_its_name(
    labels: dict[str, np.ndarray], tmp_path: Path
) -> None:
    write_label_store(tmp_path, {name: values[:, :1] for name, values in labels.items()}, subset="dw")
    found = compare_labels(tmp_path, of="expert", against="osm", subset="dw")
    assert found.store.endswith("dw.zarr")
    assert found.seasons == ("winter",)


def test_only_shards_with_kept_locations_are_read(labels: dict[str, np.ndarray], tmp_path: Path) -> None:
    store = write_label_store(tmp_path, labels, refused=(4, 5, 6, 7))
    (store / "expert_10m/c/1/0/0/0").unlink()
    assert compare_labels(store, of="expert", against="osm").num_locations == 6


def test_a_lost_shard_is_an_error_and_not_unlabelled(labels: dict[str, np.ndarray], tmp_path: Path) -> None:
    store = write_label_store(tmp_path, labels)
    (store / "expert_10m/c/1/0/0/0").unlink()
    with pytest.raises(ShardMissingError, match="shard 1 of expert_10m is missing"):
        compare_labels(store, of="expert", against="dynamic_world")


def test_progress_goes_shard_by_shard(store: Path) -> None:
    told: list[tuple[int, int]] = []
    compare_labels(store, of="expert", against="osm", progress=lambda done, total: told.append((done, total)))
    assert told == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"of": "dfc2020", "against": "osm"},
            StoreError,
            "no labels 'dfc2020'; it has dynamic_world, expert, osm",
        ),
        ({"of": "osm", "against": "s2_scl"}, StoreError, "no labels 's2_scl'"),
        ({"of": "osm", "against": "osm"}, ConfigError, "osm against itself"),
        ({"of": "osm", "against": "expert", "season": "autumn"}, ConfigError, "has winter, spring"),
        (
            {"of": "osm", "against": "expert", "split": "valid"},
            ConfigError,
            "expected one of train, val, test",
        ),
    ],
)
def test_what_can_not_be_compared_is_said(
    store: Path, arguments: dict[str, str], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as found:
        compare_labels(store, **arguments)  # type: ignore[arg-type]
    assert "\n" not in str(found.value)


def test_a_store_without_kept_locations_says_so(labels: dict[str, np.ndarray], tmp_path: Path) -> None:
    store = write_label_store(tmp_path, labels, refused=tuple(range(10)))
    with pytest.raises(StoreError, match="no location was kept"):
        compare_labels(store, of="osm", against="expert")


def test_a_split_without_kept_locations_says_so(labels: dict[str, np.ndarray], tmp_path: Path) -> None:
    store = write_label_store(tmp_path, labels)
    with pytest.raises(StoreError, match="no location was kept in split test"):
        compare_labels(store, of="osm", against="expert", split="test")


def test_labels_that_never_meet_are_an_error(tmp_path: Path) -> None:
    maps = np.full((2, 4, 1, 6, 6), 255, np.uint8)
    maps[0, ..., :3], maps[1, ..., 3:] = 1, 1
    store = write_label_store(tmp_path, {"dynamic_world": maps[0], "expert": maps[1]})
    with pytest.raises(StoreError, match="no pixel of 4 locations is labelled by both"):
        compare_labels(store, of="expert", against="dynamic_world")


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = 0
    try:
        command.main([str(argument) for argument in ("compare-labels", *arguments)])
    except SystemExit as end:
        code = int(end.code or 0)
    return code, *capsys.readouterr()


def test_the_command_prints_matrix_and_verdict(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, store, "--of", "osm", "--against", "dynamic_world")
    assert (code, err) == (0, "")
    assert out.startswith("dynamic_world as osm sees it: 8 locations, all splits, winter, spring\n")
    assert "osm_land_use read as dynamic_world (CromSS repository" in out
    assert "without counterpart (dynamic_world snow_and_ice" in out
    assert "Never in osm, so their rows of T are unknown: snow_and_ice" in out
    assert all(f" {name} " in out for name in DYNAMIC_WORLD.classes)


def test_the_json_is_the_whole_record(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, store, "--of", "osm", "--against", "dynamic_world", "--json")
    assert code == 0
    found = LabelComparison.model_validate(json.loads(out))
    assert found == compare_labels(store, of="osm", against="dynamic_world")
    assert json.loads(out)["noise_matrix"][8] is None


def test_the_csv_holds_every_pair(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "t.csv"
    code, *_ = run(capsys, store, "--of", "osm", "--against", "dynamic_world", "--csv", out)
    assert code == 0
    found = compare_labels(store, of="osm", against="dynamic_world")
    with out.open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert tuple(lines[0]) == CSV_COLUMNS
    assert len(lines) == 81
    for line in lines:
        i, j = int(line["reference_id"]), int(line["other_id"])
        assert int(line["pixels"]) == found.counts[i][j]
        assert (line["probability"] == "") == (line["reference"] == "snow_and_ice")
        if line["probability"]:
            assert float(line["probability"]) == found.transition()[i, j]


def test_equal_comparisons_are_equal_bytes(store: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        found = compare_labels(store, of="osm", against="dynamic_world")
        write_figure(tmp_path / f"{name}.png", found)
        (tmp_path / f"{name}.txt").write_bytes(render(found).encode() + to_csv(found))
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    assert (tmp_path / "one.txt").read_bytes() == (tmp_path / "two.txt").read_bytes()


def test_the_figure_is_a_picture(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "t.png"
    assert run(capsys, store, "--of", "expert", "--against", "dynamic_world", "--figure", out)[0] == 0
    assert out.read_bytes().startswith(b"\x89PNG")
    assert out.stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--of", "expert", "--against", "expert"], 1, "expert against itself"),
        (["--of", "expert"], 2, "against"),
        (["--of", "expert", "--against", "dfc2020"], 1, "no labels 'dfc2020'"),
    ],
)
def test_mistakes_are_one_line(
    store: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, message: str
) -> None:
    found, out, err = run(capsys, store, *arguments)
    assert (found, out) == (code, "")
    assert message in err
    assert err.count("\n") == 1

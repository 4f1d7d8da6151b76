"""The writer that every importer shares."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from builders.import_items import BadItemError, Item, Placement, Reading
from builders.import_store import ImportTarget, run_import
from noldo.digest import digest
from noldo.errors import BuildInUseError, ConfigError, InputError
from noldo.index import read_index
from noldo.info import info
from noldo.manifest import read_manifest, read_run_report
from noldo.reader import StoreReader
from noldo.rows import NO_TIME
from noldo.status import Status
from noldo.verify import verify
from tests.builders.made_up_items import (
    SEASONS,
    SIDE_PX,
    SPECS,
    failing_reader,
    made_up_arrays,
    made_up_plan,
    made_up_reading,
)


def target(out: Path) -> ImportTarget:
    return ImportTarget(out, locations_per_shard=4)


def files_of(out: Path) -> dict[str, bytes]:
    """All that an import leaves for users, but for the record of the run, which has times."""
    return {
        path.relative_to(out).as_posix(): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and not path.relative_to(out).parts[0].startswith(".") and ".run." not in path.name
    }


def pixels_of(out: Path, name: str, row: int, *, subset: str = "nol") -> np.ndarray:
    reader = StoreReader.open(out / f"{subset}.zarr")
    return reader.pixels(reader.layout.spec(name), row=row, seasons=range(len(reader.layout.season_names)))


def test_an_import_is_a_data_set_that_verifies_and_has_a_digest(tmp_path):
    plan = made_up_plan()
    summary = run_import(plan, made_up_reading, target(tmp_path / "out"))
    assert verify(tmp_path / "out").problems == ()
    assert len(digest(tmp_path / "out")) == 64
    assert info(tmp_path / "out")["locations"] == 10
    assert summary.imported.totals.kept == 10
    for at, item in enumerate(plan.items):
        for name, expected in made_up_arrays(item).items():
            np.testing.assert_array_equal(pixels_of(tmp_path / "out", name, at), expected)


def test_index_and_small_arrays_hold_what_the_importer_said(tmp_path):
    run_import(made_up_plan(), made_up_reading, target(tmp_path))
    table = read_index(tmp_path / "nol.parquet").to_pylist()
    assert [row["id"] for row in table] == [100 + 3 * at for at in range(10)]
    row = table[2]
    assert (row["name"], row["split"], row["status"], row["shard"], row["row"]) == (
        *("patch 2", "test", "kept"),
        *(0, 2),
    )
    assert row["georeference"] == "approximate"
    assert row["source_bounds"] == [10.4, 47.7, 10.6, 47.9]
    assert row["window"] == [0, SIDE_PX, 0, SIDE_PX]
    labels = made_up_arrays(made_up_plan().items[2])["dynamic_world_10m"]
    assert row["class_counts"] == [[int((season == one).sum()) for one in range(9)] for season in labels]
    reader = StoreReader.open(tmp_path / "nol.zarr")
    assert reader.row_values("time_s2")[2].tolist() == [1_600_000_000, 1_610_000_000]
    assert reader.row_values("time_s1")[2].tolist() == [1_600_000_100, NO_TIME]
    assert reader.row_values("window")[2].tolist() == [0, SIDE_PX, 0, SIDE_PX]
    assert reader.row_values("x_ul")[2] == 600_240


def test_the_manifest_says_where_the_data_come_from_and_what_was_changed(tmp_path):
    run_import(made_up_plan(notes=("Handle with care.",)), made_up_reading, target(tmp_path / "mine"))
    manifest = read_manifest(tmp_path / "mine" / "nol.json")
    assert manifest.name == "mine"
    assert manifest.config == {"importer": "made-up", "version": 1, "seed": 0}
    assert manifest.georeference == "approximate"
    assert manifest.notes == ("Handle with care.", "Pixels that were odd: 45 pixels.")
    assert sum(manifest.class_shares.values()) == pytest.approx(1)
    assert manifest.split_counts == {"train": 7, "val": 0, "test": 3}
    assert manifest.products["s1_grd"] == ("VV", "VH")
    assert next(one for one in manifest.arrays if one.product == "s1_grd").quantization == "ssl4eo_uint8"
    assert read_run_report(tmp_path / "mine" / "nol.run.json").seconds["import"] > 0


def test_a_bad_item_is_a_masked_row_with_its_reason(tmp_path):
    faults = {
        3: BadItemError("missing file", "p3/B4.tif"),
        7: BadItemError("missing file", "p7/B4.tif"),
        8: BadItemError("id mismatch", "8, 9"),
    }
    summary = run_import(made_up_plan(), failing_reader(faults), target(tmp_path))
    assert verify(tmp_path).problems == ()
    assert dict(summary.imported.reasons) == {"missing file": 2, "id mismatch": 1}
    assert "skipped, missing file: 2" in summary.render()
    row = read_index(tmp_path / "nol.parquet").to_pylist()[3]
    assert (row["status"], row["reason"], row["id"]) == ("bad_source", "missing file: p3/B4.tif", 109)
    assert (pixels_of(tmp_path, "s2_l1c_10m", 3) == 65535).all()
    assert (pixels_of(tmp_path, "s1_grd_uint8_10m", 3) == 0).all()
    assert read_manifest(tmp_path / "nol.json").status_counts == {"kept": 7, "bad_source": 3}


def test_a_row_that_was_masked_before_keeps_its_status(tmp_path):
    items = list(made_up_plan().items)
    items[1] = replace(items[1], status=Status.NO_SCENE, reason="no usable scene: none")
    summary = run_import(
        made_up_plan(items=items), failing_reader({1: RuntimeError("must not be read")}), target(tmp_path)
    )
    assert verify(tmp_path).problems == ()
    assert dict(summary.imported.reasons) == {"no_scene": 1}


def test_an_item_of_another_size_is_bad_unless_it_may_be_smaller(tmp_path):
    def read(item: Item) -> Reading:
        return Reading(made_up_arrays(item, side_px=6 if item.key == 1 else SIDE_PX))

    strict = run_import(made_up_plan(), read, target(tmp_path / "strict"))
    assert dict(strict.imported.reasons) == {"wrong size": 1}
    assert "6 x 6" in read_index(tmp_path / "strict/nol.parquet").to_pylist()[1]["reason"]

    run_import(made_up_plan(may_be_smaller=True), read, target(tmp_path / "loose"))
    assert verify(tmp_path / "loose").problems == ()
    small = made_up_arrays(made_up_plan().items[1], side_px=6)
    labels = pixels_of(tmp_path / "loose", "dynamic_world_10m", 1)
    np.testing.assert_array_equal(labels[:, :6, :6], small["dynamic_world_10m"])
    assert (labels[:, 6:] == 255).all()
    assert (labels[:, :, 6:] == 255).all()
    windows = StoreReader.open(tmp_path / "loose/nol.zarr").row_values("window")
    assert windows[:2].tolist() == [[0, 12, 0, 12], [0, 6, 0, 6]]


def cut(arrays: dict[str, np.ndarray], *, rows: int, columns: int) -> dict[str, np.ndarray]:
    """Arrays of 10 m and 20 m that agree on another size."""
    steps = {spec.name: spec.resolution_m // 10 for spec in SPECS}
    return {
        name: array[..., : rows // steps[name], : columns // steps[name]] for name, array in arrays.items()
    }


MISSHAPEN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a single pixel": lambda array: array[..., :1, :1],
    "a row": lambda array: array[..., :1, :],
    "a column": lambda array: array[..., :, :1],
    "nothing": lambda array: array[..., :0, :0],
    "an axis less": lambda array: array[..., 0],
    "an axis more": lambda array: array[np.newaxis],
    "no axis": lambda array: array.ravel()[0].reshape(()),
    "one season": lambda array: array[:1],
    "twice the size": lambda array: np.concatenate([np.concatenate([array] * 2, -1)] * 2, -2),
}


@pytest.mark.parametrize("may_be_smaller", [False, True])
def test_arrays_that_numpy_would_stretch_to_a_patch_make_the_item_bad(tmp_path, may_be_smaller):
    """Every array in turn is misshapen, the others are as they should be."""
    cases = [(spec.name, shape) for spec in SPECS for shape in MISSHAPEN]

    def read(item: Item) -> Reading:
        name, shape = cases[item.key]
        arrays = made_up_arrays(item)
        return Reading(arrays | {name: MISSHAPEN[shape](arrays[name])})

    summary = run_import(
        made_up_plan(len(cases), may_be_smaller=may_be_smaller), read, target(tmp_path / "out")
    )
    assert dict(summary.imported.reasons) == {"wrong size": len(cases)}
    assert verify(tmp_path / "out").problems == ()


@pytest.mark.parametrize("may_be_smaller", [False, True])
@pytest.mark.parametrize(("rows", "columns"), [(6, 12), (12, 6)])
def test_an_item_that_is_not_square_is_bad_even_if_all_its_arrays_agree(
    tmp_path, rows, columns, may_be_smaller
):
    def read(item: Item) -> Reading:
        arrays = made_up_arrays(item)
        return Reading(cut(arrays, rows=rows, columns=columns) if item.key == 4 else arrays)

    summary = run_import(made_up_plan(may_be_smaller=may_be_smaller), read, target(tmp_path))
    assert dict(summary.imported.reasons) == {"wrong size": 1}
    row = read_index(tmp_path / "nol.parquet").to_pylist()[4]
    assert row["reason"].startswith("wrong size: s2_l1c_10m ")
    assert f"dynamic_world_10m {rows} x {columns} px of 10 m, expected" in row["reason"]
    assert pixels_of(tmp_path, "dynamic_world_10m", 4).min() == 255


def test_a_class_that_the_legend_lacks_makes_the_item_bad(tmp_path):
    def read(item: Item) -> Reading:
        arrays = made_up_arrays(item)
        if item.key == 4:
            arrays["dynamic_world_10m"][0, 0, 0] = 42
        return Reading(arrays)

    summary = run_import(made_up_plan(), read, target(tmp_path))
    assert dict(summary.imported.reasons) == {"unknown class": 1}


def test_items_without_a_place_have_no_geometry(tmp_path):
    run_import(made_up_plan(), lambda item: Reading(made_up_arrays(item)), target(tmp_path))
    assert verify(tmp_path).problems == ()
    row = read_index(tmp_path / "nol.parquet").to_pylist()[0]
    assert (row["geometry"], row["lon"], row["crs_epsg"], row["georeference"]) == (None, None, 0, "none")
    assert read_manifest(tmp_path / "nol.json").georeference == "none"


def test_a_store_without_labels_of_dynamic_world_verifies(tmp_path):
    specs = SPECS[:3]

    def read(item: Item) -> Reading:
        return Reading({spec.name: made_up_arrays(item)[spec.name] for spec in specs}, Placement())

    run_import(made_up_plan(specs=specs, label_product=""), read, target(tmp_path))
    assert verify(tmp_path).problems == ()


@pytest.mark.parametrize("at", [0, 3, 5, 9])
def test_an_import_that_broke_off_goes_on_and_ends_with_the_same_bytes(tmp_path, at):
    run_import(made_up_plan(), made_up_reading, target(tmp_path / "whole"))
    asked: list[int] = []

    def read(item: Item) -> Reading:
        asked.append(item.key)
        return made_up_reading(item)

    with pytest.raises(KeyboardInterrupt):
        run_import(made_up_plan(), failing_reader({at: KeyboardInterrupt()}), target(tmp_path / "broken"))
    run_import(made_up_plan(), read, target(tmp_path / "broken"))
    whole, broken = files_of(tmp_path / "whole"), files_of(tmp_path / "broken")
    assert whole.keys() == broken.keys()
    whole["nol.json"] = whole["nol.json"].replace(b'"whole"', b'"broken"')  # the manifest names its folder
    assert whole == broken
    assert asked == list(range(at // 4 * 4, 10)), "complete shards are not read again"
    assert digest(tmp_path / "whole") == digest(tmp_path / "broken")


def test_a_finished_import_is_not_written_again(tmp_path):
    run_import(made_up_plan(), made_up_reading, target(tmp_path))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "nol.zarr").rglob("c/*/0/0/0/0")}
    run_import(made_up_plan(), failing_reader({at: RuntimeError() for at in range(10)}), target(tmp_path))
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_lost_shard_is_written_again_alone(tmp_path):
    run_import(made_up_plan(), made_up_reading, target(tmp_path))
    whole = files_of(tmp_path)
    others = {path: path.stat().st_mtime_ns for path in (tmp_path / "nol.zarr").rglob("c/*/0/0/0/0")}
    lost = tmp_path / "nol.zarr/s2_l1c_20m/c/1/0/0/0/0"
    lost.unlink()
    run_import(made_up_plan(), made_up_reading, target(tmp_path))
    assert files_of(tmp_path) == whole
    assert {path for path, when in others.items() if path.stat().st_mtime_ns != when} == {lost}


def test_a_damaged_note_is_made_again(tmp_path):
    run_import(made_up_plan(), made_up_reading, target(tmp_path))
    whole = files_of(tmp_path)
    (tmp_path / ".nol.import/rows/1.parquet").write_bytes(b"PAR1 no more")
    run_import(made_up_plan(), made_up_reading, target(tmp_path))
    assert files_of(tmp_path) == whole


def test_a_shard_whose_source_changed_meanwhile_is_written_whole(tmp_path):
    """Half of a shard from the old files and half from the new ones would be a store that no source ever was."""
    run_import(made_up_plan(), made_up_reading, target(tmp_path))
    (tmp_path / "nol.zarr/s2_l1c_20m/c/1/0/0/0/0").unlink()
    run_import(made_up_plan(), failing_reader({5: BadItemError("missing file", "p5")}), target(tmp_path))
    assert verify(tmp_path).problems == ()
    assert read_index(tmp_path / "nol.parquet").to_pylist()[5]["status"] == "bad_source"


def test_another_import_of_the_same_folder_is_refused(tmp_path):
    run_import(made_up_plan(), made_up_reading, target(tmp_path))
    with pytest.raises(InputError, match="other options or of other files"):
        run_import(made_up_plan(options={"seed": 1}), made_up_reading, target(tmp_path))
    with pytest.raises(InputError, match="other options or of other files"):
        run_import(made_up_plan(11), made_up_reading, target(tmp_path))
    with pytest.raises(InputError, match="other options or of other files"):
        run_import(made_up_plan(), made_up_reading, ImportTarget(tmp_path, locations_per_shard=5))


def test_a_store_that_is_no_import_is_left_alone(tmp_path):
    run_import(made_up_plan(), made_up_reading, target(tmp_path))
    shutil.rmtree(tmp_path / ".nol.import")
    before = files_of(tmp_path)
    with pytest.raises(InputError, match="no import of this folder"):
        run_import(made_up_plan(), made_up_reading, target(tmp_path))
    assert files_of(tmp_path) == before


@pytest.mark.parametrize(
    ("items", "message"),
    [
        ([], "nothing to import"),
        ([Item(5, "a", "train"), Item(5, "b", "train")], "a and b both have id 5"),
        ([Item(-1, "a", "train")], "id -1"),
        ([Item(2**63, "a", "train")], "a has id 9223372036854775808"),
        ([Item(1, "a", "dev")], "'dev'"),
    ],
)
def test_items_that_make_no_index_are_refused(tmp_path, items, message):
    with pytest.raises(InputError, match=message):
        run_import(made_up_plan(items=items), made_up_reading, target(tmp_path))
    assert not (tmp_path / "nol.zarr").exists()


@pytest.mark.parametrize(
    ("plan", "numbers", "message"),
    [
        ({}, {"locations_per_shard": 0}, "--locations-per-shard 0"),
        ({}, {"threads": 0}, "--threads 0"),
        ({"patch_size_px": 10}, {}, "--patch-size-px 10: expected a multiple of 6"),
        ({"patch_size_px": 0}, {}, "--patch-size-px 0"),
        ({"patch_size_px": 1 << 20}, {}, "up to 4096"),
    ],
)
def test_numbers_that_make_no_store_are_refused_before_anything_is_written(tmp_path, plan, numbers, message):
    with pytest.raises(ConfigError, match=message):
        run_import(made_up_plan(**plan), made_up_reading, ImportTarget(tmp_path / "out", **numbers))
    assert not (tmp_path / "out").exists()


def test_two_imports_do_not_write_to_one_folder(tmp_path):
    def read(item: Item) -> Reading:
        with pytest.raises(BuildInUseError):
            run_import(made_up_plan(), made_up_reading, target(tmp_path))
        return made_up_reading(item)

    run_import(made_up_plan(1), read, target(tmp_path))


def test_an_error_of_the_source_is_not_taken_for_a_full_disk(tmp_path):
    with pytest.raises(InputError, match="the cable is out"):
        run_import(made_up_plan(), failing_reader({2: InputError("the cable is out")}), target(tmp_path))
    with pytest.raises(OSError, match="as it is"):
        run_import(made_up_plan(), failing_reader({2: OSError("as it is")}), target(tmp_path))


def test_the_group_says_what_it_is(tmp_path):
    run_import(made_up_plan(subset="osm"), made_up_reading, target(tmp_path))
    attributes = json.loads((tmp_path / "osm.zarr/zarr.json").read_bytes())["attributes"]
    assert (attributes["subset"], attributes["synthetic"], attributes["license"]) == ("osm", False, "CC0-1.0")
    assert attributes["season_names"] == list(SEASONS)
    assert attributes["statistics"]["s1_grd_uint8_10m"][0]["count"] == 10 * len(SEASONS) * SIDE_PX**2

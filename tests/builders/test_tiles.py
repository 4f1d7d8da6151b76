import datetime as dt
from pathlib import Path

import numpy as np
import pytest

from builders.config import BuildConfig, parse_config
from builders.layout import Layout
from builders.location_table import read_locations
from builders.tiles import read_planned_label, read_tiles, run_tiles
from noldo.errors import InputError
from tests.builders.tile_files import marked, write_label

GOOD, OFF, EMPTY, STRANGE, MISSING = (f"dw_{n}.0_48.0-2019030{n}" for n in range(1, 6))
VALIDATION = "dw_6p5_47p5-20190306"


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """Six tiles: good, off the lattice, unmarked, of an unknown class, without a file, and of the validation set."""
    labels = tmp_path / "labels"
    write_label(labels / f"{GOOD}.tif", marked(), x=600_030.0)
    write_label(labels / f"{OFF}.tif", marked(), x=700_003.7)
    write_label(labels / f"{EMPTY}.tif", marked() * 0, x=500_000.0)
    write_label(labels / f"{STRANGE}.tif", marked() * 0 + 13)
    lulc = np.stack([marked(512) % 9, marked(512)])
    write_label(labels / f"label_{VALIDATION}.tif", lulc, descriptions=("label", "lulc"), x=400_000.0)
    write_label(labels / "dw_0.0_0.0-20180101.tif", marked())
    product = "S2A_MSIL1C_20190301T102021_N0207_R065_T32UPU_20190301T123456"
    lines = [f"{name},{product if name == GOOD else ''}" for name in (GOOD, OFF, EMPTY, STRANGE, MISSING)]
    (tmp_path / "tiles.csv").write_text("\n".join(["dw_id,S2_PRODUCT_ID", *lines]) + "\n")
    index = "20190306T102021_20190306T102022_T31UGP"
    (tmp_path / "meta.csv").write_text(f"filename,s2_system_index\n{VALIDATION},{index}\n")
    return tmp_path


def config(folder: Path, **changes: object) -> BuildConfig:
    tiles = {
        "count": 6,
        "tables": [str(folder / "tiles.csv"), str(folder / "meta.csv")],
        "labels": [str(folder / "labels")],
    }
    tree = {"name": "x", "seasons": [{"name": "s", "date": "2021-03-20"}], "dw": tiles | changes}
    return parse_config(tree, where="test").of_subset("dw")


def planned(folder: Path, **changes: object):
    build = config(folder, **changes)
    layout = Layout("x", folder, subset="dw")
    run_tiles(build, layout)
    locations = read_locations(layout.locations)
    tiles = read_tiles(layout.tiles)
    return {location.place: (location, tiles[location.id]) for location in locations}


def test_every_tile_of_the_tables_becomes_a_location_with_its_own_date(published):
    found = planned(published)
    assert len(found) == 6
    location, tile = found[GOOD]
    assert location.date == tile.date == dt.date(2019, 3, 1)
    assert location.labelled_scene == "20190301T102021_32UPU"
    assert location.grid.x_ul == 600_000
    assert tile.window[2] == 3
    assert location.refusal == ""
    assert not tile.resampled
    assert sum(tile.counts) == ((marked() > 0) & (marked() < 10)).sum()
    assert [location.id for location, _ in found.values()] == list(range(6))
    assert list(found) == sorted(found)


def test_a_tile_off_the_lattice_is_kept_and_flagged(published):
    location, tile = planned(published)[OFF]
    assert tile.resampled
    assert location.refusal == ""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (EMPTY, "experts marked 0.0 % of the tile, 1.0 % wanted"),
        (STRANGE, "class 13, expected 0"),
        (MISSING, "no label file of this tile"),
    ],
)
def test_a_tile_without_a_usable_label_stays_with_its_reason(published, name, words):
    location, tile = planned(published)[name]
    assert words in location.refusal
    assert (tile.label_digest == "") == (name != EMPTY)


def test_label_files_of_no_tile_are_named(published, caplog):
    planned(published)
    assert "1 label files are of no tile in the tables and are not used: dw_0.0_0.0-20180101" in caplog.text


def test_another_number_of_tiles_is_one_line(published):
    with pytest.raises(InputError, match=r"6 tiles, but dw.count is 7; set `count: 6`"):
        planned(published, count=7)


def test_the_published_split_is_training_and_validation_tiles(published):
    found = planned(published, split={"by": "published"})
    assert {name: location.split for name, (location, _) in found.items()} == {
        **dict.fromkeys((GOOD, OFF, EMPTY, STRANGE, MISSING), "train"),
        VALIDATION: "test",
    }


def test_lists_come_in_with_the_index_and_plan_nothing_anew(published):
    lists = {"train": str(published / "not-written-yet.txt")}
    found = planned(published, split={"by": "lists", "lists": lists})
    assert len(found) == 6


@pytest.mark.parametrize(("lon", "lat"), [("nan", "5.0"), ("181", "5"), ("5", "89"), ("", "")])
def test_a_tile_without_label_may_have_any_coordinates(published, lon, lat):
    (published / "tiles.csv").write_text(f"dw_id,lon,lat\nhere-20190301,{lon},{lat}\n")
    found = planned(published, count=2)
    assert "no label file" in found["here-20190301"][0].refusal


def test_a_label_that_changed_after_it_was_planned_is_an_error(published):
    _, tile = planned(published)[GOOD]
    assert read_planned_label(tile, max_side_px=522).counts == tile.counts
    path = Path(tile.label_file)
    write_label(path, np.flipud(marked()), x=600_030.0)
    with pytest.raises(
        InputError, match=r"changed since the tiles were planned .other classes or another place"
    ):
        read_planned_label(tile, max_side_px=522)
    path.unlink()
    with pytest.raises(InputError, match=r"changed since the tiles were planned .label can't be read"):
        read_planned_label(tile, max_side_px=522)

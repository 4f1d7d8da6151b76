import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.config_sections import Split
from builders.splits import assign_splits, blocks, listed_splits, split_of_block
from noldo.errors import InputError

longitudes = st.floats(-180, 180)
latitudes = st.floats(-90, 90)


def block(lon, lat, block_km=50.0):
    return tuple(blocks(np.array([lon]), np.array([lat]), block_km=block_km)[0].tolist())


@given(st.lists(st.tuples(longitudes, latitudes), min_size=1, max_size=50), st.floats(5, 30_000))
def test_a_block_is_never_divided(places, block_km):
    lon, lat = np.array(places).T
    split = Split(val=0.3, test=0.3, block_km=block_km)
    names: dict[tuple[int, ...], set[str]] = {}
    for pair, name in zip(
        blocks(lon, lat, block_km=block_km).tolist(), assign_splits(lon, lat, split), strict=True
    ):
        names.setdefault(tuple(pair), set()).add(name)
    assert all(len(found) == 1 for found in names.values())


def test_shares_of_blocks_are_those_of_the_config():
    split = Split(val=0.2, test=0.1)
    names = [split_of_block(row, column, split) for row in range(100) for column in range(200)]
    assert names.count("val") / len(names) == pytest.approx(0.2, abs=0.01)
    assert names.count("test") / len(names) == pytest.approx(0.1, abs=0.01)


def test_shares_of_scattered_places_are_those_of_the_config():
    rng = np.random.default_rng(0)
    lon, lat = rng.uniform(-180, 180, 20_000), rng.uniform(-60, 80, 20_000)
    names = assign_splits(lon, lat, Split(val=0.3))
    assert names.count("val") / len(names) == pytest.approx(0.3, abs=0.02)


def test_another_seed_gives_another_split_and_the_same_seed_the_same():
    lon, lat = np.linspace(-170, 170, 500), np.linspace(-50, 70, 500)
    first = assign_splits(lon, lat, Split(val=0.5, seed=1))
    assert first == assign_splits(lon, lat, Split(val=0.5, seed=1))
    assert first != assign_splits(lon, lat, Split(val=0.5, seed=2))


def test_a_place_keeps_its_split_when_others_come_and_go():
    lon, lat = np.linspace(-170, 170, 300), np.linspace(-50, 70, 300)
    everyone = assign_splits(lon, lat, Split(val=0.5))
    assert assign_splits(lon[::7], lat[::7], Split(val=0.5)) == everyone[::7]


def test_a_test_share_takes_nothing_from_validation():
    lon, lat = np.linspace(-170, 170, 500), np.linspace(-50, 70, 500)
    without = assign_splits(lon, lat, Split(val=0.2))
    with_test = assign_splits(lon, lat, Split(val=0.2, test=0.2))
    assert [name == "val" for name in without] == [name == "val" for name in with_test]
    assert "test" in with_test


def test_no_shares_leave_everything_to_training():
    assert assign_splits(np.array([1.0, 2.0]), np.array([3.0, 4.0]), Split(val=0, test=0)) == ["train"] * 2


@pytest.mark.parametrize("lat", [0.0, 45.0, 60.0, 75.0])
def test_blocks_are_about_as_wide_as_high_at_any_latitude(lat):
    lon = np.linspace(-180, 180, 100_000, endpoint=False)
    columns = blocks(lon, np.full_like(lon, lat), block_km=50.0)[:, 1]
    width_km = 40_075 * np.cos(np.radians(lat)) / len(np.unique(columns))
    assert width_km == pytest.approx(50, rel=0.03)


def test_the_two_names_of_the_antimeridian_are_one_block():
    assert block(180.0, 10.0) == block(-180.0, 10.0)
    assert block(179.999, 10.0) != block(-179.999, 10.0)


def test_blocks_larger_than_the_earth_are_one_block():
    assert block(-100.0, -80.0, 1e6) == block(100.0, 80.0, 1e6) == (0, 0)


# Lists

PLACES = [(0, "dw_1.0_48.0-20190301"), (1, "dw_2p0_48p0-20190302"), (2, ""), (123, "Ulm")]


def listed(folder, **texts: str) -> list[str]:
    lists = {}
    for name, text in texts.items():
        lists[name] = folder / f"{name}.txt"
        lists[name].write_text(text)
    return listed_splits(Split(by="lists", lists=lists), PLACES)


def test_lists_decide_by_id_or_name_and_other_places_belong_to_none(tmp_path):
    splits = listed(tmp_path, train="# the paper's\ndw_1.0_48.0-20190301,more\n\n", test="1\n")
    assert splits == ["train", "test", "", ""]


@pytest.mark.parametrize(
    "line",
    ["0000123", "123", "Ulm", "Ulm.tif"],
)
def test_ids_with_zeros_and_names_of_files_are_known(tmp_path, line):
    assert listed(tmp_path, val=line + "\n")[3] == "val"


@pytest.mark.parametrize(
    "line",
    [
        "s2_1.0_48.0-20190301.tif",
        "1.0_48.0-20190301",
        "dw_1.0_48.0-20190301.tif",
        "label_dw_1.0_48.0-20190301.tif",
    ],
)
def test_a_tile_is_known_by_the_names_of_its_published_files(tmp_path, line):
    assert listed(tmp_path, test=line + "\n")[0] == "test"


def test_names_that_are_no_place_are_counted(tmp_path, caplog):
    with caplog.at_level("INFO"):
        listed(tmp_path, train="Ulm\nnowhere\n")
    assert "1 listed names are no place of this build, e.g. nowhere" in caplog.text


def test_a_list_that_knows_no_place_is_an_error(tmp_path):
    with pytest.raises(InputError, match="none of its 2 entries is an id or a name of a place of this build"):
        listed(tmp_path, train="Ulm\n", test="99\nnowhere\n")


def test_a_place_in_two_lists_is_one_line(tmp_path):
    with pytest.raises(InputError, match="Ulm is listed for train, too"):
        listed(tmp_path, train="Ulm\n", val="Ulm\n")
    with pytest.raises(InputError, match="by id for one split and by name for another"):
        listed(tmp_path, train="Ulm\n", val="123\n")
    with pytest.raises(InputError, match="can't be read as text"):
        listed_splits(Split(by="lists", lists={"train": tmp_path / "gone.txt"}), PLACES)

"""Folds that share no region."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noldo.__main__ import main
from noldo.errors import ConfigError, InputError, RasterError
from noldo.published.opening import open_tiles
from noldo.published.regions import Fold, facts_of, folds_of, positions, regions_of
from tests.noldo.published_tiles import picture, write_dfc, write_tif

DISTANCE_M = 5_000.0

places = st.lists(st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)), min_size=1, max_size=40).map(
    lambda found: positions(np.array(found, np.float64))
)


@given(places)
def test_tiles_of_different_regions_are_never_closer_than_the_distance(found):
    regions = regions_of(found, distance_m=DISTANCE_M)
    gaps = np.linalg.norm(found[:, None] - found[None], axis=2)
    assert (gaps[regions[:, None] != regions[None]] >= DISTANCE_M).all()


@given(places)
def test_every_tile_of_a_region_has_a_neighbour_in_it_unless_it_is_alone(found):
    regions = regions_of(found, distance_m=DISTANCE_M)
    gaps = np.linalg.norm(found[:, None] - found[None], axis=2)
    np.fill_diagonal(gaps, np.inf)
    for region in np.unique(regions):
        members = np.flatnonzero(regions == region)
        if len(members) > 1:
            assert (gaps[np.ix_(members, members)].min(axis=1) < DISTANCE_M).all()


@given(places, st.randoms(use_true_random=False))
def test_the_order_of_tiles_does_not_matter_to_who_is_together(found, random):
    order = list(range(len(found)))
    random.shuffle(order)
    regions = regions_of(found, distance_m=DISTANCE_M)
    shuffled = regions_of(found[order], distance_m=DISTANCE_M)
    together = regions[order][:, None] == regions[order][None]
    assert np.array_equal(together, shuffled[:, None] == shuffled[None])


@given(places, st.integers(2, 5))
def test_no_two_folds_share_a_region_and_each_has_one(found, num_folds):
    regions = regions_of(found, distance_m=DISTANCE_M)
    if regions.max() + 1 < num_folds:
        with pytest.raises(ConfigError, match=f"{num_folds} folds of {regions.max() + 1} regions"):
            folds_of(regions, num_folds=num_folds)
        return
    folds = folds_of(regions, num_folds=num_folds)
    for region in np.unique(regions):
        assert len(np.unique(folds[regions == region])) == 1
    assert set(folds.tolist()) == set(range(num_folds))
    sizes, largest = np.bincount(folds), np.bincount(regions).max()
    assert sizes.max() - sizes.min() <= largest
    for facts in facts_of(found, regions, folds):
        assert facts.gap_m >= DISTANCE_M


def test_a_chain_of_near_tiles_is_one_region_and_its_ends_may_be_far_apart():
    chain = positions(np.array([[0.04 * step, 0.0] for step in range(10)] + [[3.0, 0.0]]))
    assert regions_of(chain, distance_m=DISTANCE_M).tolist() == [0] * 10 + [1]


def test_a_degree_of_the_equator_is_111_km():
    one, other = positions(np.array([[0.0, 0.0], [1.0, 0.0]]))
    assert np.linalg.norm(one - other) == pytest.approx(111_195, abs=2)


@pytest.mark.parametrize("text", ["", "3", "0/3", "4/3", "1/1", "a/b", "1/3/5"])
def test_a_fold_that_is_none_is_told(text):
    with pytest.raises(ConfigError, match=r"expected e\.g\. 1/5"):
        Fold.parse(text)


TWO_TOWNS = {
    "TrainArea_001": (0, 0),
    "TrainArea_002": (200_000.0, 0),
    "TrainArea_003": (900.0, 0),
    "TrainArea_004": (200_900.0, 0),
    "TrainArea_1000": (1_800.0, 0),
}


def fold(root: Path, number: int, split: str) -> set[str]:
    tiles = open_tiles(root, layout="dfc2025", split=split, modalities=("sar_amplitude",), fold=f"{number}/2")
    return {tile.name for tile in tiles.tiles}


def test_folds_of_the_contest_are_whole_towns_by_coordinates(tmp_path):
    write_dfc(tmp_path, names=TWO_TOWNS)
    first, second = ({"TrainArea_001", "TrainArea_003", "TrainArea_1000"}, {"TrainArea_002", "TrainArea_004"})
    assert fold(tmp_path, 1, "val") == fold(tmp_path, 2, "train") == first
    assert fold(tmp_path, 2, "val") == fold(tmp_path, 1, "train") == second
    test = open_tiles(tmp_path, layout="dfc2025", split="test", modalities=("sar_amplitude",), fold="1/2")
    assert len(test) == 2  # as published


def test_neighbours_in_different_zones_are_neighbours(tmp_path):
    write_dfc(tmp_path, names=TWO_TOWNS)
    sar, _ = picture(0, num_bands=1, labels=(8, 6))
    # The border of the zones 31 and 32 is at 6 degrees: 737 km east in one, 263 km in the other, at this latitude.
    for number, (crs, x) in enumerate((("EPSG:32631", 735_000), ("EPSG:32632", 264_000)), start=1):
        path = tmp_path / "train" / "sar_images" / f"TrainArea_00{number}.tif"
        write_tif(path, sar, crs=crs, at=(x - 500_000, 0))
    assert {"TrainArea_001", "TrainArea_002"} <= fold(tmp_path, 1, "val") | fold(tmp_path, 2, "val")
    for number in (1, 2):
        assert len({"TrainArea_001", "TrainArea_002"} & fold(tmp_path, number, "val")) in (0, 2)


def test_a_tile_without_a_crs_is_in_no_fold(tmp_path):
    write_dfc(tmp_path, names=TWO_TOWNS)
    sar, _ = picture(0, num_bands=1, labels=(8, 6))
    write_tif(tmp_path / "train" / "sar_images" / "TrainArea_002.tif", sar, crs=None)
    with pytest.raises(InputError, match=r"TrainArea_002\.tif: no CRS, so no fold can be drawn"):
        fold(tmp_path, 1, "val")
    write_tif(tmp_path / "train" / "sar_images" / "TrainArea_002.tif", sar, at=(1e8, 0))
    with pytest.raises(RasterError, match=r"TrainArea_002\.tif: its centre, .* is outside of its CRS"):
        fold(tmp_path, 1, "val")


def test_folds_are_told_with_their_distance(tmp_path, capsys):
    write_dfc(tmp_path, names=TWO_TOWNS)
    main(["folds", str(tmp_path), "--folds", "2"])
    told = capsys.readouterr().out
    assert "5 tiles of train in 2 regions (centres closer than 5000 m)" in told
    rows = [line.split() for line in told.splitlines()[2:]]
    assert [row[:3] for row in rows] == [["1", "3", "1"], ["2", "2", "1"]]
    assert all(float(row[3]) == pytest.approx(198.2, abs=0.5) for row in rows)

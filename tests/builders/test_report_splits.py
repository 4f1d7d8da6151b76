import numpy as np
import pytest

from builders.report_splits import split_distances


def test_distances_are_great_circles_to_the_nearest_of_the_other_split():
    lon, lat = np.array([0.0, 1.0, 90.0, 0.0]), np.array([0.0, 0.0, 0.0, 0.5])
    split = np.array(["train", "val", "train", "test"], dtype=object)
    found = {(one.of, one.to): one.km for one in split_distances(lon, lat, split)}
    degree_km = 6371.0088 * np.pi / 180
    assert found["val", "train"] == pytest.approx([degree_km], rel=3e-3)
    assert found["test", "train"] == pytest.approx([degree_km / 2], rel=1e-2)
    assert found["test", "val"] == pytest.approx([degree_km * np.hypot(1, 0.5)], rel=1e-2)


def test_the_antimeridian_is_no_border():
    lon, lat = np.array([179.9, -179.9]), np.array([10.0, 10.0])
    (one,) = split_distances(lon, lat, np.array(["train", "test"], dtype=object))
    assert one.km[0] < 25


def test_one_split_has_no_distances():
    assert split_distances(np.zeros(2), np.zeros(2), np.array(["train", "train"], dtype=object)) == []

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from builders.config_labels import OpenStreetMap
from builders.screening import screen
from noldo.legend import DYNAMIC_WORLD, MAPPINGS, OSM_LAND_USE
from noldo.status import Status

WINDOW = (2, 12, 1, 11)
FOREST, WATER, QUARRY = (
    OSM_LAND_USE.classes.index(n) for n in ("forests", "water_bodies", "mine_dump_construction")
)
TREES, LAKE, BARE, SNOW = (DYNAMIC_WORLD.classes.index(n) for n in ("trees", "water", "bare", "snow_and_ice"))


def maps(expert: int = TREES, osm: int = FOREST) -> tuple[np.ndarray, np.ndarray]:
    """Two maps of one class each, labelled beyond the window, too."""
    return np.full((12, 12), expert, np.uint8), np.full((12, 12), osm, np.uint8)


def judged(experts, osm, **thresholds):
    return screen(experts, osm, window=WINDOW, thresholds=OpenStreetMap(**thresholds))


def test_maps_that_say_the_same_are_kept():
    found = judged(*maps())
    assert found.status is Status.KEPT
    assert (found.share, found.common, found.agreement) == (1.0, 100, 1.0)
    assert found.counts[FOREST] == 100
    assert found.decision == "OpenStreetMap agrees with the experts in 100 % of what can be compared"


def test_classes_are_compared_by_the_papers_table_and_not_by_number():
    assert judged(*maps(BARE, QUARRY)).agreement == 1.0
    assert judged(*maps(QUARRY, QUARRY)).agreement == 0.0  # the same number, another class


def test_maps_that_disagree_are_refused_with_the_threshold():
    experts, osm = maps()
    experts[2:8] = LAKE  # 60 of 100 pixels
    found = judged(experts, osm)
    assert found.status is Status.DISAGREES
    assert found.decision == (
        "OpenStreetMap agrees with the experts in 40.0 % of what can be compared, 50.0 % wanted"
    )
    assert judged(experts, osm, min_agreement=0.4).status is Status.KEPT


def test_too_few_labels_are_no_disagreement():
    experts, osm = maps()
    osm[2:12, 1:11] = 255
    osm[2, 1:6] = WATER  # 5 %
    found = judged(experts, osm)
    assert found.status is Status.NO_LABELS
    assert found.decision == "OpenStreetMap has a class for 5.0 % of the tile, 10.0 % wanted"


def test_what_experts_did_not_mark_is_not_compared():
    experts, osm = maps()
    experts[2:12, 1:11] = 255
    experts[2, 1:3] = TREES
    found = judged(experts, osm)
    assert found.status is Status.NO_LABELS
    assert found.decision == "2.0 % of the tile can be compared with the experts, 5.0 % wanted"


def test_labels_around_the_tile_count_for_nothing():
    experts, osm = maps()
    osm[:2] = WATER
    osm[:, 0] = WATER
    assert judged(experts, osm).counts[WATER] == 0


labels = arrays(np.uint8, (12, 12), elements=st.sampled_from([0, 1, 3, 7, 8, 12, 255]))


@given(labels, labels)
def test_the_score_is_what_counting_pixel_by_pixel_gives(experts, osm):
    experts = np.where((experts > 8) & (experts != 255), 0, experts).astype(np.uint8)
    names = MAPPINGS["osm_land_use", "dynamic_world"].pairs
    common = agreeing = labelled = 0
    for row in range(2, 12):
        for column in range(1, 11):
            one, other = int(experts[row, column]), int(osm[row, column])
            labelled += other != 255
            target = names.get(OSM_LAND_USE.classes[other]) if other != 255 else None
            if one != 255 and target is not None:
                common += 1
                agreeing += DYNAMIC_WORLD.classes[one] == target
    found = judged(experts, osm)
    assert (found.common, found.share) == (common, labelled / 100)
    assert found.agreement == pytest.approx(agreeing / common if common else 0.0)


def test_snow_has_no_counterpart_so_it_can_only_disagree():
    glacier = OSM_LAND_USE.classes.index("open_spaces")
    assert judged(*maps(SNOW, glacier)).status is Status.DISAGREES

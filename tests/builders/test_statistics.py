import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from builders.outcome_table import write_outcomes
from builders.records import LocationOutcome
from builders.statistics import (
    PERCENTILES,
    band_statistics,
    kept_rows,
    read_statistics,
    run_statistics,
    store_statistics,
)
from noldo.errors import ShardMissingError, StoreError, StoreFormatError
from noldo.manifest import to_json
from noldo.products import UNLABELLED
from noldo.status import Status
from noldo.store import shard_path, write_shard
from tests.builders.made_up_build import (
    MIXED,
    expected_array,
    make_up,
    pack_all,
    specs_of,
)

KEPT = np.array(MIXED) == Status.KEPT


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    build = make_up(tmp_path_factory.mktemp("packed"))
    pack_all(build)
    return build


def test_statistics_are_exactly_those_of_numpy_over_the_kept_rows(packed):
    run_statistics(packed.config, packed.layout)
    found = read_statistics(packed.layout.statistics)
    assert found.locations_kept == KEPT.sum()
    for spec in specs_of(packed):
        values = expected_array(packed, spec)[KEPT]
        if spec.is_label:
            continue
        for position, band in enumerate(found.bands[spec.name]):
            every = values[:, :, position].ravel()
            present = every[every != spec.no_data].astype(np.int64)
            assert band.band == spec.bands[position]
            assert band.count == len(present)
            assert band.no_data_share == (every.size - present.size) / every.size
            assert band.mean == int(present.sum()) / len(present)
            assert band.std == pytest.approx(present.std(), rel=1e-12)
            assert (band.minimum, band.maximum) == (present.min(), present.max())
            wanted = np.percentile(present, PERCENTILES, method="inverted_cdf").tolist()
            assert [band.percentiles[percent] for percent in PERCENTILES] == wanted


def test_class_counts_are_those_of_each_season(packed):
    found = store_statistics(packed.layout.store, kept=KEPT)
    spec = next(spec for spec in specs_of(packed) if spec.name == "dynamic_world_10m")
    values = expected_array(packed, spec)[KEPT]
    for season, name in enumerate(("winter", "summer")):
        counts = np.bincount(values[:, season].ravel(), minlength=256)
        assert found.class_counts["dynamic_world_10m"][name] == tuple(counts[:9].tolist())
    assert len(found.class_counts["s2_scl_20m"]["winter"]) == 12


def test_the_number_of_threads_changes_no_byte(packed):
    one, four = (
        to_json(store_statistics(packed.layout.store, kept=KEPT, threads=threads)) for threads in (1, 4)
    )
    assert one == four


def test_a_cluster_gives_the_same_bytes(packed):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as cluster:
        far = store_statistics(packed.layout.store, kept=KEPT, scheduler=cluster.scheduler_address)
    assert to_json(far) == to_json(store_statistics(packed.layout.store, kept=KEPT))


def test_the_store_is_only_read(packed):
    def state():
        return {
            path: (path.stat().st_mtime_ns, path.read_bytes())
            for path in packed.layout.store.rglob("*")
            if path.is_file()
        }

    before = state()
    run_statistics(packed.config, packed.layout)
    assert state() == before


def test_kept_rows_follow_the_outcome_tables(packed):
    np.testing.assert_array_equal(kept_rows(packed.config, packed.layout), KEPT)


def test_nothing_kept_gives_statistics_without_numbers(tmp_path):
    build = make_up(tmp_path, statuses=[Status.NO_SCENE] * 4)
    pack_all(build)
    run_statistics(build.config, build.layout)
    found = read_statistics(build.layout.statistics)
    assert found.locations_kept == 0
    assert {band.mean for bands in found.bands.values() for band in bands} == {None}
    assert found.class_counts["dynamic_world_10m"]["winter"] == (0,) * 9


def test_a_lost_shard_is_an_error_rather_than_no_data(tmp_path):
    build = make_up(tmp_path)
    pack_all(build)
    shard_path(build.layout.store, specs_of(build)[0], 1).unlink()
    with pytest.raises(ShardMissingError, match="s2_l1c_10m"):
        run_statistics(build.config, build.layout)


def test_a_class_outside_the_legend_is_an_error(tmp_path):
    build = make_up(tmp_path)
    pack_all(build)
    spec = next(spec for spec in specs_of(build) if spec.name == "dynamic_world_10m")
    items = expected_array(build, spec)[:3].copy()
    items[0, 0, 0, 0] = 9
    write_shard(build.layout.store, spec, shard=0, items=items)
    with pytest.raises(StoreFormatError, match=f"class 9, but its legend ends at 8 and {UNLABELLED}"):
        run_statistics(build.config, build.layout)


def test_missing_statistics_say_what_to_do(tmp_path):
    with pytest.raises(StoreError, match="run the build again"):
        read_statistics(tmp_path / "statistics.json")


def test_outcomes_that_change_change_what_is_counted(tmp_path):
    build = make_up(tmp_path)
    pack_all(build)
    refused = [LocationOutcome(one.location_id, Status.REFUSED, "x") for one in build.outcomes[:6]]
    write_outcomes(build.layout.outcomes(0), refused)
    run_statistics(build.config, build.layout)
    assert read_statistics(build.layout.statistics).locations_kept == 1


@given(arrays(np.int16, st.integers(1, 300), elements=st.integers(-32768, 32767)))
def test_statistics_of_any_numbers_are_those_of_numpy(values):
    counts = np.bincount(values.astype(np.int64) + 32768, minlength=65536)
    found = band_statistics(counts, band="VV", dtype="int16", no_data=-32768)
    present = values[values != -32768].astype(object)
    assert found.count == len(present)
    if len(present):
        assert found.mean == sum(present) / len(present)
        variance = sum((len(present) * value - sum(present)) ** 2 for value in present)
        assert found.std == pytest.approx(math.sqrt(variance) / len(present) ** 1.5, rel=1e-9)
        wanted = np.percentile(present.astype(int), PERCENTILES, method="inverted_cdf")
        assert list(found.percentiles.values()) == wanted.tolist()

import json

import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest

from builders import index
from builders.index import run_index
from builders.manifest_writer import portable_config
from builders.outcome_table import write_outcomes
from noldo.digest import digest
from noldo.errors import InputError, StoreError
from noldo.index import index_schema, read_index
from noldo.manifest import read_manifest, read_run_report
from noldo.reader import StoreReader
from noldo.status import Status
from noldo.verify import verify
from tests.builders.made_up_build import MIXED, REASONS, finish, made_up_config, make_up


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    build = make_up(tmp_path_factory.mktemp("built"))
    finish(build)
    return build


def rows_of(build):
    return read_index(build.layout.index).to_pylist()


def test_the_index_has_the_declared_columns_and_a_row_for_every_location_tried(built):
    assert pq.read_schema(built.layout.index).equals(index_schema())
    rows = rows_of(built)
    assert [row["id"] for row in rows] == [location.id for location in built.locations]
    assert [row["row"] for row in rows] == list(range(10))
    assert [row["shard"] for row in rows] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3]


def test_every_refusal_has_its_reason_word_by_word(built):
    for row, status in zip(rows_of(built), MIXED, strict=True):
        assert row["status"] == status.name.lower()
        assert row["reason"] == REASONS[status]


def test_a_kept_row_tells_scenes_times_and_counts_of_every_season(built):
    row, outcome = rows_of(built)[2], built.outcomes[2]
    choices = [season.choice for season in outcome.seasons]
    assert [int(time.timestamp() * 1000) for time in row["time_s2"]] == [one.time_s2_ms for one in choices]
    assert row["scene_s2_l1c"] == [f"COPERNICUS/S2_HARMONIZED/{one.s2_index}" for one in choices]
    assert row["scene_s2_l2a"] == [f"COPERNICUS/S2_SR_HARMONIZED/{one.s2_index}" for one in choices]
    assert row["scene_dynamic_world"] == [f"GOOGLE/DYNAMICWORLD/V1/{one.s2_index}" for one in choices]
    assert row["scene_s1_grd"] == [f"COPERNICUS/S1_GRD/{one.s1_index}" for one in choices]
    assert row["class_counts"] == [list(season.class_counts) for season in outcome.seasons]
    assert row["transform"] == list(built.locations[2].grid.transform())


def test_seasons_that_were_not_read_are_null_and_keep_their_place(built):
    rows = rows_of(built)
    assert rows[3]["scene_s2_l1c"][0] is None
    assert rows[3]["scene_s2_l1c"][1].endswith(built.outcomes[3].seasons[0].choice.s2_index)
    assert not rows[1]["scene_s2_l1c"]


def test_geopandas_opens_the_index_in_longitude_and_latitude(built):
    table = geopandas.read_parquet(built.layout.index)
    assert table.crs.to_string() == "OGC:CRS84"
    assert len(table) == 10
    for shape, location in zip(table.geometry, built.locations, strict=True):
        assert shape.is_valid
        assert shape.exterior.is_ccw
        in_zone = geopandas.GeoSeries([shape], crs=table.crs).to_crs(location.grid.crs_epsg).iloc[0]
        np.testing.assert_allclose(in_zone.bounds, location.grid.bounds, atol=0.05)


def test_index_and_store_tell_the_same(built):
    assert verify(built.layout.results).problems == ()


def test_masked_rows_have_neither_times_nor_a_valid_window(built):
    reader = StoreReader.open(built.layout.store)
    kept = np.array(MIXED) == Status.KEPT
    assert (reader.row_values("time_s2")[~kept] == 0).all()
    assert (reader.row_values("window")[~kept] == 0).all()
    assert (reader.row_values("window")[kept] == [0, 12, 0, 12]).all()
    assert (reader.row_values("time_s1")[kept] > 1_600_000_000).all()


def test_two_builds_of_equal_data_are_equal_byte_by_byte_but_for_the_record_of_the_run(built, tmp_path):
    other = make_up(tmp_path)
    finish(other, threads=1)
    run_index(other.config, other.layout)
    first, second = built.layout.results, other.layout.results
    names = sorted(path.relative_to(first) for path in first.rglob("*") if path.is_file())
    assert names == sorted(path.relative_to(second) for path in second.rglob("*") if path.is_file())
    different = [name for name in names if (first / name).read_bytes() != (second / name).read_bytes()]
    assert {str(name) for name in different} <= {"nol.run.json"}
    assert digest(first) == digest(second)


def test_the_cut_into_jobs_changes_no_row(built, tmp_path):
    jobs = {"locations_per_shard": 3, "locations_per_job": 3, "locations_per_search": 3}
    other = make_up(tmp_path, config=made_up_config(10, jobs=jobs))
    finish(other)
    assert built.layout.index.read_bytes() == other.layout.index.read_bytes()


def test_row_groups_have_a_fixed_size_whatever_the_jobs(built, monkeypatch):
    monkeypatch.setattr(index, "ROWS_PER_GROUP", 4)
    groups = index._groups(built.config, built.layout)
    assert [len(group) for group in groups] == [4, 4, 2]


def test_the_manifest_counts_what_became_of_locations(built):
    manifest = read_manifest(built.layout.manifest)
    assert (manifest.locations_kept, manifest.locations_tried) == (4, 10)
    assert manifest.status_counts == {
        "kept": 4,
        "no_scene": 3,
        "no_coverage": 1,
        "no_labels": 1,
        "refused": 1,
    }
    assert sum(manifest.split_counts.values()) == 4
    assert sum(manifest.class_shares.values()) == pytest.approx(1.0)
    counted = np.sum(
        [
            season.class_counts
            for one in built.outcomes
            for season in one.seasons
            if one.status == Status.KEPT
        ],
        axis=0,
    )
    assert list(manifest.class_shares.values()) == pytest.approx((counted / counted.sum()).tolist())


def test_manifest_and_store_say_that_the_data_are_synthetic_and_on_which_terms(built):
    manifest = read_manifest(built.layout.manifest)
    assert manifest.synthetic
    assert read_run_report(built.layout.run).synthetic
    attributes = StoreReader.open(built.layout.store).attributes
    assert attributes["synthetic"] is True
    assert attributes["statistics"]["s1_grd_10m"][0]["band"] == "VV"
    terms = {source.product: source for source in manifest.sources}
    assert "Synthetic" in terms["s2_l1c"].attribution
    assert "GeoNames" in terms["locations"].attribution


def test_real_imagery_names_copernicus_google_and_geonames():
    from builders.licences import source_records

    config = made_up_config(source={"url": "https://earthengine-highvolume.googleapis.com", "project": "p"})
    terms = {source.product: source for source in source_records(config)}
    assert terms["s1_grd"].attribution == "Contains modified Copernicus Sentinel data 2020-2021."
    assert terms["dynamic_world"].licence == "CC BY 4.0"
    assert "Dynamic World Project by Google" in terms["dynamic_world"].attribution
    assert terms["locations"].licence == "CC BY 4.0"


def test_the_manifest_names_files_of_the_user_without_their_folders(tmp_path):
    config = made_up_config(locations={"count": 10, "points": str(tmp_path / "mine.csv")})
    assert portable_config(config)["locations"]["points"] == "mine.csv"


def test_the_manifest_has_no_time_no_version_of_a_package_and_no_address(built):
    text = built.layout.manifest.read_text()
    assert str(built.layout.root) not in text
    assert np.__version__ not in json.dumps(json.loads(text)["config"])
    assert "127.0.0.1" not in text


def test_outcomes_of_other_locations_are_refused_and_leave_no_index(tmp_path):
    build = make_up(tmp_path)
    finish(build)
    build.layout.index.unlink()
    write_outcomes(build.layout.outcomes(1), build.outcomes[5:9])
    with pytest.raises(InputError, match=r"other locations than rows 6 to 9.*job 1 is redone"):
        run_index(build.config, build.layout)
    assert not build.layout.index.exists()


def test_an_index_without_statistics_says_what_is_missing(tmp_path):
    build = make_up(tmp_path)
    with pytest.raises(StoreError, match="no statistics here"):
        run_index(build.config, build.layout)


def test_a_build_that_kept_nothing_has_a_whole_index(tmp_path):
    build = make_up(tmp_path, statuses=[Status.NO_SCENE, Status.REFUSED])
    finish(build)
    assert verify(build.layout.results).problems == ()
    assert set(read_manifest(build.layout.manifest).class_shares.values()) == {0.0}


def test_lists_decide_the_split_when_the_index_is_written(tmp_path):
    lists = {name: tmp_path / f"{name}.txt" for name in ("train", "test")}
    lists["train"].write_text("100\n107\n")
    lists["test"].write_text("Ort & Stelle 2\n")
    split = {"by": "lists", "lists": {name: str(path) for name, path in lists.items()}}
    build = make_up(tmp_path, config=made_up_config(10, split=split))
    finish(build)
    found = {row["id"]: row["split"] for row in rows_of(build)}
    assert [found[100], found[107], found[114], found[121]] == ["train", "train", "test", ""]
    stored = StoreReader.open(build.layout.store).row_values("split")
    assert stored[:4].tolist() == [0, 0, 2, 255]
    assert read_manifest(build.layout.manifest).split_counts == {"train": 1, "val": 0, "test": 1}
    assert verify(build.layout.results).problems == ()
    store = build.layout.store / "s2_l1c_10m/c/0/0/0/0/0"
    before = store.stat().st_mtime_ns
    lists["test"].write_text("107\n")
    lists["train"].write_text("100\n")
    run_index(build.config, build.layout)
    assert [row["split"] for row in rows_of(build)][:3] == ["train", "test", ""]
    assert store.stat().st_mtime_ns == before

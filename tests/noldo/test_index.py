"""The index as this package and as others read it."""

import json
from pathlib import Path

import geopandas as gpd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from noldo.errors import MissingExtraError, StoreError, StoreFormatError
from noldo.index import GEO_METADATA, index_schema, read_index
from tests.noldo.made_up_data_set import DataSet


def test_geopandas_reads_it_as_longitudes_and_latitudes(data_set: DataSet) -> None:
    frame = gpd.read_parquet(data_set.root / "nol.parquet")
    assert frame.crs == "OGC:CRS84"
    assert frame.geometry[2].bounds == pytest.approx((11.0, 47.0, 11.1, 47.1))
    assert frame["status"].tolist()[3] == "no_scene"
    assert len(frame["scene_s2_l1c"][0]) == 3


def test_the_geo_metadata_is_in_the_schema() -> None:
    assert json.loads(index_schema().metadata[b"geo"]) == GEO_METADATA


def test_reading_gives_the_columns_of_the_format(data_set: DataSet) -> None:
    assert read_index(data_set.root / "nol.parquet").schema.equals(index_schema())


def test_missing_and_wrong_columns_are_named(data_set: DataSet, tmp_path: Path) -> None:
    table = read_index(data_set.root / "nol.parquet").drop_columns(["place"])
    position = table.schema.get_field_index("shard")
    table = table.set_column(position, "shard", table.column("shard").cast(pa.int64()))
    pq.write_table(table, tmp_path / "nol.parquet")
    with pytest.raises(StoreFormatError, match="columns place, shard are missing or of another type"):
        read_index(tmp_path / "nol.parquet")


def test_what_is_no_index_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="can't be read"):
        read_index(tmp_path / "nol.parquet")
    (tmp_path / "nol.parquet").write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(StoreFormatError, match="not a parquet file"):
        read_index(tmp_path / "nol.parquet")


def test_without_pyarrow_the_hint_is_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingExtraError, match="pip install"):
        read_index(tmp_path / "nol.parquet")

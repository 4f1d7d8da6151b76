import json
import re

import pytest

from builders.points import read_points, refuse
from noldo.errors import InputError

PLACES = [(3, 10.0, 50.0, "Third"), (1, -70.65, -33.45, "First"), (2, 179.5, -16.9, "Second")]


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


def feature(lon, lat, *, id_=None, kind="Point", **properties):
    made = {
        "type": "Feature",
        "geometry": {"type": kind, "coordinates": [lon, lat]},
        "properties": properties,
    }
    return made if id_ is None else {**made, "id": id_}


def geojson(tmp_path, features, **members):
    tree = {"type": "FeatureCollection", "features": features, **members}
    return write(tmp_path, "places.geojson", json.dumps(tree))


def geoparquet(tmp_path, lon, lat, *, crs="OGC:CRS84", **columns):
    import geopandas

    path = tmp_path / "places.parquet"
    table = geopandas.GeoDataFrame(columns, geometry=geopandas.points_from_xy(lon, lat), crs=crs)
    table.to_parquet(path)
    return path


def values(points):
    return [(point.id, point.lon, point.lat, point.name) for point in points]


def as_csv(tmp_path):
    rows = "".join(f"{name},{lat},{lon},{id_}\n" for id_, lon, lat, name in PLACES)
    return write(tmp_path, "places.csv", "Name,Latitude,Longitude,ID\n" + rows)


def as_geojson(tmp_path):
    return geojson(tmp_path, [feature(lon, lat, id_=id_, name=name) for id_, lon, lat, name in PLACES])


def as_geojson_with_ids_among_the_properties(tmp_path):
    return geojson(tmp_path, [feature(lon, lat, id=id_, name=name) for id_, lon, lat, name in PLACES])


def as_geoparquet(tmp_path):
    id_, lon, lat, name = zip(*PLACES, strict=True)
    return geoparquet(tmp_path, lon, lat, id=list(id_), name=list(name))


@pytest.mark.parametrize(
    "make", [as_csv, as_geojson, as_geojson_with_ids_among_the_properties, as_geoparquet]
)
def test_every_format_gives_the_same_places_by_ascending_id(tmp_path, make):
    assert values(read_points(make(tmp_path))) == sorted(PLACES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10,50\n11,51\n", [(0, 10.0, 50.0, ""), (1, 11.0, 51.0, "")]),
        ("7,10,50\n5,11,51\n", [(5, 11.0, 51.0, ""), (7, 10.0, 50.0, "")]),  # index, lon, lat
        ("7,10,50,1\n5,11,51,0\n", [(5, 11.0, 51.0, ""), (7, 10.0, 50.0, "")]),  # and success
        ("index,lon,lat,success\n7,10,50,1\n", [(7, 10.0, 50.0, "")]),
        ("lon,lat\n10,50\n", [(0, 10.0, 50.0, "")]),
        ("lon,lat,id\n10,50,007\n11,51,8.0\n", [(7, 10.0, 50.0, ""), (8, 11.0, 51.0, "")]),
    ],
)
def test_the_documented_layouts_of_csv_are_read(tmp_path, text, expected):
    assert values(read_points(write(tmp_path, "places.csv", text))) == expected


def test_ids_that_are_no_numbers_become_names_and_rows_are_numbered(tmp_path, caplog):
    path = write(tmp_path, "places.csv", "id,lon,lat,name\nb7,10,50,\na3,11,51,Hof\n")
    with caplog.at_level("INFO"):
        assert values(read_points(path)) == [(0, 10.0, 50.0, "b7"), (1, 11.0, 51.0, "Hof")]
    assert "rows are numbered from 0" in caplog.text


def test_another_coordinate_system_is_brought_to_degrees(tmp_path):
    path = geoparquet(tmp_path, [500_000.0], [5_300_000.0], crs="EPSG:32632")
    (point,) = read_points(path)
    assert (point.lon, point.lat) == pytest.approx((9.0, 47.8534), abs=1e-4)
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::32632"}}
    (same,) = read_points(geojson(tmp_path, [feature(500_000.0, 5_300_000.0)], crs=crs))
    assert (same.lon, same.lat) == (point.lon, point.lat)


def test_latitude_first_systems_are_not_swapped(tmp_path):
    (point,) = read_points(geoparquet(tmp_path, [10.0], [50.0], crs="EPSG:4326"))
    assert (point.lon, point.lat) == (10.0, 50.0)


def test_missing_names_of_a_table_are_empty(tmp_path):
    path = geoparquet(tmp_path, [10.0, 11.0], [50.0, 51.0], name=["A", None])
    assert [point.name for point in read_points(path)] == ["A", ""]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty; expected one place a line, with lon, lat"),
        ("lon,lat\n", "a header, but no places below it"),
        ("x,y\nA,B\n", "line 1: no columns for lon among 'x, y'; name the columns lon, lat in a header"),
        ("id,lon,lat\n1,10,north\n", "line 2: lat is 'north', expected a number"),
        ("id,lon,lat\n1,10,50\n2,,50\n", "line 3: lon is '', expected a number"),
        ("id,lon,lat\n1,10,50\n2,11\n", "line 3: 2 cells, so lat is missing"),
        ("id,lon,lat\n1,10,50\n,11,51\n", "1 places have no id, others have: line 3"),
        ("id,lon,lat\n4,10,50\n5,11,51\n4,12,52\n", "1 ids are not unique: 4 (2 times)"),
        ("id,lon,lat\n4,10,50\n04,11,51\n", "1 ids are not unique: 4 (2 times)"),
        ("id,lon,lat\na,10,50\na,11,51\n", "1 ids are not unique: a (2 times)"),
        ("id,lon,lat\n9,50,110\n", "1 places are not on the Earth: line 2 (id 9): lon 50, lat 110"),
        ("id,lon,lat\n9,181,10\n", "1 places are not on the Earth: line 2 (id 9): lon 181, lat 10"),
        ("id,lon,lat\n9,10,84.1\n", "1 places lie beyond 84 N or 80 S"),
        ("id,lon,lat\n9,10,-80.1\n", "line 2 (id 9): lon 10, lat -80.1; remove them"),
    ],
)
def test_a_csv_that_cant_be_used_is_one_line_with_its_place(tmp_path, text, message):
    path = write(tmp_path, "places.csv", text)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}.*{re.escape(message)}") as caught:
        read_points(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "no FeatureCollection"),
        ('{"type": "Feature"}', "no FeatureCollection"),
        ('{"features": []}', "no places in it"),
        ('{"features": [7]}', "feature 0: not a GeoJSON feature with a point"),
        ('{"features": [{"geometry": null}]}', "feature 0: not a GeoJSON feature with a point"),
        (json.dumps({"features": [feature("east", 50)]}), "feature 0: coordinates 'east', 50"),
        (json.dumps({"features": [feature(True, 50)]}), "feature 0: coordinates True, 50"),
        (json.dumps({"features": [feature(1, float("nan"))]}), "feature 0: coordinates 1, nan"),
        (json.dumps({"features": [feature(1, 2, kind="MultiPoint")]}), "feature 0: a MultiPoint"),
        (json.dumps({"features": [feature(1, 2), feature(1, 95)]}), "feature 1: lon 1, lat 95"),
        (json.dumps({"features": [feature(1, 2)], "crs": {"properties": {"name": "moon"}}}), "'moon'"),
    ],
)
def test_a_geojson_that_cant_be_used_is_one_line_with_its_place(tmp_path, text, message):
    path = write(tmp_path, "places.json", text)
    with pytest.raises(InputError, match=f"^{re.escape(str(path))}.*{re.escape(message)}") as caught:
        read_points(path)
    assert "\n" not in str(caught.value)


def test_parquet_without_geometry_or_coordinate_system_is_an_error(tmp_path):
    import pandas as pd

    with pytest.raises(InputError, match="no coordinate system"):
        read_points(geoparquet(tmp_path, [10.0], [50.0], crs=None))
    path = tmp_path / "plain.parquet"
    pd.DataFrame({"lon": [10.0]}).to_parquet(path)
    with pytest.raises(InputError, match=r"plain.parquet: not readable GeoParquet \("):
        read_points(path)
    path.write_bytes(b"PAR1 is not enough")
    with pytest.raises(InputError, match=r"plain.parquet: not readable GeoParquet \("):
        read_points(path)


def test_areas_and_missing_points_of_a_table_are_named(tmp_path):
    import geopandas
    from shapely.geometry import Point as ShapelyPoint
    from shapely.geometry import box

    path = tmp_path / "areas.parquet"
    geopandas.GeoDataFrame(geometry=[ShapelyPoint(1, 2), box(0, 0, 1, 1)], crs="OGC:CRS84").to_parquet(path)
    with pytest.raises(InputError, match="row 1: a Polygon, expected a Point"):
        read_points(path)
    geopandas.GeoDataFrame(geometry=[None, ShapelyPoint(1, 2)], crs="OGC:CRS84").to_parquet(path)
    with pytest.raises(InputError, match="row 0: nothing, expected a Point"):
        read_points(path)


def test_a_missing_file_and_an_unknown_ending_are_named(tmp_path):
    with pytest.raises(InputError, match=r"nowhere.csv: no such file; correct locations.points"):
        read_points(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match=r"places.shp: places are read from .csv, .geojson"):
        read_points(write(tmp_path, "places.shp", ""))


def test_a_message_names_five_offenders_and_counts_all(tmp_path):
    with pytest.raises(InputError) as caught:
        refuse(
            tmp_path, [f"line {line}" for line in range(2, 14)], found="places are odd", remedy="move them"
        )
    assert str(caught.value) == (
        f"{tmp_path}: 12 places are odd: line 2; line 3; line 4; line 5; line 6; and 7 more; move them"
    )

"""Catalogues of one's own GeoTIFFs: what is served, what is masked, and what is wrong with a bad one."""

import datetime as dt
import json
import os
from pathlib import Path

import numpy as np
import pytest
import rasterio

from noldo.errors import InputError
from noldo.products import S1_BANDS, S2_L1C_BANDS, S2_L2A_BANDS
from sandbox.archive import DW, S1_GRD, S2_L1C, S2_L2A, Archive
from sandbox.catalogue import Catalogue
from sandbox.catalogue_files import add_to_catalogue, describe_scene, write_catalogue
from sandbox.server import serving
from tests.sandbox.loopback import call, connect, disconnect, grid

TIME = dt.datetime(2021, 7, 23, 13, 22, 41)
EVERYWHERE = {"bounds": (-180.0, -90.0, 180.0, 90.0), "start_ms": 0, "end_ms": 2**53}
CORNER = (600_007.5, 5_300_003.25)
REAL = Path(os.environ.get("NOLDO_REAL_DATA", Path(__file__).parents[2].parent / "shared" / "data"))


def fits_the_contract(archive: Archive) -> Catalogue:
    return archive


def write_tiff(path, array, *, nodata=None, epsg=32632, corner=CORNER, metres=10):
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = array.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        width=width,
        height=height,
        count=count,
        dtype=array.dtype,
        nodata=nodata,
        crs=f"EPSG:{epsg}",
        transform=rasterio.Affine(metres, 0, corner[0], 0, -metres, corner[1]),
    ) as target:
        target.write(array)
    return path


def numbers(bands=13, low=0, high=3000, seed=0, side=12):
    return np.random.default_rng(seed).integers(low, high, (bands, side, side)).astype("int16")


def scene(folder, array=None, *, collection=S2_L1C, index="a", bands=S2_L1C_BANDS, file="l1c.tif", **options):
    path = write_tiff(
        folder / file, numbers() if array is None else array, nodata=options.pop("nodata", None)
    )
    return describe_scene(
        {path: bands}, collection=collection, index=index, time=TIME, folder=folder, **options
    )


def only(archive, collection=S2_L1C):
    (record,) = archive.find(collection, **EVERYWHERE)
    return record


def read(archive, record, band, *, column=0, row=0, side=12):
    return archive.read(record, band, column=column, row=row, width=side, height=side)


def test_bands_of_one_file_are_served_in_earth_engines_order_on_its_own_grid(tmp_path):
    array = numbers()
    shuffled = list(reversed(S2_L1C_BANDS))
    archive = Archive(write_catalogue(tmp_path, [scene(tmp_path, array, bands=shuffled)]))
    record = only(archive)
    assert [band.name for band in archive.bands(record)] == list(S2_L1C_BANDS)
    first = archive.bands(record)[0]
    assert (first.crs_epsg, first.transform) == (32632, (10, 0, 600_007.5, 0, -10, 5_300_003.25))
    assert (first.dtype, first.width, first.height) == ("uint16", 12, 12)
    values, mask = read(archive, record, "B12")
    assert (values == array[0]).all()
    assert mask.all()


def test_one_file_a_band_may_have_other_pixels(tmp_path):
    fine, coarse = numbers(1, side=12), numbers(1, side=6, seed=1)
    item = describe_scene(
        {
            write_tiff(tmp_path / "b4.tif", fine): ["B04"],
            write_tiff(tmp_path / "b5.tif", coarse, metres=20): ["B05"],
        },
        collection=S2_L2A,
        index="a",
        time=TIME,
        folder=tmp_path,
    )
    archive = Archive(write_catalogue(tmp_path, [item]))
    record = only(archive, S2_L2A)
    assert [(band.name, band.width) for band in archive.bands(record)] == [("B4", 12), ("B5", 6)]
    values, mask = read(archive, record, "B5", side=6)
    assert (values[mask] == coarse[0][mask]).all()


def test_windows_that_leave_the_image_are_masked_there(tmp_path):
    array = numbers(low=1)
    archive = Archive(write_catalogue(tmp_path, [scene(tmp_path, array)]))
    values, mask = read(archive, only(archive), "B1", column=-3, row=8)
    assert mask.sum() == 9 * 4
    assert (values[:4, 3:] == array[0, 8:, :9]).all()
    assert not read(archive, only(archive), "B1", column=100)[1].any()


def test_negative_numbers_become_zero_and_zero_in_all_bands_is_no_data(tmp_path):
    array = numbers(low=5)
    array[:, 0, 0] = 0
    array[0, 1, 1], array[1, 1, 1] = -20, 0
    archive = Archive(write_catalogue(tmp_path, [scene(tmp_path, array)]))
    values, mask = read(archive, only(archive), "B1")
    assert mask.sum() == 143
    assert not mask[0, 0]
    assert (values[1, 1], mask[1, 1]) == (0, True)


def test_a_declared_value_is_no_data_and_then_zero_is_a_number(tmp_path):
    array = numbers(low=5)
    array[:, 0, 0] = 0
    array[:, 0, 1] = -9999
    archive = Archive(write_catalogue(tmp_path, [scene(tmp_path, array, nodata=-9999)]))
    _, mask = read(archive, only(archive), "B1")
    assert mask[0, 0]
    assert not mask[0, 1]


@pytest.mark.parametrize(
    ("properties", "low", "expected"),
    [
        ({}, 1000, -1000.0),
        ({}, 10, 0.0),
        ({"noldo:radiometric_offset": 0}, 1000, 0.0),
        ({"noldo:radiometric_offset": -1000}, 10, -1000.0),
        ({"s2:processing_baseline": "05.11"}, 10, -1000.0),
        ({"s2:processing_baseline": "03.01"}, 1000, 0.0),
        ({"s2:processing_baseline": "04.00", "earthsearch:boa_offset_applied": True}, 1000, 0.0),
    ],
)
def test_the_offset_of_l1c_is_taken_off_by_what_the_scene_says_or_else_by_its_cirrus_band(
    tmp_path, properties, low, expected
):
    array = numbers(low=low, high=low + 3000)
    array[0, 0, 0] = 400
    archive = Archive(write_catalogue(tmp_path, [scene(tmp_path, array, properties=properties)]))
    record = only(archive)
    assert record.properties["radiometric_offset"] == expected
    assert (read(archive, record, "B1")[0] == (array[0] + int(expected)).clip(0)).all()
    assert record.properties.get("PROCESSING_BASELINE") == properties.get("s2:processing_baseline")


def test_an_offset_that_the_bands_declare_counts_and_l2a_without_metadata_has_none(tmp_path):
    item = scene(tmp_path, collection=S2_L2A, bands=S2_L2A_BANDS, array=numbers(12, low=1000))
    assert only(Archive(write_catalogue(tmp_path, [item])), S2_L2A).properties["radiometric_offset"] == 0
    (asset,) = item["assets"].values()
    asset["raster:bands"] = [{"scale": 0.0001, "offset": -0.1}] * 12
    assert only(Archive(write_catalogue(tmp_path, [item])), S2_L2A).properties["radiometric_offset"] == -1000
    asset["raster:bands"] = [{"scale": 0.0001, "offset": -0.2}] * 12
    with pytest.raises(InputError, match=r"item a--.*offset / scale: found \[-2000\]"):
        only(Archive(write_catalogue(tmp_path, [item])), S2_L2A)


def test_sentinel_1_is_served_in_db_and_what_is_not_finite_is_masked(tmp_path):
    db = np.random.default_rng(0).uniform(-30, 5, (2, 12, 12)).astype("float32")
    db[0, 3, 3] = np.nan
    item = scene(
        tmp_path,
        db,
        collection=S1_GRD,
        bands=S1_BANDS,
        file="s1.tif",
        properties={"sat:orbit_state": "ascending", "sat:relative_orbit": 66, "sar:instrument_mode": "IW"},
    )
    archive = Archive(write_catalogue(tmp_path, [item]))
    record = only(archive, S1_GRD)
    assert record.properties == {
        "instrumentMode": "IW",
        "transmitterReceiverPolarisation": ["VV", "VH"],
        "orbitProperties_pass": "ASCENDING",
        "relativeOrbitNumber_start": 66,
    }
    values, mask = read(archive, record, "VV")
    assert values.dtype == np.float64
    assert (values[mask] == db[0].astype("float64")[mask]).all()
    assert np.argwhere(~mask).tolist() == [[3, 3]]


def test_labels_beyond_the_legend_are_masked_and_probabilities_are_scaled(tmp_path):
    labels = np.arange(144, dtype="uint8").reshape(1, 12, 12)
    share = np.full((1, 12, 12), 2500, "uint16")
    item = describe_scene(
        {write_tiff(tmp_path / "l.tif", labels): ["label"], write_tiff(tmp_path / "p.tif", share): ["water"]},
        collection=DW,
        index="a",
        time=TIME,
        folder=tmp_path,
    )
    item["assets"]["p"]["bands"][0]["raster:scale"] = 1e-4
    archive = Archive(write_catalogue(tmp_path, [item]))
    record = only(archive, DW)
    values, mask = read(archive, record, "label")
    assert values[mask].tolist() == list(range(9))
    water, _ = read(archive, record, "water")
    assert water.dtype == np.float32
    assert water[0, 0] == pytest.approx(0.25)


def test_twins_share_the_name_that_is_left_without_the_suffix(tmp_path):
    items = [scene(tmp_path)]
    items[0]["id"] = "T32TPT_20210723_L1C"
    del items[0]["properties"]["noldo:system_index"], items[0]["properties"]["noldo:collection"]
    items[0]["collection"] = "sentinel-2-l1c"
    items[0]["properties"] |= {"grid:code": "MGRS-32TPT", "eo:cloud_cover": 7.5}
    record = only(Archive(write_catalogue(tmp_path, items)))
    assert record.index == "T32TPT_20210723"
    assert record.properties["MGRS_TILE"] == "32TPT"
    assert record.properties["CLOUDY_PIXEL_PERCENTAGE"] == 7.5


def test_scenes_are_found_by_place_and_time(tmp_path):
    early, late = scene(tmp_path, index="early"), scene(tmp_path, index="late")
    late["properties"]["datetime"] = "2021-09-01T00:00:00Z"
    archive = Archive(write_catalogue(tmp_path, [late, early]))
    assert [one.index for one in archive.find(S2_L1C, **EVERYWHERE)] == ["early", "late"]
    end = int(dt.datetime(2021, 9, 1, tzinfo=dt.UTC).timestamp() * 1000)
    assert [one.index for one in archive.find(S2_L1C, **(EVERYWHERE | {"end_ms": end}))] == ["early"]
    assert [one.index for one in archive.find(S2_L1C, **(EVERYWHERE | {"start_ms": end}))] == ["late"]
    elsewhere = EVERYWHERE | {"bounds": (0.0, 0.0, 1.0, 1.0)}
    assert archive.find(S2_L1C, **elsewhere) == []
    assert archive.find(DW, **EVERYWHERE) == []
    assert archive.scene(S2_L1C, "early").time_start_ms == 1_627_046_561_000
    assert archive.scene(S2_L1C, "never") is None


def test_every_form_of_catalogue_is_read(tmp_path):
    first, second = scene(tmp_path, index="a"), scene(tmp_path, index="b")
    path = write_catalogue(tmp_path, [first])
    add_to_catalogue(path, second)
    add_to_catalogue(path, second)
    nested = tmp_path / "root.json"
    links = [
        {"rel": "child", "href": "catalog.json"},
        {"rel": "self", "href": "https://example.org/root.json"},
    ]
    nested.write_text(json.dumps({"type": "Collection", "id": "r", "links": links}))
    collected = tmp_path / "items.json"
    collected.write_text(json.dumps({"type": "FeatureCollection", "features": [first, second]}))
    for one in (path, nested, collected):
        assert [record.index for record in Archive(one).find(S2_L1C, **EVERYWHERE)] == ["a", "b"]
    assert len(Archive(tmp_path / f"{first['id']}.json")) == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda item: item["properties"].update({"datetime": "soon"}), "datetime: found 'soon'"),
        (lambda item: item["properties"].update({"noldo:collection": "X"}), "noldo:collection: found 'X'"),
        (
            lambda item: item["properties"].update({"noldo:system_index": "a/b"}),
            "noldo:system_index: found 'a/b'",
        ),
        (
            lambda item: item["properties"].update({"s2:processing_baseline": "new"}),
            "processing_baseline: found 'new'",
        ),
        (
            lambda item: item["properties"].update({"noldo:radiometric_offset": 5}),
            "radiometric_offset: found 5",
        ),
        (
            lambda item: item.update({"geometry": {"type": "Point", "coordinates": [1, 2]}}),
            "geometry: found 'Point'",
        ),
        (lambda item: item.update({"assets": {}}), "no asset that names its bands"),
        (lambda item: item["assets"]["l1c"].update({"href": "../x.tif"}), "leads out of"),
        (lambda item: item["assets"]["l1c"].update({"href": "/etc/hosts"}), "leads out of"),
        (
            lambda item: item["assets"]["l1c"].update({"href": "https://example.org/x.tif"}),
            "expected a path relative",
        ),
        (lambda item: item["assets"]["l1c"].update({"href": "gone.tif"}), "href: found 'gone.tif'"),
        (lambda item: item["assets"]["l1c"]["bands"].__setitem__(0, {"name": "B99"}), r"found \['B99'\]"),
        (lambda item: item["assets"].update(copy=item["assets"]["l1c"]), "each band once"),
        (lambda item: item.update({"id": ""}), "without id"),
    ],
)
def test_what_is_wrong_with_an_item_is_said_with_its_name_and_key(tmp_path, spoil, message):
    item = scene(tmp_path)
    name = item["id"]
    spoil(item)
    path = tmp_path / "items.json"
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [item]}))
    with pytest.raises(InputError, match=message) as caught:
        Archive(path).find(S2_L1C, **EVERYWHERE)
    if item["id"] and "href" not in str(caught.value):
        assert name in str(caught.value)


def test_two_scenes_of_one_name_are_refused(tmp_path):
    first = scene(tmp_path)
    second = {**first, "id": "other"}
    with pytest.raises(InputError, match="a name that a--copernicus-s2_harmonized does not have"):
        Archive(write_catalogue(tmp_path, [first, second]))


def test_files_that_are_no_catalogue_are_refused(tmp_path):
    path = tmp_path / "catalog.json"
    for text, message in (
        ("{", "not valid JSON"),
        ("[]", "expected a STAC object"),
        ('{"type": "X"}', "found 'X'"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=message):
            Archive(path)
    path.write_text('{"type": "Catalog", "links": []}')
    with pytest.raises(InputError, match="no items found"):
        Archive(path)


def test_an_image_without_crs_or_with_fractions_is_refused_when_it_is_read(tmp_path):
    item = scene(tmp_path, numbers().astype("float32"))
    archive = Archive(write_catalogue(tmp_path, [item]))
    with pytest.raises(InputError, match="found float32, expected integers"):
        read(archive, only(archive), "B1")
    (tmp_path / "l1c.tif").write_bytes(b"no image")
    other = tmp_path / "other"
    broken = write_tiff(other / "l1c.tif", numbers())
    broken.write_bytes(b"no image")
    with pytest.raises(InputError, match="not an image that GDAL reads"):
        describe_scene({broken: S2_L1C_BANDS}, collection=S2_L1C, index="a", time=TIME, folder=other)


def test_an_image_that_can_not_be_read_is_a_400_that_names_the_file(tmp_path, caplog):
    item = scene(tmp_path, numbers().astype("float32"))
    body = {
        "expression": {"result": "0", "values": {"0": {"functionInvocationValue": {
            "functionName": "Image.load", "arguments": {"id": {"constantValue": f"{S2_L1C}/a"}}}}}},
        "fileFormat": "NPY",
        "grid": grid(32632, *CORNER, 4),
    }  # fmt: skip
    with serving(Archive(write_catalogue(tmp_path, [item]))) as server:
        reply = call(f"{server.url}/v1/projects/p/image:computePixels", body)
    assert reply.status == 400
    assert "l1c.tif, band B1: found float32, expected integers" in reply.json()["error"]["message"]


def test_a_description_refuses_files_outside_and_unknown_collections(tmp_path):
    path = write_tiff(tmp_path / "a.tif", numbers())
    options = {"index": "a", "time": TIME, "folder": tmp_path / "sub"}
    with pytest.raises(InputError, match="not inside"):
        describe_scene({path: S2_L1C_BANDS}, collection=S2_L1C, **options)
    with pytest.raises(InputError, match="expected one of COPERNICUS"):
        describe_scene({path: S2_L1C_BANDS}, collection="L1C", **options)
    with pytest.raises(InputError, match="no files"):
        describe_scene({}, collection=S2_L1C, **options)


PLACES = {
    "282D_485L_3_3": ("2021-07-23T13:22:41", "2021-07-21T08:40:10", 32722, -1000.0),
    "433D_629L_3_1": ("2020-04-08T14:37:29", "2020-04-11T23:43:09", 32718, -1000.0),
    "637U_59R_1_3": ("2017-10-30T10:41:51", "2017-10-30T05:32:30", 32632, 0.0),
}


@pytest.fixture
def terramesh(tmp_path):
    """Three real places as a catalogue; the files stay where they are, behind a link."""
    if not (REAL / "terramesh").is_dir():
        pytest.skip(f"{REAL}/terramesh is absent; point NOLDO_REAL_DATA to a folder that has it")
    data = tmp_path / "data"
    data.symlink_to(REAL / "terramesh")
    items = []
    for place, (s2_time, s1_time, _, _) in PLACES.items():
        for collection, folder, bands, time in (
            (S2_L1C, "S2L1C", S2_L1C_BANDS, s2_time),
            (S2_L2A, "S2L2A", S2_L2A_BANDS, s2_time),
            (S1_GRD, "S1RTC", S1_BANDS, s1_time),
            (DW, "DW", ("label",), s2_time),
        ):
            file = data / folder / (f"{place}_dwlabel.tif" if collection == DW else f"{place}.tif")
            items.append(
                describe_scene(
                    {file: bands},
                    collection=collection,
                    index=place,
                    folder=tmp_path,
                    time=dt.datetime.fromisoformat(time),
                )
            )
    return Archive(write_catalogue(tmp_path, items))


def test_real_scenes_are_served_pixel_for_pixel_without_the_offset(terramesh):
    with serving(terramesh) as server:
        ee = connect(server.url)
        try:
            for place, (_, _, epsg, offset) in PLACES.items():
                image = ee.Image(f"{S2_L1C}/{place}")
                assert image.get("radiometric_offset").getInfo() == offset
                check_place(ee, place, epsg, offset)
        finally:
            disconnect()


def check_place(ee, place, epsg, offset):
    with rasterio.open(REAL / "terramesh" / "S2L1C" / f"{place}.tif") as source:
        own, transform = source.read().astype(int), source.transform
    x, y = 60 * round((transform.c + 70) / 60), 60 * round((transform.f - 70) / 60)
    side = 192
    columns = np.floor((x + 5 + 10 * np.arange(side) - transform.c) / 10).astype(int)
    rows = np.floor((transform.f - (y - 5 - 10 * np.arange(side))) / 10).astype(int)
    got = ee.data.computePixels(
        {
            "expression": ee.Image(f"{S2_L1C}/{place}"),
            "fileFormat": "NUMPY_NDARRAY",
            "grid": grid(epsg, x, y, side),
        }
    )
    for number, band in enumerate(S2_L1C_BANDS):
        expected = (own[number][np.ix_(rows, columns)] + int(offset)).clip(0)
        assert (got[band] == expected).all(), (place, band)
    labels = ee.data.computePixels(
        {
            "expression": ee.Image(f"{DW}/{place}").select("label").unmask(255, False),
            "fileFormat": "NUMPY_NDARRAY",
            "grid": grid(epsg, x, y, side),
        }
    )
    with rasterio.open(REAL / "terramesh" / "DW" / f"{place}_dwlabel.tif") as source:
        assert (labels["label"] == source.read(1)[np.ix_(rows, columns)]).all()

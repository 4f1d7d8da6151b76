"""What the unmodified client gets is what the catalogue holds, pixel for pixel."""

import io
import zipfile

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from rasterio.io import MemoryFile

from noldo.products import S2_L1C_BANDS, S2_RESOLUTION_M
from tests.sandbox.fake_earth import CORNERS, DW, L1C, L2A, S1, pixel
from tests.sandbox.loopback import call, grid

FIRST = {tile: f"20220003T103041_20220003T103037_T{tile}" for tile in CORNERS}


def asset(collection: str, tile: str, day: int = 3) -> str:
    return f"{collection}/2022{day:04d}T103041_2022{day:04d}T103037_T{tile}"


def stack(ee, expression, where, file_format="NUMPY_NDARRAY"):
    return ee.data.computePixels({"expression": expression, "fileFormat": file_format, "grid": where})


@pytest.mark.parametrize("tile", CORNERS)
def test_bands_of_10_20_and_60_m_are_exact_copies_on_the_lattice(client, tile):
    epsg, x, y = CORNERS[tile]
    image = client.Image(asset(L1C, tile))
    got = stack(client, image, grid(epsg, x + 6000, y - 12_000, 24))
    assert got.dtype.names == S2_L1C_BANDS
    for band, metres in S2_RESOLUTION_M.items():
        repeat = metres // 10
        side = 24 // repeat
        columns, rows = np.arange(side)[None, :] + 6000 // metres, np.arange(side)[:, None] + 12_000 // metres
        own = pixel(asset(L1C, tile), band, columns, rows)
        assert (got[band] == own.repeat(repeat, 0).repeat(repeat, 1)).all(), band
        assert got[band].dtype == np.dtype("<u2")


def test_a_grid_of_20_m_gives_each_coarse_pixel_once(client):
    epsg, x, y = CORNERS["32TPT"]
    got = stack(client, client.Image(asset(L2A, "32TPT")).select(["B5", "SCL"]), grid(epsg, x, y, 12, 20))
    columns, rows = np.arange(12)[None, :], np.arange(12)[:, None]
    assert (got["B5"] == pixel(asset(L2A, "32TPT"), "B5", columns, rows)).all()
    assert got["SCL"].dtype == np.uint8


def test_another_zone_is_sampled_at_every_pixels_own_centre(client):
    epsg, x, y = CORNERS["33TUN"]
    where = grid(32632, 760_000, 5_250_000, 264)
    got = stack(client, client.Image(asset(L1C, "33TUN")).select(["B2", "B5"]), where)
    j, i = np.meshgrid(np.arange(264) + 0.5, np.arange(264) + 0.5)
    change = Transformer.from_crs(32632, epsg, always_xy=True)
    there_x, there_y = change.transform(760_000 + 10 * j, 5_250_000 - 10 * i)
    for band, metres in (("B2", 10), ("B5", 20)):
        columns, rows = (there_x - x) / metres, (y - there_y) / metres
        assert min(columns.min(), rows.min()) > 0
        own = pixel(asset(L1C, "33TUN"), band, np.floor(columns).astype(int), np.floor(rows).astype(int))
        assert (got[band] == own).mean() == 1.0


def test_sentinel_1_is_bilinear_between_its_own_pixels(client):
    epsg, x, y = CORNERS["32TPT"]
    name = f"{S1}/20220002T103041_20220002T103037_T32TPT"
    image = client.Image(name).select(["VV", "VH"]).resample("bilinear")
    got = stack(client, image, grid(epsg, x + 600, y - 600, 32))
    assert got["VV"].dtype == np.float64
    u = (600 + 10 * (np.arange(32) + 0.5) - 3.7) / 10 - 0.5
    v = (600 + 10 * (np.arange(32) + 0.5) - 4.2) / 10 - 0.5
    columns, rows = np.floor(u).astype(int), np.floor(v).astype(int)
    fx, fy = (u - columns)[None, :], (v - rows)[:, None]

    def db(band: str, right: int, below: int) -> np.ndarray:
        return pixel(name, band, columns[None, :] + right, rows[:, None] + below) / 400 - 25

    for band in ("VV", "VH"):
        above = db(band, 0, 0) * (1 - fx) + db(band, 1, 0) * fx
        below = db(band, 0, 1) * (1 - fx) + db(band, 1, 1) * fx
        np.testing.assert_allclose(got[band], above * (1 - fy) + below * fy, atol=1e-9)


def test_without_resample_sentinel_1_is_the_nearest_pixel(client):
    epsg, x, y = CORNERS["32TPT"]
    name = f"{S1}/20220002T103041_20220002T103037_T32TPT"
    got = stack(client, client.Image(name).select("VV"), grid(epsg, x + 600, y - 600, 8))
    columns, rows = np.arange(60, 68)[None, :], np.arange(60, 68)[:, None]
    assert (got["VV"] == pixel(name, "VV", columns, rows) / 400 - 25).all()


def test_reproject_computes_on_its_own_pixels_and_is_then_sampled_by_the_nearest(client):
    epsg, x, y = CORNERS["32TPT"]
    image = client.Image(asset(L1C, "32TPT")).select("B2")
    coarse = image.reproject(f"EPSG:{epsg}", [30, 0, x + 600, 0, -30, y - 600])
    got = stack(client, coarse, grid(epsg, x + 600, y - 600, 12))["B2"]
    # The centre of a 30 m pixel is the centre of its middle 10 m pixel.
    middle = np.arange(61, 73, 3)
    own = pixel(asset(L1C, "32TPT"), "B2", middle[None, :], middle[:, None])
    assert (got == own.repeat(3, 0).repeat(3, 1)).all()


def test_masked_pixels_arrive_as_zero(client):
    epsg, x, y = CORNERS["32TQT"]
    got = stack(client, client.Image(asset(DW, "32TQT")).select(["label", "water"]), grid(epsg, x, y, 40))
    assert not got["label"].any()
    assert not got["water"].any()


def test_unmask_fills_holes_inside_the_footprint_only_unless_told_otherwise(client):
    epsg, x, y = CORNERS["32TQT"]
    label = client.Image(asset(DW, "32TQT")).select("label")
    where = grid(epsg, x - 200, y - 3000, 60)
    same, everywhere = (stack(client, label.unmask(255, keep), where)["label"] for keep in (True, False))
    outside = np.arange(60) < 20
    assert (same[:, outside] == 0).all()
    assert (everywhere[:, outside] == 255).all()
    assert (same[:, 21:] == everywhere[:, 21:]).all()
    assert (same[:, 21:] < 9).any()
    assert (same[:, 21:] == 255).any()


def test_a_value_outside_the_type_widens_it(client):
    epsg, x, y = CORNERS["32TPT"]
    image = client.Image(asset(L1C, "32TPT")).select("B2")
    where = grid(epsg, x, y, 4)
    assert stack(client, image.unmask(65535, False), where)["B2"].dtype == np.uint16
    assert stack(client, image.unmask(-9999, False), where)["B2"].dtype == np.int32


def test_half_a_scene_that_was_not_observed_is_masked(client):
    epsg, x, y = CORNERS["32TPT"]
    image = client.Image(asset(L1C, "32TPT", 8)).select("B2").unmask(65535, False)
    got = stack(client, image, grid(epsg, x + 54_900 - 100, y - 600, 20))["B2"]
    assert (got[:, :10] < 65535).all()
    assert (got[:, 10:] == 65535).all()


def test_get_pixels_and_compute_pixels_agree(client):
    epsg, x, y = CORNERS["32TPT"]
    where = grid(epsg, x + 60, y - 60, 12)
    asked = {
        "assetId": asset(L1C, "32TPT"),
        "fileFormat": "NUMPY_NDARRAY",
        "grid": where,
        "bandIds": ["B8", "B1"],
    }
    got = client.data.getPixels(asked)
    assert got.dtype.names == ("B8", "B1")
    assert (got == stack(client, client.Image(asset(L1C, "32TPT")).select(["B8", "B1"]), where)).all()


def test_a_geotiff_has_names_crs_and_transform(client):
    epsg, x, y = CORNERS["19HBU"]
    image = client.Image(asset(L1C, "19HBU")).select(["B4", "B3"], ["red", "green"])
    data = stack(client, image, grid(epsg, x + 60, y - 60, 16), "GEO_TIFF")
    with MemoryFile(data) as memory, memory.open() as source:
        assert source.descriptions == ("red", "green")
        assert source.crs.to_epsg() == epsg
        assert source.transform == rasterio.Affine(10, 0, x + 60, 0, -10, y - 60)
        columns, rows = np.arange(6, 22)[None, :], np.arange(6, 22)[:, None]
        assert (source.read(1) == pixel(asset(L1C, "19HBU"), "B4", columns, rows)).all()


def test_a_geotiff_of_mixed_types_is_refused(client):
    epsg, x, y = CORNERS["32TPT"]
    mixed = client.Image(asset(L2A, "32TPT")).select(["B2", "SCL"])
    with pytest.raises(client.EEException, match="found inconsistent types: Uint16, Uint8"):
        stack(client, mixed, grid(epsg, x, y, 4), "GEO_TIFF")


def test_an_npy_header_of_144_short_names_is_loaded_by_numpy(client):
    epsg, x, y = CORNERS["32TPT"]
    band = client.Image(asset(L1C, "32TPT")).select("B2")
    image = client.Image.cat([band.rename(f"c{number:03d}") for number in range(144)])
    assert len(stack(client, image, grid(epsg, x, y, 6)).dtype.names) == 144


@pytest.mark.parametrize(
    ("side", "bands", "message"),
    [
        (33_000, 1, r"Pixel grid dimensions \(33000x33000\) must be less than or equal to 32768\."),
        (4, 1025, r"Number of bands \(1025\) must be less than or equal to 1024\."),
        (1300, 10, r"Total request size \(50700000 bytes\) must be less than or equal to 50331648 bytes\."),
    ],
)
def test_requests_beyond_a_limit_are_refused_in_the_services_words(client, side, bands, message):
    image = client.Image.constant([1000] * bands)
    with pytest.raises(client.EEException, match=message):
        stack(client, image, grid(32632, 600_000, 5_300_040, side))


def test_whole_images_are_refused(client):
    image = client.Image(asset(L1C, "32TPT"))
    with pytest.raises(client.EEException, match="whole images are not served"):
        stack(client, image, {"crsCode": "EPSG:32632", "affineTransform": {"scaleX": 10, "scaleY": -10}})


def test_a_missing_scene_and_a_missing_band_are_named(client):
    where = grid(32632, 600_000, 5_300_040, 4)
    with pytest.raises(client.EEException, match=r"nowhere' not found \(does not exist or caller does not"):
        stack(client, client.Image(f"{L1C}/nowhere"), where)
    with pytest.raises(
        client.EEException, match="Band pattern 'B99' was applied to an Image with no matching bands"
    ):
        stack(client, client.Image(asset(L1C, "32TPT")).select("B99"), where)


def test_a_cast_that_does_not_fit_is_refused(client):
    where = grid(32632, 600_000, 5_300_040, 4)
    image = client.Image(asset(L1C, "32TPT")).select("B2").multiply(100)
    with pytest.raises(client.EEException, match=r"Band 'B2' has values from .* which do not fit uint16"):
        stack(client, image.toUint16(), where)
    assert stack(client, image.divide(100).toUint16(), where)["B2"].dtype == np.uint16


def test_a_download_is_made_when_it_is_fetched(client):
    epsg, x, y = CORNERS["32TPT"]
    image = client.Image(asset(L1C, "32TPT")).select(["B4", "B8"])
    region = client.Geometry.Rectangle([x + 600, y - 1200, x + 1200, y - 600], f"EPSG:{epsg}", False)
    columns, rows = np.arange(60, 120)[None, :], np.arange(60, 120)[:, None]
    own = pixel(asset(L1C, "32TPT"), "B4", columns, rows)

    url = image.getDownloadURL({"crs": f"EPSG:{epsg}", "scale": 10, "region": region, "format": "NPY"})
    got = np.load(io.BytesIO(fetch(url)), allow_pickle=False)
    assert got.shape == (60, 60)
    assert (got["B4"] == own).all()

    exact = {"crs": f"EPSG:{epsg}", "crs_transform": [10, 0, x + 600, 0, -10, y - 600], "dimensions": "60x60"}
    with (
        MemoryFile(fetch(image.getDownloadURL({**exact, "format": "GEO_TIFF"}))) as memory,
        memory.open() as source,
    ):
        assert (source.read(1) == own).all()
        assert source.transform == rasterio.Affine(10, 0, x + 600, 0, -10, y - 600)

    with zipfile.ZipFile(io.BytesIO(fetch(image.getDownloadURL({**exact, "name": "patch"})))) as archive:
        assert sorted(archive.namelist()) == ["patch.B4.tif", "patch.B8.tif"]


def test_a_download_beyond_32_mb_is_refused_when_it_is_fetched(client):
    image = client.Image.constant([1.5] * 8).setDefaultProjection("EPSG:32632", [10, 0, 0, 0, -10, 0])
    region = client.Geometry.Rectangle([600_000, 5_200_000, 610_000, 5_210_000], "EPSG:32632", False)
    url = image.getDownloadURL({"crs": "EPSG:32632", "scale": 10, "region": region, "format": "NPY"})
    reply = call(url)
    assert reply.status == 400
    assert "must be less than or equal to 33554432 bytes" in reply.json()["error"]["message"]


def fetch(url: str) -> bytes:
    reply = call(url)
    assert reply.status == 200, reply.body
    return reply.body


def test_sample_rectangle_gives_lists(client):
    epsg, x, y = CORNERS["32TPT"]
    region = client.Geometry.Rectangle([x + 600, y - 640, x + 650, y - 600], f"EPSG:{epsg}", False)
    got = client.Image(asset(L1C, "32TPT")).select("B3").sampleRectangle(region).get("B3").getInfo()
    columns, rows = np.arange(60, 65)[None, :], np.arange(60, 64)[:, None]
    assert got == pixel(asset(L1C, "32TPT"), "B3", columns, rows).tolist()


def test_reduce_region_sums_up_the_pixels_inside(client):
    epsg, x, y = CORNERS["32TPT"]
    region = client.Geometry.Rectangle([x + 600, y - 640, x + 650, y - 600], f"EPSG:{epsg}", False)
    image = client.Image(asset(L1C, "32TPT")).select(["B3", "B2"])
    got = image.reduceRegion(client.Reducer.mean(), region, 10, f"EPSG:{epsg}").getInfo()
    columns, rows = np.arange(60, 65)[None, :], np.arange(60, 64)[:, None]
    assert got["B3"] == pytest.approx(pixel(asset(L1C, "32TPT"), "B3", columns, rows).mean())
    assert set(got) == {"B2", "B3"}

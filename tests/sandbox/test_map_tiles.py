"""Layers of web maps: the client makes them, and tiles are PNGs of the right place."""

import math

import numpy as np
import pytest
from rasterio.io import MemoryFile

from sandbox.functions.pictures import colour
from sandbox.map_tiles import Shelf, tile_grid
from sandbox.pixels_out import png
from sandbox.refusals import Refusal
from sandbox.resampling import centres_in
from tests.sandbox.fake_earth import CORNERS, DW, L1C, pixel
from tests.sandbox.loopback import call

INDEX = "20220003T103041_20220003T103037_T32TPT"
LON, LAT = 10.5, 47.6


def tile_at(zoom, lon=LON, lat=LAT):
    x = int((lon + 180) / 360 * 2**zoom)
    y = int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * 2**zoom)
    return x, y


def rgba(data):
    with MemoryFile(data) as memory, memory.open() as source:
        return source.read()


def fetch(layer, zoom, **place):
    x, y = tile_at(zoom, **place)
    reply = call(layer["tile_fetcher"].url_format.format(x=x, y=y, z=zoom))
    assert reply.status == 200, reply.body
    assert reply.headers["Content-Type"] == "image/png"
    return rgba(reply.body), tile_grid(zoom, x, y)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_layer_shows_stretched_bands_at_their_place(client):
    image = client.Image(f"{L1C}/{INDEX}")
    layer = image.getMapId({"bands": ["B4", "B3", "B2"], "min": 0, "max": 10_000})
    got, grid = fetch(layer, 13)
    assert got.shape == (4, 256, 256)
    assert (got[3] == 255).all()
    epsg, left, top = CORNERS["32TPT"]
    x, y = centres_in(grid, f"EPSG:{epsg}")
    columns, rows = np.floor((x - left) / 10).astype(int), np.floor((top - y) / 10).astype(int)
    for channel, band in enumerate(("B4", "B3", "B2")):
        own = pixel(f"{L1C}/{INDEX}", band, columns, rows)
        assert (got[channel] == np.rint(own / 10_000 * 255)).all()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_palette_colours_classes_and_masked_pixels_are_transparent(client):
    palette = ["ff0000", "00ff00", "0000ff", "111111", "222222", "333333", "444444", "555555", "666666"]
    label = client.Image(f"{DW}/{INDEX}").select("label")
    got, _ = fetch(label.getMapId({"min": 0, "max": 8, "palette": palette}), 13)
    colours = {tuple(int(v) for v in one) for one in got[:3].reshape(3, -1).T[got[3].ravel() == 255]}
    assert colours <= {colour(one)[:3] for one in palette}
    assert len(colours) == 9
    assert (got[3] == 0).any()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_tiles_beside_the_image_and_of_far_too_much_are_transparent(client):
    layer = client.Image(f"{L1C}/{INDEX}").getMapId({"bands": ["B4"], "min": 0, "max": 10_000})
    assert not fetch(layer, 13, lon=-60.0)[0][3].any()
    assert not fetch(layer, 4)[0][3].any()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_places_are_drawn_filled_and_outlined(client):
    square = client.Geometry.Rectangle([10.4, 47.5, 10.6, 47.7], None, False)
    places = client.FeatureCollection([client.Feature(square)])
    filled, _ = fetch(places.style(color="ff0000", fillColor="00ff0080", width=2).getMapId({}), 13)
    assert (filled[:3, 128, 128] == [0, 255, 0]).all()
    assert filled[3, 128, 128] == 128
    outlined, _ = fetch(places.style(color="ff0000", fillColor="00000000", width=3).getMapId({}), 9)
    assert {tuple(one) for one in outlined[:3].reshape(3, -1).T[outlined[3].ravel() == 255]} == {(255, 0, 0)}
    over = client.Image.constant(1).visualize(min=0, max=1).blend(places.style(fillColor="0000ff"))
    got, _ = fetch(over.getMapId({}), 13)
    assert (got[:3, 128, 128] == [0, 0, 255]).all()
    painted, _ = fetch(
        client.Image().toByte().paint(places, 1).getMapId({"palette": "white,red", "min": 0, "max": 1}), 13
    )
    assert (painted[:, 128, 128] == [255, 0, 0, 255]).all()


def test_a_wrong_layer_fails_when_it_is_made(client):
    with pytest.raises(client.EEException, match="not found"):
        client.Image(f"{L1C}/nothing").getMapId({})


def test_unknown_layers_and_tiles_are_404(shared_server):
    base = f"{shared_server.url}/v1/projects/p/maps"
    assert call(f"{base}/0123/tiles/3/1/1").status == 404
    assert call(f"{base}/0123/tiles/3/9/1").status == 404


def test_a_shelf_forgets_the_oldest_and_names_bodies_by_content():
    shelf = Shelf(kept=2)
    names = [shelf.put({"n": number}) for number in (1, 2, 1, 3)]
    assert names[0] == names[2]
    assert shelf.get(names[0]) == {"n": 1}
    with pytest.raises(Refusal):
        shelf.get(names[1])


def test_the_whole_world_is_one_tile():
    grid = tile_grid(0, 0, 0)
    x, y = centres_in(grid, "EPSG:4326")
    assert x.min() == pytest.approx(-180 + 180 / 256)
    assert y.max() == pytest.approx(85.0, abs=0.1)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_png_is_read_back_as_it_was():
    picture = np.random.default_rng(3).integers(0, 255, (7, 5, 4), np.uint8)
    assert (rgba(png(picture)).transpose(1, 2, 0) == picture).all()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("#ff0080", (255, 0, 128, 255)),
        ("ff008040", (255, 0, 128, 64)),
        ("Red", (255, 0, 0, 255)),
        ("#0f0", (0, 255, 0, 255)),
    ],
)
def test_colours_are_read_as_in_css(text, expected):
    assert colour(text) == expected


def test_a_wrong_colour_is_refused():
    with pytest.raises(Refusal, match="Invalid color 'mauve-ish'"):
        colour("mauve-ish")

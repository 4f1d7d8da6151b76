"""GeoTIFFs of single patches: what any GDAL program sees, and what comes back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from rasterio.io import MemoryFile
from rasterio.transform import Affine

from builders.geotiff import decode, encode, quiet_without_place
from noldo.errors import StoreError
from noldo.grids import Grid
from noldo.legend import DYNAMIC_WORLD
from noldo.products import array_specs, published_spec
from noldo.quantization import SSL4EO_RANGES, SSL4EO_UINT8

GRID = Grid(crs_epsg=32733, x_ul=600_060, y_ul=5_000_040, size_px=12)
SPECS = {
    spec.name: spec
    for spec in (
        *array_specs(
            {
                "s2_l1c": ("B2", "B3", "B4", "B8", "B5", "B1"),
                "s1_grd": ("VV", "VH"),
                "dynamic_world": ("label",),
                "s2_scl": ("SCL",),
                "dynamic_world_probability": ("label",),
                "osm": ("label",),
            }
        ),
        published_spec("s2_l1c", ("B1", "B4"), quantization=SSL4EO_UINT8),
        published_spec("s1_grd", ("VV", "VH"), quantization=SSL4EO_UINT8),
    )
}


def pixels_of(name: str, *, seed: int = 0, size_px: int = 12) -> np.ndarray:
    spec = SPECS[name]
    shape = spec.item_shape(1, size_px)[1:]
    return np.random.default_rng(seed).integers(0, 9, shape).astype(spec.dtype)


@given(st.data(), st.sampled_from(sorted(SPECS)), st.booleans(), st.sampled_from([6, 12, 66]))
def test_every_array_comes_back_as_it_was(data: st.DataObject, name: str, placed: bool, side: int) -> None:
    spec = SPECS[name]
    grid = Grid(32733, 600_060, 5_000_040, side) if placed else None
    low, high = np.iinfo(spec.dtype).min, np.iinfo(spec.dtype).max
    shape = spec.item_shape(1, side)[1:]
    pixels = data.draw(arrays(spec.dtype, shape, elements=st.integers(int(low), int(high)), fill=st.just(0)))
    with quiet_without_place():
        content = encode(pixels, spec, grid=grid)
        found = decode(content, spec, grid=grid, side_px=spec.side_px(side), where="here")
    assert found.dtype == pixels.dtype
    assert np.array_equal(found, pixels)


def test_a_file_says_where_it_is_and_what_its_numbers_mean() -> None:
    spec = SPECS["s2_l1c_20m"]
    with MemoryFile(encode(pixels_of("s2_l1c_20m"), spec, grid=GRID)) as memory, memory.open() as file:
        assert file.crs.to_epsg() == 32733
        assert file.transform[:6] == (20, 0, 600_060, 0, -20, 5_000_040)
        assert file.shape == (6, 6)
        assert file.descriptions == ("B5",)
        assert (file.nodata, file.scales, file.offsets) == (65535, (1e-4,), (0.0,))
        assert file.units == ("top-of-atmosphere reflectance",)
        assert (file.profile["tiled"], file.profile["compress"]) == (True, "deflate")


def test_visible_bands_open_in_true_colour() -> None:
    spec = SPECS["s2_l1c_10m"]
    with MemoryFile(encode(pixels_of("s2_l1c_10m"), spec, grid=GRID)) as memory, memory.open() as file:
        assert file.descriptions == ("B2", "B3", "B4", "B8")
        assert [one.name for one in file.colorinterp] == ["blue", "green", "red", "undefined"]


def test_classes_have_the_colours_of_their_legend() -> None:
    spec = SPECS["dynamic_world_10m"]
    with MemoryFile(encode(pixels_of("dynamic_world_10m"), spec, grid=GRID)) as memory, memory.open() as file:
        assert file.colorinterp[0].name == "palette"
        colours = file.colormap(1)
    assert [colours[value][:3] for value in range(9)] == list(DYNAMIC_WORLD.rgb())


def test_scale_and_offset_of_quantised_bands_lead_back_to_what_was_measured() -> None:
    for name, factor in (("s2_l1c_uint8_10m", 1e-4), ("s1_grd_uint8_10m", 1.0)):
        spec = SPECS[name]
        with MemoryFile(encode(pixels_of(name), spec, grid=GRID)) as memory, memory.open() as file:
            assert file.nodata is None
            for band, scale, offset in zip(spec.bands, file.scales, file.offsets, strict=True):
                one = SSL4EO_RANGES[spec.product][band]
                assert offset == pytest.approx(factor * (one.mean - 2 * one.std))
                assert scale * 255 + offset == pytest.approx(factor * (one.mean + 2 * one.std))
            assert file.units[0] in ("top-of-atmosphere reflectance", "dB")


def test_equal_pixels_give_equal_bytes() -> None:
    one, two = (encode(pixels_of("s1_grd_10m"), SPECS["s1_grd_10m"], grid=GRID) for _ in range(2))
    assert one == two


def test_a_large_tile_is_cut_into_blocks() -> None:
    spec = SPECS["osm_10m"]
    with (
        MemoryFile(encode(pixels_of("osm_10m", size_px=600), spec, grid=GRID)) as memory,
        memory.open() as file,
    ):
        assert file.block_shapes == [(256, 256)]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"side_px": 6}, "shape (band, y, x) is (1, 12, 12), expected (1, 6, 6)"),
        ({"spec": SPECS["s2_l1c_uint8_10m"]}, "shape (band, y, x) is (1, 12, 12), expected (2, 12, 12)"),
        ({"grid": Grid(32632, 600_060, 5_000_040, 12)}, "CRS is EPSG:32733, expected EPSG:32632"),
        ({"grid": Grid(32733, 600_120, 5_000_040, 12)}, "transform is"),
        ({"grid": None}, "CRS is EPSG:32733, expected None"),
    ],
)
def test_a_file_that_does_not_fit_says_how(changes: dict[str, object], what: str) -> None:
    content = encode(pixels_of("osm_10m"), SPECS["osm_10m"], grid=GRID)
    arguments: dict[str, object] = {"spec": SPECS["osm_10m"], "grid": GRID, "side_px": 12, "where": "a.tif"}
    with pytest.raises(StoreError) as found:
        decode(content, **{**arguments, **changes})  # type: ignore[arg-type]
    assert str(found.value).startswith(f"a.tif: {what}")
    assert "\n" not in str(found.value)


def test_another_dtype_or_no_data_value_is_noticed() -> None:
    profile = {"driver": "GTiff", "width": 12, "height": 12, "count": 1, "crs": "EPSG:32733"}
    transform = Affine(*GRID.transform())
    for dtype, nodata, what in (
        ("int16", 255, "dtype is"),
        ("uint8", 0, "no-data value is 0.0, expected 255"),
    ):
        with MemoryFile() as memory:
            with memory.open(**profile, dtype=dtype, nodata=nodata, transform=transform) as file:
                file.write(np.zeros((1, 12, 12), dtype))
            content = bytes(memory.getbuffer())
        with pytest.raises(StoreError, match=what):
            decode(content, SPECS["osm_10m"], grid=GRID, side_px=12, where="a.tif")


@pytest.mark.parametrize("content", [b"", b"no picture", b"II*\0" + bytes(100)])
def test_what_is_no_geotiff_is_one_line(content: bytes) -> None:
    with pytest.raises(StoreError, match=r"^a\.tif: not a readable GeoTIFF") as found:
        decode(content, SPECS["osm_10m"], grid=GRID, side_px=12, where="a.tif")
    assert "\n" not in str(found.value)


def test_a_file_that_was_cut_off_is_noticed() -> None:
    content = encode(pixels_of("osm_10m", size_px=120), SPECS["osm_10m"], grid=GRID)
    with pytest.raises(StoreError, match="not a readable GeoTIFF"):
        decode(content[:-600], SPECS["osm_10m"], grid=GRID, side_px=120, where="a.tif")

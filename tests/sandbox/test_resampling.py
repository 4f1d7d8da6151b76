"""Laws of sampling, checked against slow and obvious computations."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import Transformer
from shapely import box

from sandbox.geometries import Geometry, Projection
from sandbox.images import PixelGrid, Pixels
from sandbox.refusals import Refusal
from sandbox.resampling import inside, positions, resample

SIZE = (40, 30)
SOURCE = Projection("EPSG:32632", (20.0, 0.0, 600_000.0, 0.0, -20.0, 5_300_040.0))


def value(columns: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return (columns * 37 + rows * 101) % 251 + 1.0


def window(column: int, row: int, width: int, height: int) -> Pixels:
    columns, rows = np.arange(column, column + width)[None, :], np.arange(row, row + height)[:, None]
    seen = (
        (columns >= 0) & (columns < SIZE[0]) & (rows >= 0) & (rows < SIZE[1]) & ((columns + rows) % 11 != 0)
    )
    return Pixels(np.broadcast_to(value(columns, rows), seen.shape).astype("float64"), seen)


def sample(grid: PixelGrid, mode: str, *, dtype: str = "float64", source: Projection = SOURCE) -> Pixels:
    return resample(window, projection=source, size=SIZE, dtype=dtype, grid=grid, mode=mode)


def at(crs: str, x: float, y: float, metres: float, width: int, height: int) -> PixelGrid:  # noqa: PLR0917  # reads like a grid
    return PixelGrid(Projection(crs, (metres, 0.0, x, 0.0, -metres, y)), width, height)


grids = st.builds(
    at,
    crs=st.sampled_from(["EPSG:32632", "EPSG:32633"]),
    x=st.integers(-300, 900).map(lambda step: 600_000 + step * 0.7),
    y=st.integers(-700, 300).map(lambda step: 5_300_040 + step * 0.9),
    metres=st.sampled_from([10, 20, 33.3, 60]),
    width=st.integers(1, 12),
    height=st.integers(1, 12),
)


def source_positions(grid: PixelGrid) -> tuple[np.ndarray, np.ndarray]:
    a, _, c, _, e, f = grid.projection.transform
    x, y = np.meshgrid(c + a * (np.arange(grid.width) + 0.5), f + e * (np.arange(grid.height) + 0.5))
    if grid.projection.crs != SOURCE.crs:
        x, y = Transformer.from_crs(grid.projection.crs, SOURCE.crs, always_xy=True).transform(x, y)
    return (x - 600_000) / 20, (5_300_040 - y) / 20


def shifted(grid: PixelGrid) -> PixelGrid:
    """The same pixels, moved over the source where it lies in the zone of the grid."""
    if grid.projection.crs == SOURCE.crs:
        return grid
    change = Transformer.from_crs(SOURCE.crs, grid.projection.crs, always_xy=True)
    x, y = change.transform(600_400.0, 5_299_740.0)
    return at(grid.projection.crs, round(x), round(y), grid.projection.transform[0], grid.width, grid.height)


@settings(max_examples=60, deadline=None)
@given(grids)
def test_nearest_takes_the_pixel_that_contains_the_centre(grid):
    grid = shifted(grid)
    columns, rows = source_positions(grid)
    taken = sample(grid, "nearest")
    across, down = np.floor(columns).astype(int), np.floor(rows).astype(int)
    seen = (across >= 0) & (across < SIZE[0]) & (down >= 0) & (down < SIZE[1]) & ((across + down) % 11 != 0)
    clear = (np.abs(columns - np.rint(columns)) > 1e-5) & (np.abs(rows - np.rint(rows)) > 1e-5)
    assert (taken.mask[clear] == seen[clear]).all()
    assert (taken.values[seen & clear] == value(across, down)[seen & clear]).all()


@settings(max_examples=60, deadline=None)
@given(grids)
def test_bilinear_weighs_four_neighbours_and_masks_where_one_of_them_is_masked(grid):
    grid = shifted(grid)
    columns, rows = source_positions(grid)
    taken = sample(grid, "bilinear")
    for row in range(grid.height):
        for column in range(grid.width):
            u, v = columns[row, column] - 0.5, rows[row, column] - 0.5
            if min(abs(u - round(u)), abs(v - round(v))) < 1e-5:
                continue
            i, j, fx, fy = int(np.floor(u)), int(np.floor(v)), u % 1, v % 1
            taps = window(i, j, 2, 2)
            assert taken.mask[row, column] == taps.mask.all()
            if taps.mask.all():
                weights = np.outer([1 - fy, fy], [1 - fx, fx])
                assert taken.values[row, column] == pytest.approx((weights * taps.values).sum(), rel=1e-6)


def test_a_centre_on_an_edge_belongs_to_the_pixel_right_of_it_and_below_it():
    grid = at("EPSG:32632", 600_000 + 190, 5_300_040 - 190, 20, 1, 1)
    assert sample(grid, "nearest").values[0, 0] == value(np.array(10), np.array(10))


def test_bilinear_on_the_sources_own_lattice_is_a_copy_up_to_the_border():
    grid = at("EPSG:32632", 600_000, 5_300_040, 20, *SIZE)
    nearest, bilinear = sample(grid, "nearest"), sample(grid, "bilinear")
    assert (nearest.mask == bilinear.mask).all()
    assert (nearest.values[nearest.mask] == bilinear.values[nearest.mask]).all()
    assert nearest.mask[0, 1]


def test_bilinear_rounds_integers():
    grid = at("EPSG:32632", 600_000 + 10 + 1000 / 3, 5_300_040 - 110, 20, 6, 6)
    whole, exact = sample(grid, "bilinear", dtype="uint16"), sample(grid, "bilinear")
    assert whole.values.dtype == np.uint16
    assert (whole.values[whole.mask] == np.rint(exact.values[exact.mask])).all()
    assert exact.mask.any()


def test_a_grid_beside_the_image_is_masked_and_nothing_is_read():
    def forbidden(*area: int) -> Pixels:
        raise AssertionError(area)

    grid = at("EPSG:32632", 700_000, 5_300_040, 10, 4, 4)
    pixels = resample(forbidden, projection=SOURCE, size=SIZE, dtype="uint16", grid=grid, mode="nearest")
    assert not pixels.mask.any()
    assert pixels.values.dtype == np.uint16


def test_a_grid_that_would_read_too_many_source_pixels_is_refused():
    grid = at("EPSG:32632", 0, 6_000_000, 10_000, 100, 100)
    with pytest.raises(Refusal, match="memory limit"):
        resample(window, projection=SOURCE, size=None, dtype="uint16", grid=grid, mode="nearest")


def test_sheared_grids_are_sampled_at_their_own_centres():
    sheared = PixelGrid(Projection("EPSG:32632", (14.0, 14.0, 600_200.0, 14.0, -14.0, 5_299_700.0)), 5, 5)
    j, i = np.meshgrid(np.arange(5) + 0.5, np.arange(5) + 0.5)
    x, y = 600_200 + 14 * j + 14 * i, 5_299_700 + 14 * j - 14 * i
    across, down = np.floor((x - 600_000) / 20).astype(int), np.floor((5_300_040 - y) / 20).astype(int)
    taken = sample(sheared, "nearest")
    assert (taken.values[taken.mask] == value(across, down)[taken.mask]).all()
    assert taken.mask.sum() > 10


def test_a_pixel_is_inside_a_geometry_if_its_centre_is():
    place = Geometry(box(600_014.9, 5_300_000, 600_035, 5_300_100), "EPSG:32632")
    grid = at("EPSG:32632", 600_000, 5_300_040, 10, 5, 1)
    assert inside(place, grid).tolist() == [[False, True, True, True, False]]


@pytest.mark.parametrize("east", [179.0, -181.0])
def test_a_footprint_may_be_written_on_either_side_of_the_antimeridian(east):
    place = Geometry(box(east, 9.0, east + 2.0, 11.0))
    grid = PixelGrid(Projection("EPSG:3832", (100.0, 0.0, 3_339_000.0, 0.0, -100.0, 1_105_000.0)), 20, 1)
    assert inside(place, grid).all()


def test_off_zone_positions_are_exact_for_every_pixel():
    far = at("EPSG:32633", 160_000, 5_300_000, 10, 264, 264)
    columns, rows = source_positions(far)
    found_columns, found_rows = positions(far, SOURCE)
    assert np.abs(found_columns - columns).max() < 1e-5
    assert np.abs(found_rows - rows).max() < 1e-5

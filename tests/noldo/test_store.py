"""Creating and filling a store, and what other Zarr readers make of it."""

import os
import resource
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st

from noldo.errors import StoreError, StoreFormatError
from noldo.products import S2_L1C_BANDS, array_specs
from noldo.store import (
    StoreLayout,
    create_store,
    open_store,
    read_layout,
    shard_path,
    write_rows,
    write_shard,
)
from tests.noldo.made_up_data_set import LAYOUT, DataSet, small_layout, write_shards

SPECS = array_specs({"s2_l1c": S2_L1C_BANDS, "s1_grd": ("VV", "VH"), "dynamic_world": ("label",)})


def times_and_bytes(store: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in store.rglob("*") if path.is_file()]
    return {str(path): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_creating_a_store_twice_changes_no_byte_and_no_time(own_data_set: DataSet) -> None:
    before = times_and_bytes(own_data_set.store)
    attributes = {"subset": "nol", "synthetic": True, "license": "CC0-1.0"}
    create_store(own_data_set.store, own_data_set.layout, attributes=attributes)
    assert times_and_bytes(own_data_set.store) == before


def test_a_layout_survives_the_way_to_disk(tmp_path: Path) -> None:
    for layout in (LAYOUT, small_layout(codec="fast", season_names=("only",), num_locations=1)):
        create_store(tmp_path / "nol.zarr", layout, attributes={})
        assert read_layout(tmp_path / "nol.zarr") == layout


def test_attributes_of_the_caller_can_not_change_the_format(tmp_path: Path) -> None:
    create_store(tmp_path, LAYOUT, attributes={"format_version": 99, "title": "mine"})
    attributes = open_store(tmp_path).attrs
    assert attributes["format_version"] == 1
    assert attributes["title"] == "mine"


@settings(max_examples=25, deadline=None)
@given(
    layout=st.builds(
        small_layout,
        specs=st.sampled_from(SPECS).map(lambda spec: (spec,)),
        codec=st.sampled_from(["small", "fast"]),
        num_locations=st.integers(1, 5),
        season_names=st.sampled_from([("a",), ("a", "b"), ("a", "b", "c")]),
        patch_size_px=st.just(6),
        locations_per_shard=st.integers(1, 4),
    ),
    seed=st.integers(0, 2**32),
    spread=st.sampled_from([1, 40, 200]),
)
def test_zarr_reads_exactly_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, layout: StoreLayout, seed: int, spread: int
) -> None:
    (array,) = layout.specs
    shape = (layout.num_locations, *array.item_shape(len(layout.season_names), 6))
    values = np.random.default_rng(seed).integers(0, spread, shape).astype(array.dtype)
    values[0] = array.no_data
    store = tmp_path_factory.mktemp("round")
    create_store(store, layout, attributes={})
    write_shards(store, layout, {array.name: values})
    assert np.array_equal(open_store(store)[array.name][:], values)


def test_equal_items_give_equal_bytes_whatever_was_there_before(own_data_set: DataSet) -> None:
    layout = own_data_set.layout
    for spec in layout.specs:
        path = shard_path(own_data_set.store, spec, 2)
        before = path.read_bytes()
        path.write_bytes(before[: len(before) // 2])
        write_shards(own_data_set.store, layout, own_data_set.pixels, backwards=True)
        assert path.read_bytes() == before


def test_a_shard_is_exactly_one_file(tmp_path: Path) -> None:
    create_store(tmp_path, LAYOUT, attributes={})
    before = set(tmp_path.rglob("*"))
    spec = LAYOUT.spec("s2_l1c_20m")
    items = np.full((2, *spec.item_shape(3, 12)), spec.no_data, spec.dtype)
    write_shard(tmp_path, spec, shard=2, items=items)
    written = [path for path in set(tmp_path.rglob("*")) - before if path.is_file()]
    assert written == [tmp_path / "s2_l1c_20m/c/2/0/0/0/0"]


def test_a_shard_without_any_data_is_a_file_all_the_same(data_set: DataSet, tmp_path: Path) -> None:
    layout = small_layout(num_locations=1)
    create_store(tmp_path, layout, attributes={})
    spec = layout.spec("dynamic_world_10m")
    write_shard(tmp_path, spec, shard=0, items=np.full((1, *spec.item_shape(3, 12)), 255, np.uint8))
    assert shard_path(tmp_path, spec, 0).stat().st_size > 0


@pytest.mark.parametrize("wrong", ["rows", "shape", "dtype", "shard"])
def test_half_a_shard_is_refused(own_data_set: DataSet, wrong: str) -> None:
    spec = LAYOUT.spec("s1_grd_10m")
    rows = 3 if wrong == "rows" else 4
    shape = (rows, *spec.item_shape(3, 6 if wrong == "shape" else 12))
    items = np.zeros(shape, np.float32 if wrong == "dtype" else spec.dtype)
    with pytest.raises(AssertionError):
        write_shard(own_data_set.store, spec, shard=3 if wrong == "shard" else 0, items=items)


def test_a_full_disk_leaves_the_old_shard_and_says_so_in_one_line(own_data_set: DataSet) -> None:
    spec = LAYOUT.spec("s2_l1c_10m")
    path = shard_path(own_data_set.store, spec, 0)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(StoreError, match="can't be written") as caught:
            write_shard(own_data_set.store, spec, shard=0, items=own_data_set.pixels[spec.name][:4])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == ["0"]


def test_a_folder_that_can_not_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="can't be written"):
        create_store(tmp_path / "file" / "nol.zarr", LAYOUT, attributes={})


def test_writing_a_shard_needs_little_more_than_its_items(tmp_path: Path) -> None:
    layout = small_layout(patch_size_px=120, num_locations=16, locations_per_shard=16)
    spec = layout.spec("s2_l1c_10m")
    create_store(tmp_path, layout, attributes={})
    items = np.random.default_rng(0).integers(0, 9000, (16, *spec.item_shape(3, 120))).astype(spec.dtype)
    tracemalloc.start()
    write_shard(tmp_path, spec, shard=0, items=items)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < items.nbytes / 2


def test_values_that_do_not_fit_a_small_array_are_refused(own_data_set: DataSet) -> None:
    with pytest.raises(AssertionError, match="do not fit"):
        write_rows(own_data_set.store, {"status": np.full(10, 300)})
    with pytest.raises(AssertionError, match="expected"):
        write_rows(own_data_set.store, {"time_s2": np.zeros((10, 2), np.int64)})


def test_small_arrays_are_what_zarr_reads(data_set: DataSet) -> None:
    group = open_store(data_set.store)
    for name, values in data_set.rows.items():
        assert np.array_equal(group[name][:], values), name


@pytest.mark.parametrize("options", [{}, {"chunks": {}}, {"chunks": None}, {"consolidated": False}])
def test_xarray_opens_it_with_names_and_without_a_warning(
    data_set: DataSet, options: dict[str, object]
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = xr.open_zarr(data_set.store, **options)
        for spec in data_set.layout.specs:
            array = opened[spec.name]
            assert array.dtype == spec.dtype
            assert np.array_equal(array.values, data_set.pixels[spec.name])
            assert array.dims[:2] == ("location", "season")
            assert array.dims[-2:] == (f"y_{spec.resolution_m}m", f"x_{spec.resolution_m}m")
            assert set(data_set.rows) <= set(array.coords) | {"window"}


def test_xarray_finds_places_and_times(data_set: DataSet) -> None:
    opened = xr.open_zarr(data_set.store)
    patch = opened["s2_l1c_20m"].isel(location=1)
    assert (patch.x_ul + patch.x_20m).values[0] == data_set.rows["x_ul"][1] + 10
    assert (patch.y_ul + patch.y_20m).values[-1] == data_set.rows["y_ul"][1] - 110
    assert opened.time_s2.values[0, 0] == np.datetime64("2020-09-13T12:26:40")
    assert np.isnat(opened.time_s1.values[3]).all()
    assert opened.season.attrs["flag_meanings"] == "winter spring summer"
    assert opened.band_s2_l1c_60m.attrs["flag_meanings"] == "B1 B9 B10"
    assert opened.dynamic_world_10m.attrs["flag_meanings"].split()[8] == "snow_and_ice"
    assert opened.attrs["Conventions"] == "CF-1.11"
    assert opened.attrs["bands"]["s2_l1c_10m"][0] == {
        "name": "B2",
        "resolution_m": 10,
        "wavelength_nm": 492.4,
    }


def test_xarray_has_nothing_left_outside_the_coordinates(data_set: DataSet) -> None:
    opened = xr.open_zarr(data_set.store)
    assert sorted(opened.data_vars) == sorted(spec.name for spec in data_set.layout.specs)


def test_zarr_itself_agrees_with_the_hand_written_metadata(data_set: DataSet) -> None:
    spec = data_set.layout.spec("s1_grd_10m")
    array = zarr.open_array(data_set.store / spec.name, mode="r")
    assert array.shards == (4, 3, 2, 12, 12)
    assert array.chunks == (1, 1, 2, 12, 12)
    assert array.fill_value == spec.no_data
    assert zarr.open_array(data_set.store / "dynamic_world_10m", mode="r").chunks == (1, 3, 12, 12)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, StoreError, "no store here"),
        (b"not json", StoreFormatError, "not a NoLDO-S12 store"),
        (b'{"attributes": {}}', StoreFormatError, "not a NoLDO-S12 store"),
        (b'{"attributes": {"format_version": 2}}', StoreFormatError, "upgrade noldo"),
        (b'{"attributes": {"format_version": 0}}', StoreFormatError, "rebuild"),
        (b'{"attributes": {"format_version": 1}}', StoreFormatError, "lacks"),
    ],
)
def test_what_is_no_store_is_told_in_one_line(
    tmp_path: Path, content: bytes | None, error: type[Exception], message: str
) -> None:
    if content is not None:
        (tmp_path / "zarr.json").write_bytes(content)
    for read in (read_layout, open_store):
        with pytest.raises(error, match=message) as caught:
            read(tmp_path)
        assert str(tmp_path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_an_unknown_array_is_told_with_the_known_ones() -> None:
    with pytest.raises(StoreError, match=r"no array 'x'.*s1_grd_10m"):
        LAYOUT.spec("x")


def test_shard_names_need_the_standard_library_only() -> None:
    code = "import sys, noldo.shard_paths as s; print(s.shard_file('a', 5, 3), 'numpy' in sys.modules)"
    answer = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        check=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert answer.stdout == "a/c/3/0/0/0/0 False\n"


def test_the_last_shard_holds_the_rest() -> None:
    layout: StoreLayout = LAYOUT
    assert [list(layout.rows_of(shard)) for shard in range(layout.num_shards)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]

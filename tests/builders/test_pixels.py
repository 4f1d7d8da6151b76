import ast
import io
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from builders.pixels import (
    as_stored,
    decibels_to_int16,
    decimate,
    labels_to_uint8,
    parse_npy,
    probabilities_to_uint8,
    unpack,
)
from builders.retries import GarbledAnswerError
from builders.stack import MASKED_FLOAT, BandTarget, Layer
from noldo.errors import RequestRefusedError
from noldo.products import NO_DATA_DB, array_specs

SIDE = 12
SPECS = {
    spec.name: spec
    for spec in array_specs(
        {
            "s2_l1c": ("B1", "B4", "B5"),
            "s2_scl": ("SCL",),
            "s1_grd": ("VV", "VH"),
            "dynamic_world": ("label",),
            "dynamic_world_probability": ("p",),
        }
    )
}
DTYPES = {
    "s2_l1c": "<u2",
    "s2_scl": "u1",
    "s1_grd": "<f4",
    "dynamic_world": "u1",
    "dynamic_world_probability": "<f4",
}


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def layers(num_choices: int) -> list[Layer]:
    """One layer a band of every array, for each choice."""
    return [
        Layer(
            position=position, product=spec.product, collection="s2_l1c", index="X", resolution_m=spec.resolution_m,
            dtype="uint16", no_data=0, bilinear=False, at_centres=False,
            bands=(BandTarget("b", f"t{position}_{spec.name}_{band}", spec.name, band),),
        )
        for position in range(num_choices)
        for spec in SPECS.values()
        for band in range(max(1, len(spec.bands)))
    ]  # fmt: skip


def answer(num_choices: int, *, seed: int) -> np.ndarray:
    """A structured answer whose 20 and 60 m bands are constant blocks."""
    rng = np.random.default_rng(seed)
    wanted = layers(num_choices)
    names = [(layer.bands[0].name, DTYPES[layer.product]) for layer in wanted]
    made = np.zeros((SIDE, SIDE), dtype=np.dtype(names))
    for layer in wanted:
        factor = layer.resolution_m // 10
        coarse = rng.integers(0, 9, (SIDE // factor, SIDE // factor)) / (10 if "prob" in layer.product else 1)
        made[layer.bands[0].name] = coarse.repeat(factor, 0).repeat(factor, 1)
    return made


def empty(num_choices: int) -> dict[str, np.ndarray]:
    return {name: np.zeros(spec.item_shape(num_choices, SIDE), spec.dtype) for name, spec in SPECS.items()}


@settings(deadline=None, max_examples=20)
@given(st.integers(1, 3), st.integers(0, 1000))
def test_each_band_goes_to_its_place_at_its_own_resolution(num_choices: int, seed: int):
    made, filled = answer(num_choices, seed=seed), empty(num_choices)
    assert unpack(made, layers(num_choices), specs=SPECS, arrays=filled) == set()
    for layer in layers(num_choices):
        (band,) = layer.bands
        factor = layer.resolution_m // 10
        plane = filled[band.array][layer.position]
        plane = plane[band.band] if SPECS[band.array].bands else plane
        assert np.array_equal(plane, as_stored(made[band.name][::factor, ::factor], product=layer.product))


@settings(deadline=None, max_examples=40)
@given(
    st.integers(0, SIDE - 1),
    st.integers(0, SIDE - 1),
    st.sampled_from(["s2_l1c_20m", "s2_l1c_60m", "s2_scl_20m"]),
)
def test_one_uneven_pixel_marks_its_choice(row: int, column: int, name: str):
    made = answer(2, seed=0)
    made[f"t1_{name}_0"][row, column] += 1
    assert unpack(made, layers(2), specs=SPECS, arrays=empty(2)) == {1}


def test_a_value_that_can_not_be_is_refused_with_scene_and_band():
    made = answer(1, seed=0)
    made["t0_s1_grd_10m_1"][3, 3] = 400.0
    with pytest.raises(
        RequestRefusedError, match=r"S2_HARMONIZED/X b: 400 dB, expected -327\.67 \.\. 327\.67"
    ):
        unpack(made, layers(1), specs=SPECS, arrays=empty(1))


@given(
    arrays(np.uint16, (6, 6)),
    st.sampled_from([1, 2, 6]),
)
def test_decimation_undoes_enlargement(coarse: np.ndarray, factor: int):
    found, constant = decimate(coarse.repeat(factor, 0).repeat(factor, 1), factor=factor)
    assert constant
    assert np.array_equal(found, coarse)


@given(arrays(np.uint16, (12,), elements=st.integers(0, 1)), st.sampled_from([2, 3, 6]), st.booleans())
def test_stripes_in_either_direction_are_seen(stripes: np.ndarray, factor: int, across: bool):
    fine = np.tile(stripes, (12, 1)) if across else np.tile(stripes[:, None], (1, 12))
    _, constant = decimate(np.ascontiguousarray(fine), factor=factor)
    assert constant == np.array_equal(stripes[::factor].repeat(factor), stripes)


@given(arrays(np.uint16, (12, 12), elements=st.integers(0, 3)), st.sampled_from([2, 3, 6]))
def test_blocks_are_constant_exactly_if_enlarging_again_gives_the_same(fine: np.ndarray, factor: int):
    coarse, constant = decimate(fine, factor=factor)
    assert constant == np.array_equal(coarse.repeat(factor, 0).repeat(factor, 1), fine)


@given(arrays(np.float32, (20,), elements=st.floats(-327.5, 327.5, width=32)))
def test_backscatter_survives_to_within_half_a_step(db: np.ndarray):
    stored = decibels_to_int16(db)
    assert stored.dtype == np.int16
    assert np.abs(stored / 100 - db.astype(np.float64)).max() <= 0.005 + 1e-9
    assert (stored != NO_DATA_DB).all()


@pytest.mark.parametrize(
    ("db", "stored"),
    [
        (-12.34, -1234),
        (0.125, 12),
        (0.375, 38),
        (327.67, 32767),
        (-327.67, -32767),
        (MASKED_FLOAT, NO_DATA_DB),
        (np.nan, NO_DATA_DB),
        (-np.inf, NO_DATA_DB),
    ],
)
def test_decibels_are_rounded_half_to_even_and_no_power_is_no_data(db: float, stored: int):
    assert decibels_to_int16(np.array([db]))[0] == stored


@pytest.mark.parametrize("db", [327.68, -327.68, 1e9, np.inf, -5000.0])
def test_impossible_decibels_are_refused(db: float):
    with pytest.raises(ValueError, match=r"expected -327\.67"):
        decibels_to_int16(np.array([0.0, db]))


@given(arrays(np.float32, (20,), elements=st.floats(0, 1, width=32)))
def test_probabilities_survive_to_within_half_a_step(probability: np.ndarray):
    stored = probabilities_to_uint8(probability)
    assert stored.dtype == np.uint8
    assert np.abs(stored / 254 - probability.astype(np.float64)).max() <= 0.5 / 254 + 1e-9


def test_probabilities_have_no_data_and_limits():
    found = probabilities_to_uint8(np.array([MASKED_FLOAT, np.nan, 0.0, 1.0, 1.0000001], dtype=np.float32))
    assert found.tolist() == [255, 255, 0, 254, 254]
    for impossible in (-0.01, 1.01, np.inf):
        with pytest.raises(ValueError, match="outside 0"):
            probabilities_to_uint8(np.array([impossible]))


def test_labels_are_classes_or_unlabelled():
    assert labels_to_uint8(np.array([0, 8, 255], dtype=np.int32)).tolist() == [0, 8, 255]
    for impossible in (9, 254):
        with pytest.raises(ValueError, match=f"class {impossible}, expected 0"):
            labels_to_uint8(np.array([impossible, 255], dtype=np.uint8))


@pytest.mark.parametrize("dtype", ["<u2", ">u2", "<i4", "<f4", "<f8"])
def test_reflectance_that_was_widened_on_the_way_is_the_same_reflectance(dtype: str):
    values = np.array([0, 1, 9999, 65535])
    found = as_stored(values.astype(dtype), product="s2_l1c")
    assert found.tolist() == values.tolist()


@pytest.mark.parametrize(("value", "dtype"), [(0.5, "<f4"), (-1, "<i4"), (65536, "<i4"), (np.nan, "<f4")])
def test_reflectance_that_is_no_whole_number_in_range_is_refused(value: float, dtype: str):
    with pytest.raises(ValueError, match="no uint16"):
        as_stored(np.array([value], dtype=dtype), product="s2_l2a")


def test_an_npy_answer_is_viewed_without_a_copy():
    made = answer(2, seed=1)
    data = npy(made)
    found = parse_npy(data, names=made.dtype.names or (), side_px=SIDE)
    assert np.array_equal(found, made)
    assert not found.flags.owndata
    assert not found.flags.writeable


def test_headers_may_be_longer_than_numpys_own_limit():
    names = [f"a_band_with_a_rather_long_name_{number:04d}" for number in range(400)]
    made = np.zeros((SIDE, SIDE), dtype=[(name, "<u2") for name in names])
    data = npy(made)
    with pytest.raises(ValueError, match="max_header_size"):
        np.load(io.BytesIO(data))
    assert parse_npy(data, names=names, side_px=SIDE).dtype == made.dtype


def test_headers_are_parsed_one_at_a_time_on_however_many_threads(monkeypatch):
    """Syntax trees that two threads build at once may fail in CPython (106905)."""
    made = np.zeros((SIDE, SIDE), dtype=[(f"band_{number}", "<u2") for number in range(6)])
    data, inside, most = npy(made), [], []
    parse = ast.literal_eval

    def slow(text: str) -> Any:
        inside.append(text)
        most.append(len(inside))
        time.sleep(0.002)
        inside.pop()
        return parse(text)

    monkeypatch.setattr("builders.npy.ast.literal_eval", slow)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: parse_npy(data, names=["band_1"], side_px=SIDE), range(24)))
    assert all(np.array_equal(one, made) for one in found)
    assert max(most) == 1


DATA = npy(np.ones((SIDE, SIDE), dtype=[("a", "<u2"), ("b", "u1")]))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x93NUMPY",
        b"<html>busy</html>",
        DATA[:-1],
        DATA + b"\0",
        DATA[:60],
        b"\x93NUMPZ" + DATA[6:],
        DATA[:6] + b"\x09" + DATA[7:],
        DATA.replace(b"'<u2'", b"'|O' "),
        npy(np.ones((SIDE, SIDE + 6), dtype=[("a", "<u2"), ("b", "u1")])),
        npy(np.ones((SIDE, SIDE), dtype=[("a", "<u2")])),
        npy(np.ones((SIDE, SIDE))),
    ],
)
def test_what_is_no_whole_array_of_the_right_bands_is_garbled(data: bytes):
    with pytest.raises(GarbledAnswerError):
        parse_npy(data, names=["a", "b"], side_px=SIDE)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 200))
def test_no_bytes_make_the_reader_fail_otherwise(noise: bytes, position: int):
    for data in (noise, DATA[:position] + noise + DATA[position + len(noise) :]):
        try:
            found: Any = parse_npy(data, names=["a", "b"], side_px=SIDE)
        except GarbledAnswerError:
            continue
        assert found.shape == (SIDE, SIDE)

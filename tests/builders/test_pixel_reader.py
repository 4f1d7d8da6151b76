"""The reader over a fake that serves from answers built first, and checks what it is asked for."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from builders.config import BuildConfig
from builders.pixel_reader import PixelReader, unavailable_index
from builders.records import Location, SeasonChoice
from builders.request_log import Kind
from builders.request_size import SAFE_BYTES
from builders.stack import Layer, request_bytes, season_layers
from noldo.errors import RequestRefusedError, RequestTooLargeError, SceneUnavailableError
from noldo.grids import Grid
from noldo.products import array_specs

CONFIG = BuildConfig.model_validate(
    {
        "name": "x",
        "patch_size_px": 12,
        "seasons": [{"name": f"s{n}", "date": "2021-04-15"} for n in range(3)],
        "products": {"s2_l1c": ["B4", "B5"], "s2_l2a": [], "s2_scl": False},
    }
)
DTYPES = {"uint16": "<u2", "uint8": "u1", "float32": "<f4"}
PLACE = Location(5, 9.0, 47.0, Grid(32632, 600_000, 5_300_040, 12), "", "train")


def choices(num: int = 3) -> list[SeasonChoice]:
    plain = SeasonChoice(
        location_id=5, season=0, rank=0, s2_index="", s1_index="", time_s2_ms=0, time_s1_ms=0, cloud_percent=0.0,
        crs_epsg=32632, tile="", baseline="", offset_removed=False, orbit_pass="", relative_orbit=0,
        off_zone=False, reason="",
    )  # fmt: skip
    return [replace(plain, season=n, s2_index=f"optical-{n}", s1_index=f"radar-{n}") for n in range(num)]


def expected(config: BuildConfig, num: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    specs = array_specs(config.products.selected())
    return {
        spec.name: rng.integers(0, 9, spec.item_shape(num, config.patch_size_px)).astype(spec.dtype)
        for spec in specs
    }


class FakeFetch:
    """Answers from the stored arrays, and refuses what it is told to."""

    def __init__(
        self,
        arrays: Mapping[str, np.ndarray],
        *,
        refuse: Callable[[tuple[Layer, ...]], Exception | None] = lambda _: None,
    ) -> None:
        self._arrays = arrays
        self._refuse = refuse
        self.asked: list[tuple[Kind, tuple[Layer, ...]]] = []
        self.uneven: set[str] = set()
        """Scenes whose coarse bands come uneven unless they are sampled at centres."""

    def __call__(self, layers: tuple[Layer, ...], grid: Grid, kind: Kind) -> npt.NDArray[np.void]:
        assert request_bytes(layers, grid) <= SAFE_BYTES
        self.asked.append((kind, layers))
        if (refusal := self._refuse(layers)) is not None:
            raise refusal
        made = np.zeros(
            (grid.size_px, grid.size_px),
            dtype=[(band.name, DTYPES[layer.dtype]) for layer in layers for band in layer.bands],
        )
        for layer in layers:
            for band in layer.bands:
                planes = self._arrays[band.array][layer.position]
                stored = planes[band.band] if planes.ndim == 3 else planes
                factor = layer.resolution_m // 10
                fine = stored.repeat(factor, 0).repeat(factor, 1)
                made[band.name] = fine / 100 if layer.product == "s1_grd" else fine
                if layer.index in self.uneven and factor > 1 and not layer.at_centres:
                    made[band.name][1, 1] += 1
        return made


def read(
    fetch: FakeFetch, *, config: BuildConfig = CONFIG, num: int = 3, fallback: bool = False
) -> dict[str, np.ndarray]:
    return PixelReader(config, fetch).read(PLACE, choices(num), fallback=fallback)


def assert_read(
    found: Mapping[str, np.ndarray], wanted: Mapping[str, np.ndarray], off_lattice: Sequence[bool]
) -> None:
    assert found.keys() == {*wanted, "off_lattice"}
    assert found["off_lattice"].tolist() == list(off_lattice)
    for name, array in wanted.items():
        assert found[name].dtype == array.dtype
        assert np.array_equal(found[name], array), name


@pytest.mark.parametrize(("fallback", "kind"), [(False, "pixels"), (True, "fallback")])
def test_a_read_is_one_request(fallback: bool, kind: Kind):
    wanted = expected(CONFIG, 3)
    fetch = FakeFetch(wanted)
    assert_read(read(fetch, fallback=fallback), wanted, [False] * 3)
    assert [kind for kind, _ in fetch.asked] == [kind]


def test_seasons_off_the_lattice_are_asked_again_for_their_coarse_bands_only():
    wanted = expected(CONFIG, 3)
    fetch = FakeFetch(wanted)
    fetch.uneven = {"optical-1"}
    assert_read(read(fetch), wanted, [False, True, False])
    assert [kind for kind, _ in fetch.asked] == ["pixels", "fallback"]
    again = fetch.asked[1][1]
    assert {(layer.index, layer.resolution_m, layer.at_centres) for layer in again} == {
        ("optical-1", 20, True)
    }


def test_bands_that_stay_uneven_at_their_own_centres_are_refused():
    class Stubborn(FakeFetch):
        def __call__(self, layers: tuple[Layer, ...], grid: Grid, kind: Kind) -> npt.NDArray[np.void]:
            made = super().__call__(tuple(replace(layer, at_centres=False) for layer in layers), grid, kind)
            return made

    fetch = Stubborn(expected(CONFIG, 3))
    fetch.uneven = {"optical-0"}
    with pytest.raises(RequestRefusedError, match="location 5"):
        read(fetch)


def test_an_archive_is_sampled_at_centres_at_once_and_says_so():
    config = CONFIG.model_copy(update={"source": CONFIG.source.model_copy(update={"native_lattice": False})})
    wanted = expected(config, 3)
    fetch = FakeFetch(wanted)
    fetch.uneven = {"optical-0"}
    assert_read(read(fetch, config=config), wanted, [True] * 3)
    assert len(fetch.asked) == 1


def too_large(layers: tuple[Layer, ...], *, most: int) -> Exception | None:
    num_bands = sum(len(layer.bands) for layer in layers)
    return RequestTooLargeError("HTTP 400: too large") if num_bands > most else None


@pytest.mark.parametrize(("most", "num_requests"), [(15, 1), (5, 1 + 3), (2, 1 + 3 * (1 + 3))])
def test_what_is_too_large_is_asked_in_parts_and_gives_the_same(most: int, num_requests: int):
    wanted = expected(CONFIG, 3)
    fetch = FakeFetch(wanted, refuse=lambda layers: too_large(layers, most=most))
    assert_read(read(fetch), wanted, [False] * 3)
    assert [kind for kind, _ in fetch.asked] == ["pixels"] + ["fallback"] * (num_requests - 1)


def test_a_product_that_is_too_large_alone_is_an_error():
    fetch = FakeFetch(expected(CONFIG, 1), refuse=lambda layers: RequestTooLargeError("HTTP 400: too large"))
    with pytest.raises(RequestTooLargeError):
        read(fetch, num=1)
    assert len(fetch.asked) == 2, "the whole, and its first product"


def gone(layers: tuple[Layer, ...], *, index: str, message: str) -> Exception | None:
    return SceneUnavailableError(message) if any(layer.index == index for layer in layers) else None


@pytest.mark.parametrize("index", ["optical-2", "radar-1"])
def test_a_scene_that_the_message_names_is_known_at_once(index: str):
    message = f"HTTP 400: Image.load: Image asset 'X/{index}' not found"
    fetch = FakeFetch(expected(CONFIG, 3), refuse=lambda layers: gone(layers, index=index, message=message))
    with pytest.raises(SceneUnavailableError) as caught:
        read(fetch)
    assert caught.value.index == index
    assert len(fetch.asked) == 1


@pytest.mark.parametrize("index", ["optical-2", "radar-1"])
def test_a_scene_that_nobody_names_is_found_by_asking_in_parts(index: str):
    fetch = FakeFetch(
        expected(CONFIG, 3), refuse=lambda layers: gone(layers, index=index, message="no matching bands")
    )
    with pytest.raises(SceneUnavailableError, match="no matching bands") as caught:
        read(fetch)
    assert caught.value.index == index


def test_builds_without_sentinel_1_have_no_empty_index_that_every_message_would_hold():
    specs = array_specs(CONFIG.products.selected())
    layers = season_layers(replace(choices(1)[0], s1_index=""), position=0, specs=specs, config=CONFIG)
    assert unavailable_index("no matching bands", layers) == ""
    assert (
        unavailable_index("no matching bands", [layer for layer in layers if layer.product != "s1_grd"])
        == "optical-0"
    )

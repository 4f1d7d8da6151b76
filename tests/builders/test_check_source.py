import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import yaml

from builders.check_source import (
    anonymous_status,
    by_hemisphere,
    check_locations,
    record_path,
    render,
    write_record,
)
from builders.config import BuildConfig
from builders.layout import Layout
from builders.raw_requests import decode_npy, native_window
from builders.records import DYNAMIC_WORLD, S1_GRD, Location
from builders.request_log import RequestRecord
from builders.source_checks import CHECKS, all_checks, eecu_a_location, eecu_seconds
from builders.source_observations import Observations, observe, with_baseline_season
from noldo.errors import QuotaSpentError, RequestRefusedError, RequestTooLargeError, SourceError
from noldo.grids import Grid
from tests.builders.fake_raw_source import PROFILE, FakeRawSource, npy
from tests.builders.fake_source import small_config

ROOT = Path(__file__).parents[2]
CONFIG = with_baseline_season(small_config())
SIZE_PX = CONFIG.patch_size_px
PLACES = [
    Location(n, 9.0, 48.0, Grid(32632, 600_000 + 60 * n, 5_300_040, SIZE_PX), place="", split="train")
    if n % 2 == 0
    else Location(n, 9.0, -34.0, Grid(32732, 600_000 + 60 * n, 6_100_000, SIZE_PX), place="", split="train")
    for n in range(10)
]
RECORDS = tuple(
    RequestRecord(kind, 1, "ok", 200, bytes_counted=1, bytes_received=1, seconds=0.5)
    for kind in ("start_up", "metadata", "pixels")
)


def observed_with(source: type[FakeRawSource] = FakeRawSource, config: BuildConfig = CONFIG) -> Observations:
    observed = observe(config, source(config), PLACES, concurrency=2)
    return replace(observed, records=RECORDS)


def results(observed: Observations) -> dict[str, str]:
    return {one.name: one.result for one in all_checks(observed)}


def failing(observed: Observations) -> set[str]:
    return {name for name, result in results(observed).items() if result == "fail"}


def found(observed: Observations, name: str) -> str:
    return next(one.found for one in all_checks(observed) if one.name == name)


GOOD = observed_with()


def test_a_source_as_assumed_passes_every_check_that_it_can():
    assert results(GOOD) == {
        name: "not observed" if name == "anonymous" else "pass" for name in results(GOOD)
    }
    assert len(results(GOOD)) == len(CHECKS)


def test_each_location_costs_a_few_requests():
    assert len(GOOD.reads) == 10
    assert len(GOOD.patches) == 20
    assert [trial.refusal != "" for trial in GOOD.sizes] == [False, False, True]


# Planted faults -----------------------------------------------------------------------------------------------


class Promoted(FakeRawSource):
    """All bands come as float32."""

    def stacked_pixels(self, layers, grid):
        array = self.stack(layers, grid)
        return npy({name: array[name].astype("<f4") for name in array.dtype.names})


class BigEndian(FakeRawSource):
    def stacked_pixels(self, layers, grid):
        array = self.stack(layers, grid)
        return npy(
            {name: array[name].astype(array[name].dtype.newbyteorder(">")) for name in array.dtype.names}
        )


class Reordered(FakeRawSource):
    def stacked_pixels(self, layers, grid):
        array = self.stack(layers, grid)
        return npy({name: array[name] for name in sorted(array.dtype.names)})


class ZeroFilled(FakeRawSource):
    """Unobserved pixels are 0, whatever is asked for."""

    def outside(self, layer):
        return 0


class LowLimit(FakeRawSource):
    limit_bytes = int(FakeRawSource.limit_bytes * 0.9)


class HighLimit(FakeRawSource):
    limit_bytes = FakeRawSource.limit_bytes * 2


class OtherWords(FakeRawSource):
    def too_large(self, counted):
        return RequestRefusedError("HTTP 400: That is a lot.")


class ShiftedInTheSouth(FakeRawSource):
    """Southern pixels come from 60 m further: blocks stay whole."""

    def stack(self, layers, grid):
        if grid.crs_epsg >= 32700:
            grid = replace(grid, x_ul=grid.x_ul + 60)
        return super().stack(layers, grid)


class InterpolatedCoarse(FakeRawSource):
    """20 and 60 m bands are smoothed within their blocks."""

    def stack(self, layers, grid):
        array = super().stack(layers, grid)
        for layer in layers:
            for band in layer.bands:
                if layer.product == "s2_l1c" and layer.resolution_m > 10:
                    array[band.name][1::2] += array[band.name][1::2] != layer.no_data
        return array


class OffLattice(FakeRawSource):
    """Tiles begin 20 m beside the lattice."""

    def band(self, place, name, precision, size_m):
        band = super().band(place, name, precision, size_m)
        band["grid"]["affineTransform"]["translateX"] += 20
        return band


class OtherNames(FakeRawSource):
    """Dynamic World names its images otherwise."""

    def scenes(self, place, season):
        found = super().scenes(place, season)
        return [
            replace(scene, index=f"dw-{scene.index}") if scene.product == DYNAMIC_WORLD else scene
            for scene in found
        ]


class WithoutClouds(FakeRawSource):
    """One in five scenes has no cloud percentage."""

    def scenes(self, place, season):
        found = super().scenes(place, season)
        missing = place.id % 5 == 0
        return [
            replace(scene, cloud_percent=None) if missing and scene.product == "s2_l1c" else scene
            for scene in found
        ]


class WithoutOrbits(FakeRawSource):
    def scenes(self, place, season):
        found = super().scenes(place, season)
        return [replace(scene, relative_orbit=0) if scene.product == S1_GRD else scene for scene in found]


class StillShifted(FakeRawSource):
    """The +1000 of baseline 04.00 is still in the numbers."""

    def value(self, asset, band, place, column, row):
        value = super().value(asset, band, place, column, row)
        return value + 1000 if asset.endswith("-2") and band.startswith("B") else value


class ShiftedTwice(FakeRawSource):
    """1000 is taken off of everything, and what falls below 0 is clamped."""

    def value(self, asset, band, place, column, row):
        value = super().value(asset, band, place, column, row)
        return np.maximum(value % 500 - 1000, 0) if band.startswith("B") else value


class DegreesOfRadar(FakeRawSource):
    def band(self, place, name, precision, size_m):
        band = super().band(place, name, precision, size_m)
        if name in {"VV", "VH"}:
            band["grid"]["crsCode"] = "EPSG:4326"
        return band


class WideClasses(FakeRawSource):
    def band(self, place, name, precision, size_m):
        return super().band(place, name, "DOUBLE" if name == "SCL" else precision, size_m)


class Refusing(FakeRawSource):
    def stacked_pixels(self, layers, grid):
        raise RequestRefusedError("HTTP 400: no.")


class TooLargeToRead(FakeRawSource):
    def read(self, location, choices, *, fallback):
        raise RequestTooLargeError("HTTP 400: User memory limit exceeded.")


class Garbled(FakeRawSource):
    def stacked_pixels(self, layers, grid):
        return b"<html>sorry</html>"


class Empty(FakeRawSource):
    """Most locations have no scene at all."""

    def scenes(self, place, season):
        return super().scenes(place, season) if place.id < 2 else []


class Unlabelled(FakeRawSource):
    def value(self, asset, band, place, column, row):
        value = super().value(asset, band, place, column, row)
        return np.full_like(value, 255) if band == "label" else value


class Restricted(FakeRawSource):
    restricted = True


@pytest.mark.parametrize(
    ("source", "names"),
    [
        (Promoted, {"dtypes"}),
        (BigEndian, {"dtypes"}),
        (Reordered, {"dtypes"}),
        (ZeroFilled, {"fill"}),
        (LowLimit, {"size-limit"}),
        (HighLimit, {"size-limit"}),
        (OtherWords, {"size-limit"}),
        (ShiftedInTheSouth, {"copies-south"}),
        (InterpolatedCoarse, {"copies-north", "copies-south", "requests"}),
        (OffLattice, {"copies-north", "copies-south"}),
        (OtherNames, {"twins"}),
        (WithoutClouds, {"properties"}),
        (WithoutOrbits, {"properties"}),
        (StillShifted, {"baseline"}),
        (ShiftedTwice, {"baseline"}),
        (DegreesOfRadar, {"s1-lattice"}),
        (WideClasses, {"stored-types"}),
        (Refusing, {"requests"}),
        (TooLargeToRead, {"requests"}),
        (Garbled, {"requests"}),
        (Empty, {"metadata"}),
        (Unlabelled, {"acceptance"}),
        (Restricted, {"restricted"}),
    ],
)
def test_a_planted_fault_is_found_and_nothing_else(source, names):
    assert failing(observed_with(source)) == names


def test_a_429_is_found_with_its_words():
    record = RequestRecord("pixels", 1, "cool_down", 429, 1, 1, 0.1, message="Too Many Requests: slow down.")
    observed = replace(GOOD, records=(*RECORDS, record))
    assert failing(observed) == {"too-many-requests"}
    assert found(observed, "too-many-requests") == "1 times: Too Many Requests: slow down."


@pytest.mark.parametrize(("status", "result"), [(401, "pass"), (403, "pass"), (200, "fail"), (500, "fail")])
def test_a_service_that_takes_anyone_is_found(status, result):
    assert results(replace(GOOD, anonymous_status=status))["anonymous"] == result


def test_a_check_without_anything_to_look_at_does_not_pass():
    empty = Observations(config=CONFIG, num_searched=0)
    assert set(results(empty).values()) == {"not observed"}


def test_an_archive_off_the_lattice_is_not_asked_for_copies():
    config = CONFIG.model_copy(update={"source": CONFIG.source.model_copy(update={"native_lattice": False})})
    observed = results(observed_with(config=config))
    assert observed["copies-north"] == observed["copies-south"] == "not observed"


def test_without_a_profile_the_cost_is_not_made_up():
    class Silent(FakeRawSource):
        profile = ""

    observed = observed_with(Silent)
    assert results(observed)["eecu"] == "not observed"
    assert eecu_a_location(observed) is None
    assert "Cloud Monitoring" in found(observed, "eecu")


def test_the_cost_of_a_location_is_its_pixels_and_its_share_of_the_search():
    assert eecu_seconds(PROFILE) == 1.75
    assert eecu_seconds("nothing that is a table") is None
    assert eecu_a_location(GOOD) == pytest.approx(1.75 + 1.75 / 10)


def test_a_spent_quota_ends_the_check():
    class Spent(FakeRawSource):
        def stacked_pixels(self, layers, grid):
            raise QuotaSpentError("spent")

    with pytest.raises(QuotaSpentError, match="spent"):
        observed_with(Spent)


# Parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [b"", b"\x93NUMPY", npy({"a": np.zeros((2, 2), "u1")})[:-1]])
def test_bytes_that_are_no_array_are_an_error_of_the_source(data):
    with pytest.raises(SourceError, match="that are no NPY array"):
        decode_npy(data)


def test_an_array_with_a_long_header_is_read():
    array = decode_npy(
        npy({f"a_band_with_quite_a_long_name_{n}": np.zeros((2, 2), "u1") for n in range(400)})
    )
    assert len(array.dtype.names or ()) == 400


def test_zeros_that_the_provider_leaves_out_are_zeros():
    band = {"id": "B2", "grid": {"crsCode": "EPSG:32632", "affineTransform": {"scaleX": 10, "scaleY": -10}}}
    grid = native_window(band, Grid(32632, 600_000, 5_300_040, 12))
    assert grid is not None
    assert grid["dimensions"] == {"width": 12, "height": 12}


def test_locations_of_both_hemispheres_take_turns():
    places = [replace(PLACES[0], id=n, lat=lat) for n, lat in enumerate([1, 2, 3, -4, 5, -6])]
    assert [place.id for place in by_hemisphere(places)] == [0, 3, 1, 5, 2, 4]


def test_the_locations_are_the_first_of_the_build(monkeypatch):
    asked = []

    def plan(config):
        asked.append(config)
        return PLACES

    monkeypatch.setattr("builders.locations.plan_locations", plan)
    drawn = small_config(locations={"count": 1_000})
    assert check_locations(drawn) == PLACES
    assert asked[-1].locations.count == drawn.jobs.locations_per_request == 50
    few = small_config(locations={"count": 3})
    assert check_locations(few) == by_hemisphere(PLACES[:3])
    given = small_config(locations={"count": 1_000, "points": "places.csv"})
    check_locations(given)
    assert asked[-1] is given


class Door(BaseHTTPRequestHandler):
    status = 200

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(401 if "Authorization" not in self.headers else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        pass


@pytest.fixture
def door() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Door) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_the_anonymous_request_bears_no_credentials(door):
    assert anonymous_status(small_config(), url=door) == 401


def test_the_record_tells_machines_what_the_lines_tell_people(tmp_path):
    path = tmp_path / "check.json"
    outcome = all_checks(observed_with(Promoted))
    write_record(path, CONFIG, GOOD, outcome)
    record = json.loads(path.read_text())
    assert record["eecu_seconds_a_location"] == pytest.approx(1.925)
    assert [check["name"] for check in record["checks"]] == [one.name for one in outcome]
    lines = render(outcome)
    assert any(line.startswith("FAIL          dtypes ") and "; expected: " in line for line in lines)
    assert lines[-1] == "16 pass, 1 fail, 1 not observed"


def test_the_command_finds_a_planted_fault_of_the_sandbox_and_says_so_by_its_exit_code(tmp_path):
    config = {
        "name": "tiny",
        "patch_size_px": 24,
        "source": {"url": "sandbox", "credentials": "anonymous"},
        "sandbox": {"faults": {"restricted": True}},
        "locations": {"count": 10, "num_cities": 200},
        "jobs": {"locations_per_request": 10},
        "seasons": [{"name": "summer", "date": "2021-06-21"}],
    }
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    done = subprocess.run(
        [sys.executable, "-m", "builders", "check-source", "--config", "config.yaml"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    record = json.loads(record_path(Layout("tiny", root=tmp_path)).read_text())
    failed = [check for check in record["checks"] if check["result"] == "fail"]
    assert [check["name"] for check in failed] == ["restricted"], done.stderr
    assert done.returncode == 1
    assert record["synthetic"] is True
    assert "parallelism_restricted=true" in done.stderr
    assert {check["name"] for check in record["checks"] if check["result"] == "not observed"} <= {
        "anonymous",
        "eecu",
        "copies-south",
    }

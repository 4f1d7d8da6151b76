"""The benchmarks of the build side, at a size at which their figures mean nothing."""

from argparse import Namespace

import pytest

from benchmarks import building, fetching


def test_every_step_is_measured_in_megabytes_of_raw_pixels_and_of_memory(tmp_path):
    arguments = Namespace(locations=2, tiles=1, repeats=1, size_px=12)
    assert building.measure("prepare", arguments, tmp_path) == {}
    steps = {step: building.measure(step, arguments, tmp_path) for step in building.STEPS}
    raw_mb = {step: row["raw_mb"] for step, row in steps.items()}
    assert raw_mb["rasterize"] == raw_mb["rasterio alone"] == building.TILE_PX**2 / 1e6
    assert len({raw_mb[step] for step in ("pack", "encode", "statistics", "verify", "decode")}) == 1
    assert all(row["cpu_s"] > 0 and row["peak_mb"] >= row["start_mb"] for row in steps.values())
    record = {
        **dict.fromkeys(("date", "hardware", "processor", "python", "command"), "x"),
        **{"packages": {}, "locations": 2, "tiles": 1, "repeats": 1, "steps": steps},
        "ratios": dict.fromkeys(building.BESIDE, 1.0),
    }
    assert "| pack |" in building.page(record)


@pytest.fixture(scope="module")
def record():
    sizes = {"requests": 12, "in_flight": 4, "latency": 0.1, "full": 2, "full_px": 12}
    return fetching.compare(Namespace(**sizes))


def test_every_answer_is_asked_for_once_and_none_is_refused(record):
    answers = list(record["answers"].values())
    assert [one["requests"] for one in answers] == [12, 2, 2]
    assert [one["refused"] for one in answers] == [0, 0, 0]
    assert answers[0]["seconds_a_request"] >= 0.1
    assert 0 < record["ratios"][fetching.GOAL] <= 1


def test_the_page_tells_what_one_core_makes_of_an_answer(record):
    assert record["unpack"]["bands"] == 4 * 29
    assert "A full answer has 0.0 MB in 116 bands" in fetching.page({**record, "command": "x"})

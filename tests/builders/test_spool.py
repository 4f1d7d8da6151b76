import errno
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.layout import Layout
from builders.records import LocationOutcome
from builders.spool import (
    location_key,
    read_staged,
    stage,
    staged_arrays,
    staged_outcome,
    staged_path,
    sweep_partial,
)
from noldo.errors import ChunkCorruptError, NoldoError
from noldo.grids import Grid
from noldo.status import Status
from tests.builders.fake_source import choice, expected_arrays, plan, small_config
from tests.builders.test_scene_tables import OUTCOMES

KEPT = OUTCOMES[0]
CONFIG = small_config()


@pytest.fixture
def layout(tmp_path) -> Layout:
    return Layout("small", root=tmp_path)


def pixels() -> dict[str, np.ndarray]:
    arrays = expected_arrays([choice(3, 0, 0), choice(3, 1, 0)], config=CONFIG, bad={})
    del arrays["off_lattice"]
    return arrays


def test_what_is_staged_comes_back_exactly(layout):
    stage(staged_path(layout, 2, 3), key="k", outcome=KEPT, arrays=pixels())
    found = staged_arrays(layout, 2, 3)
    assert found is not None
    assert found.keys() == pixels().keys()
    for name, array in pixels().items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    assert staged_outcome(staged_path(layout, 2, 3), key="k") == KEPT


def test_strided_and_big_endian_pixels_are_staged_by_value(layout):
    array = np.arange(24, dtype=">i2").reshape(2, 3, 4)[:, :, ::2]
    stage(staged_path(layout, 0, 3), key="k", outcome=KEPT, arrays={"a": array})
    found = staged_arrays(layout, 0, 3)
    assert found is not None
    assert found["a"].dtype == np.dtype("<i2")
    np.testing.assert_array_equal(found["a"], array)


def test_a_location_without_pixels_is_staged_too(layout):
    refused = LocationOutcome(5, Status.NO_LABELS, "too few", OUTCOMES[2].seasons)
    stage(staged_path(layout, 0, 5), key="k", outcome=refused, arrays={})
    assert staged_outcome(staged_path(layout, 0, 5), key="k") == refused
    assert staged_arrays(layout, 0, 5) is None


def test_nothing_staged_is_none_and_no_error(layout):
    assert staged_arrays(layout, 0, 9) is None
    assert staged_outcome(staged_path(layout, 0, 9), key="k") is None


def test_the_same_location_is_the_same_bytes(layout):
    for job in (0, 1):
        stage(staged_path(layout, job, 3), key="k", outcome=KEPT, arrays=pixels())
    assert staged_path(layout, 0, 3).read_bytes() == staged_path(layout, 1, 3).read_bytes()


@settings(max_examples=60)
@given(st.data())
def test_any_damage_is_found(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("spool") / "3.staged"
    stage(path, key="k", outcome=KEPT, arrays={"a": np.arange(6, dtype="u2")})
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans(), label="truncate"):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        content[data.draw(st.integers(0, len(content) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(bytes(content))
    with pytest.raises(ChunkCorruptError, match=r"3\.staged: \d+ bytes that"):
        read_staged(path)
    assert staged_outcome(path, key="k") is None


def test_damage_is_said_when_a_job_goes_on(layout, caplog):
    path = staged_path(layout, 0, 3)
    stage(path, key="k", outcome=KEPT, arrays=pixels())
    path.write_bytes(path.read_bytes()[:-100])
    assert staged_outcome(path, key="k") is None
    assert "do not match their checksum" in caplog.text


def test_a_file_of_another_request_is_not_used(layout):
    path = staged_path(layout, 0, 3)
    stage(path, key="k", outcome=KEPT, arrays=pixels())
    assert staged_outcome(path, key="other") is None


@pytest.mark.parametrize(
    "other",
    [
        replace(plan(3), seasons=(plan(3).seasons[0][:2], plan(3).seasons[1])),
        replace(plan(3), location=replace(plan(3).location, grid=Grid(32632, 300_060, 5_300_040, 12))),
        plan(4),
    ],
    ids=["other scenes", "other grid", "other location"],
)
def test_the_key_tells_other_plans_apart(other):
    assert location_key(CONFIG, other) != location_key(CONFIG, plan(3))


@pytest.mark.parametrize(
    "changes",
    [
        {"clouds": {"min_label_share": 0.4}},
        {"pairing": {"s1_resampling": "nearest"}},
        {"products": {"s2_scl": False}},
        {"sandbox": {"seed": 5}},
    ],
)
def test_the_key_tells_configs_apart_that_give_other_pixels(changes):
    assert location_key(small_config(**changes), plan(3)) != location_key(CONFIG, plan(3))


@pytest.mark.parametrize(
    "changes",
    [
        {"codec": "fast"},
        {"jobs": {"locations_per_shard": 2, "locations_per_job": 4, "locations_per_search": 8}},
        {"source": {"max_concurrent": 3}},
        {"split": {"val": 0.2}},
    ],
)
def test_the_key_ignores_what_never_changes_pixels(changes):
    assert location_key(small_config(**changes), plan(3)) == location_key(CONFIG, plan(3))


def test_a_new_version_of_the_pixel_step_uses_nothing_old(monkeypatch):
    before = location_key(CONFIG, plan(3))
    monkeypatch.setattr("builders.versions.PIXELS", 1_000)
    assert location_key(CONFIG, plan(3)) != before


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_a_full_disk_is_one_line_that_names_the_place_and_loses_nothing(layout, monkeypatch, number):
    stage(staged_path(layout, 0, 3), key="k", outcome=KEPT, arrays=pixels())

    def full(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(NoldoError, match=rf"spool/0/4\.staged: can't be written \({os.strerror(number)}\)"):
        stage(staged_path(layout, 0, 4), key="k", outcome=KEPT, arrays=pixels())
    assert [path.name for path in layout.spool(0).iterdir()] == ["3.staged"]
    assert staged_outcome(staged_path(layout, 0, 3), key="k") == KEPT


def test_half_written_files_of_a_killed_run_are_swept(layout):
    stage(staged_path(layout, 0, 3), key="k", outcome=KEPT, arrays={})
    (layout.spool(0) / ".4.staged.partial").write_bytes(b"half")
    assert sweep_partial(layout, 0) == 1
    assert [path.name for path in layout.spool(0).iterdir()] == ["3.staged"]
    assert sweep_partial(layout, 0) == 0

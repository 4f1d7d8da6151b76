import json

import pytest

from builders.sweep import run_sweep
from noldo.errors import ShardMissingError
from noldo.store import shard_path
from tests.builders.made_up_build import make_up, pack_all, specs_of


def test_a_packed_job_loses_its_staged_pixels_and_only_these(tmp_path):
    build = make_up(tmp_path)
    pack_all(build)
    run_sweep(build.config, build.layout, job=0)
    assert not build.layout.spool(0).exists()
    assert len(list(build.layout.spool(1).iterdir())) == 4
    assert build.layout.outcomes(0).exists()
    assert json.loads(build.layout.swept(0).read_text()) == {
        "job": 0,
        "shards": [0, 1],
        "first_row": 0,
        "last_row": 5,
    }


def test_sweeping_twice_changes_nothing(tmp_path):
    build = make_up(tmp_path)
    pack_all(build)
    run_sweep(build.config, build.layout, job=1)
    before = build.layout.swept(1).stat().st_mtime_ns
    run_sweep(build.config, build.layout, job=1)
    assert build.layout.swept(1).stat().st_mtime_ns == before


@pytest.mark.parametrize("damage", ["missing", "empty"])
def test_nothing_is_deleted_before_every_shard_of_the_job_exists(tmp_path, damage):
    build = make_up(tmp_path)
    pack_all(build)
    lost = shard_path(build.layout.store, specs_of(build)[4], 1)
    if damage == "missing":
        lost.unlink()
    else:
        lost.write_bytes(b"")
    with pytest.raises(ShardMissingError, match=r"s2_l2a_20m/c/1/0/0/0/0: missing or empty"):
        run_sweep(build.config, build.layout, job=0)
    assert len(list(build.layout.spool(0).iterdir())) == 6
    assert not build.layout.swept(0).exists()
    run_sweep(build.config, build.layout, job=1)

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from builders.outcome_table import write_outcomes
from builders.pack import passes, run_create_store, run_pack, store_layout
from builders.spool import staged_path
from noldo.errors import InputError, ShardMissingError
from noldo.status import Status
from noldo.store import open_store, shard_path
from tests.builders.made_up_build import (
    expected_array,
    made_up_config,
    make_up,
    pack_all,
    specs_of,
)


def test_every_row_holds_what_was_staged_for_it_and_all_others_no_data(tmp_path):
    build = make_up(tmp_path)
    pack_all(build)
    group = open_store(build.layout.store)
    for spec in specs_of(build):
        np.testing.assert_array_equal(group[spec.name][:], expected_array(build, spec), err_msg=spec.name)


def test_a_shard_without_a_kept_location_is_written_all_the_same(tmp_path):
    build = make_up(tmp_path, statuses=[Status.KEPT, Status.KEPT, Status.KEPT, *[Status.NO_SCENE] * 3])
    pack_all(build)
    for spec in specs_of(build):
        assert shard_path(build.layout.store, spec, 1).stat().st_size > 0
        assert (open_store(build.layout.store)[spec.name][3:] == spec.no_data).all()


def test_equal_pixels_give_equal_bytes_in_any_order_of_packing(tmp_path):
    first, second = make_up(tmp_path / "a"), make_up(tmp_path / "b")
    pack_all(first)
    run_create_store(second.config, second.layout)
    for shard in (3, 0, 2, 1):
        run_pack(second.config, second.layout, shard=shard)
    contents = [
        {
            path.relative_to(build.layout.store): path.read_bytes()
            for path in build.layout.store.rglob("*")
            if path.is_file()
        }
        for build in (first, second)
    ]
    assert contents[0] == contents[1]


def test_lost_pixels_of_a_kept_location_are_an_error_that_names_the_job(tmp_path):
    build = make_up(tmp_path)
    run_create_store(build.config, build.layout)
    staged_path(build.layout, 1, build.locations[7].id).unlink()
    with pytest.raises(
        ShardMissingError, match=r"location 149 are not staged.*job 1 fetches what is missing"
    ):
        run_pack(build.config, build.layout, shard=2)
    assert not shard_path(build.layout.store, specs_of(build)[0], 2).exists()


def test_outcomes_of_other_locations_are_refused(tmp_path):
    build = make_up(tmp_path)
    run_create_store(build.config, build.layout)
    write_outcomes(build.layout.outcomes(0), build.outcomes[1:7])
    with pytest.raises(InputError, match=r"about locations 107 to 121 \(3\).*has 100 to 114 \(3\)"):
        run_pack(build.config, build.layout, shard=0)


def test_pixels_staged_for_another_patch_size_are_refused(tmp_path):
    build = make_up(tmp_path)
    other = made_up_config(10, patch_size_px=18)
    run_create_store(other, build.layout)
    with pytest.raises(InputError, match=r"s2_l1c_10m of location 100 is uint16 \(2, 4, 12, 12\)"):
        run_pack(other, build.layout, shard=0)


def test_packing_says_how_far_it_is(tmp_path, caplog):
    build = make_up(tmp_path)
    run_create_store(build.config, build.layout)
    with caplog.at_level("INFO"):
        run_pack(build.config, build.layout, shard=0)
    assert "shard 0: s2_l1c_10m written (1 of 9 arrays)" in caplog.text
    assert "shard 0: 2 of 3 rows hold pixels" in caplog.text


def test_passes_hold_every_array_once_in_order_and_none_is_larger_than_the_largest_array():
    store = store_layout(made_up_config(patch_size_px=264))
    groups = list(passes(store.specs, store))
    assert [spec for group in groups for spec in group] == list(store.specs)
    sizes = {
        spec.name: int(np.prod(spec.item_shape(2, 264))) * np.dtype(spec.dtype).itemsize
        for spec in store.specs
    }
    assert max(sum(sizes[spec.name] for spec in group) for group in groups) == max(sizes.values())
    assert len(groups) < len(store.specs)


PACK_ONE = """
import sys
from pathlib import Path
from builders.layout import Layout
from builders.pack import run_create_store, run_pack
from tests.builders.test_pack import full_size_config
config = full_size_config()
layout = Layout(config.name, Path(sys.argv[1]))
run_create_store(config, layout)
run_pack(config, layout, shard=0)
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def full_size_config():
    return made_up_config(
        64,
        patch_size_px=264,
        seasons=[{"name": name, "date": "2020-12-21"} for name in ("winter", "spring", "summer", "autumn")],
        jobs={"locations_per_shard": 64, "locations_per_job": 64, "locations_per_search": 64},
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is read from /proc")
def test_packing_a_full_shard_needs_less_than_three_raw_shards_of_the_largest_array(tmp_path):
    make_up(tmp_path, config=full_size_config(), statuses=[Status.KEPT] * 64)
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", PACK_ONE, str(tmp_path)], check=True, cwd=root, stdout=subprocess.PIPE
    )
    raw_shard_bytes = 64 * 4 * 4 * 264 * 264 * 2
    assert int(done.stdout) * 1024 < 3 * raw_shard_bytes

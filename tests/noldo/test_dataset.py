"""The torch Dataset: what a sample holds, which rows there are, and how it travels to workers."""

import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

import noldo
from noldo.dataset import NoldoS12
from noldo.errors import ConfigError, MissingExtraError, NoldoError, ShardMissingError, StoreError
from noldo.store import shard_path
from tests.noldo.made_up_data_set import DataSet

ROOT = Path(__file__).parents[2]


def test_a_sample_holds_native_resolution_integers(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, modalities=["s2_l1c", "s1_grd", "s2_scl"], season="spring", split=None)
    row = int(data_set.kept[4])
    sample = samples[4]
    assert {name: (tuple(one.shape), one.dtype) for name, one in sample.items() if hasattr(one, "shape")} == {
        "s2_l1c_10m": ((4, 12, 12), torch.uint16),
        "s2_l1c_20m": ((6, 6, 6), torch.uint16),
        "s2_l1c_60m": ((3, 2, 2), torch.uint16),
        "s1_grd_10m": ((2, 12, 12), torch.int16),
        "s2_scl_20m": ((6, 6), torch.uint8),
        "mask": ((12, 12), torch.uint8),
        "bounds": ((4,), torch.float64),
    }
    for name in ("s2_l1c_10m", "s2_l1c_20m", "s2_l1c_60m", "s1_grd_10m", "s2_scl_20m"):
        assert np.array_equal(sample[name].numpy(), data_set.pixels[name][row, 1])
    assert np.array_equal(sample["mask"].numpy(), data_set.pixels["dynamic_world_10m"][row, 1])
    x, y = int(data_set.rows["x_ul"][row]), int(data_set.rows["y_ul"][row])
    assert sample["bounds"].tolist() == [x, y - 120, x + 120, y]
    assert (sample["id"], sample["season"]) == (data_set.rows["id"][row], 1)
    assert sample["crs"] == data_set.rows["crs_epsg"][row]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"season": "all"},
        {"labels": "all", "crop_px": 6},
        {"bands": 3},
        {"season": 1, "labels": None, "crop_px": 6, "crop_at": "centre"},
        {"legend": "cover_2"},
    ],
)
def test_samples_may_be_read_into_memory_that_is_there_already(
    data_set: DataSet, options: dict[str, Any]
) -> None:
    samples = NoldoS12(data_set.root, split=None, seed=5, **options)
    wanted = [3, 0, -1, 3, *range(len(samples))]
    expected = [samples[index] for index in wanted]
    outs = [
        {
            name: np.full(one.shape, 1, one.numpy().dtype)
            for name, one in sample.items()
            if isinstance(one, torch.Tensor)
        }
        for sample in expected
    ]
    for found, sample, out in zip(samples.samples_into(outs, wanted), expected, outs, strict=True):
        assert found.keys() == sample.keys()
        for name, one in sample.items():
            assert np.array_equal(found[name], one, equal_nan=name == "bounds")
            if name.startswith(("s1", "s2")) or (name == "mask" and "legend" not in options):
                assert np.shares_memory(found[name].numpy(), out[name])


@pytest.mark.parametrize(
    "unfit",
    [np.zeros((4, 12, 11), np.uint16), np.zeros((4, 12, 12), np.int16), np.zeros((4, 12, 24), np.uint16)[..., ::2]],
    ids=["shape", "dtype", "not contiguous"],
)  # fmt: skip
def test_memory_that_does_not_fit_a_sample_is_left_alone(data_set: DataSet, unfit: np.ndarray) -> None:
    samples = NoldoS12(data_set.root, split=None, season=0)
    found = samples.samples_into([{"s2_l1c_10m": unfit}], [2])[0]["s2_l1c_10m"]
    assert torch.equal(found, samples[2]["s2_l1c_10m"])
    assert not unfit.any()


def test_all_seasons_come_on_an_axis_of_their_own(data_set: DataSet) -> None:
    sample = NoldoS12(data_set.root, season="all", bands=3)[0]
    assert sample["s2_l1c_10m"].shape == (3, 3, 12, 12)
    assert sample["mask"].shape == (3, 12, 12)
    assert sample["season"] == -1


def test_labels_of_all_seasons_can_go_with_one_image(data_set: DataSet) -> None:
    sample = NoldoS12(data_set.root, season=2, labels="all")[0]
    assert sample["s1_grd_10m"].shape == (2, 12, 12)
    assert np.array_equal(sample["mask"].numpy(), data_set.pixels["dynamic_world_10m"][0])
    assert "mask" not in NoldoS12(data_set.root, labels=None)[0]


def test_only_the_chosen_bands_are_there(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, modalities="s2_l1c", bands=9, season=0)
    assert samples.bands == {
        "s2_l1c_10m": ("B2", "B3", "B4", "B8"),
        "s2_l1c_20m": ("B5", "B6", "B7", "B11", "B12"),
    }
    stored = data_set.pixels["s2_l1c_20m"][0, 0]
    assert np.array_equal(samples[0]["s2_l1c_20m"].numpy(), stored[[0, 1, 2, 4, 5]])


@pytest.mark.parametrize(("split", "rows"), [("train", [0, 1, 4, 5, 7]), ("val", [2, 8]), ("test", [6])])
def test_a_split_holds_its_kept_rows_only(data_set: DataSet, split: str, rows: list[int]) -> None:
    samples = NoldoS12(data_set.root, split=split)
    assert len(samples) == len(rows)
    assert samples.ids.tolist() == data_set.rows["id"][rows].tolist()
    assert [sample["id"] for sample in samples.__getitems__(range(len(samples)))] == samples.ids.tolist()


def test_a_sample_has_a_whole_number(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, split=None, season=0)
    assert samples[np.int64(2)]["id"] == samples[torch.tensor(2)]["id"] == samples.ids[2]
    for wrong in (1.5, "1", None):
        with pytest.raises(TypeError):
            samples[wrong]
    for far in (len(samples), -len(samples) - 1):
        with pytest.raises(IndexError, match=f"sample {far} of {len(samples)}"):
            samples[far]
    assert samples.__getitems__([]) == []


def test_without_split_all_kept_rows_are_there(data_set: DataSet) -> None:
    assert len(NoldoS12(data_set.root, split=None)) == 8


def seasons_of(data_set: DataSet, *, seed: int, epoch: int) -> list[int]:
    samples = NoldoS12(data_set.root, modalities=(), labels=None, split=None, seed=seed)
    samples.set_epoch(epoch)
    return [samples[index]["season"] for index in range(len(samples))]


def test_seasons_follow_from_seed_epoch_and_id_alone(data_set: DataSet) -> None:
    assert seasons_of(data_set, seed=1, epoch=5) == seasons_of(data_set, seed=1, epoch=5)
    train = NoldoS12(data_set.root, modalities=(), labels=None, seed=1)
    train.set_epoch(5)
    everyone = dict(
        zip(data_set.rows["id"][data_set.kept], seasons_of(data_set, seed=1, epoch=5), strict=True)
    )
    assert {sample["id"]: sample["season"] for sample in train} == {
        one: everyone[one] for one in train.ids.tolist()
    }


def test_seasons_change_with_seed_and_epoch_and_are_all_drawn(data_set: DataSet) -> None:
    assert seasons_of(data_set, seed=1, epoch=0) != seasons_of(data_set, seed=1, epoch=1)
    assert seasons_of(data_set, seed=1, epoch=0) != seasons_of(data_set, seed=2, epoch=0)
    drawn = Counter(season for epoch in range(60) for season in seasons_of(data_set, seed=0, epoch=epoch))
    assert sorted(drawn) == [0, 1, 2]
    assert min(drawn.values()) > 100


def test_seasons_are_the_same_forever(data_set: DataSet) -> None:
    # Recorded with the first version: a run that is resumed years later must see the same images.
    assert seasons_of(data_set, seed=7, epoch=3) == [2, 2, 0, 0, 0, 1, 0, 0]


def test_an_epoch_below_0_is_refused(data_set: DataSet) -> None:
    with pytest.raises(ConfigError, match="epoch -1: expected 0 or more"):
        NoldoS12(data_set.root).set_epoch(-1)


def test_seasons_are_those_that_numpy_draws_for_seed_epoch_and_id(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, split=None, seed=9)
    for epoch in (0, 4, 1):
        samples.set_epoch(epoch)
        for index, number in enumerate(samples.ids.tolist()):
            word = np.random.SeedSequence([9, epoch, number]).generate_state(1)[0]
            assert samples[index]["season"] == word % len(samples.season_names)
            assert samples[index - len(samples)]["season"] == samples[index]["season"]


def test_a_transform_is_given_memory_of_its_own_unless_it_keeps_nothing(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, split=None, season=0)
    for keeps_nothing in (False, True):
        samples.set_transform(lambda sample: sample, keeps_nothing=keeps_nothing)
        out = {"mask": np.zeros((12, 12), np.uint8)}
        found = samples.samples_into([out], [0])[0]["mask"]
        assert np.shares_memory(found.numpy(), out["mask"]) == keeps_nothing


def test_the_transform_makes_the_sample(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, transform=lambda sample: {"only": sample["id"]})
    assert samples[0] == {"only": 100}


def test_an_index_beyond_the_end_ends_iteration(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, split="val", modalities=())
    assert len(list(samples)) == 2
    assert samples[-1]["id"] == samples[1]["id"]
    with pytest.raises(IndexError):
        samples[2]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"modalities": ["s3", "s1_grd"]}, "modalities s3: not in .*has s1_grd, s2_l1c, s2_l2a, s2_scl"),
        ({"bands": 7}, "bands 7: expected 13, 12, 9, 3"),
        ({"bands": ["B2", "B99"]}, "B99 of s2_l1c: not stored"),
        ({"season": "monsoon"}, "season 'monsoon': expected random, all, one of winter, spring, summer"),
        ({"season": 3}, "season 3: expected .* 0 .. 2"),
        ({"split": "dev"}, "split 'dev': expected one of train, val, test"),
        ({"labels": "some"}, "labels 'some': expected season, all or None"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_a_wrong_argument_is_one_clear_line(
    data_set: DataSet, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        NoldoS12(data_set.root, **arguments)
    assert "\n" not in str(caught.value)


def test_a_wrong_path_is_one_clear_line(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nol.zarr", str(tmp_path) + "/"):
        with pytest.raises(StoreError, match=r"nol\.zarr: no store here"):
            NoldoS12(path)


def test_the_store_itself_is_a_root_as_well(data_set: DataSet) -> None:
    assert len(NoldoS12(data_set.store)) == len(NoldoS12(str(data_set.root) + "/")) == 5


def test_a_lost_shard_is_an_error_and_not_a_masked_sample(own_data_set: DataSet) -> None:
    samples = NoldoS12(own_data_set.root)
    shard_path(own_data_set.store, own_data_set.layout.spec("s2_l1c_60m"), 1).unlink()
    with pytest.raises(ShardMissingError, match="shard 1 of s2_l1c_60m is missing"):
        samples[2]


def test_shards_stay_open_as_long_as_the_data_set_and_no_more_than_a_few(
    data_set: DataSet, monkeypatch
) -> None:
    def num_open() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    monkeypatch.setattr("noldo.files.MAX_OPEN_FILES", 3)
    at_start = num_open()
    samples = NoldoS12(data_set.root, split=None)
    before = num_open()
    for sample in samples:
        assert sample["id"] >= 100
    assert before < num_open() <= before + 3
    del samples
    assert num_open() <= at_start


def test_it_survives_pickling(data_set: DataSet) -> None:
    samples = NoldoS12(data_set.root, seed=3)
    samples.set_epoch(4)
    before = samples[1]
    copy = pickle.loads(pickle.dumps(samples))  # our own bytes: DataLoader workers pickle samples
    after = copy[1]
    assert after["season"] == before["season"]
    assert torch.equal(after["s2_l1c_10m"], before["s2_l1c_10m"])


# Python 3.12 warns of every fork while torch's threads run; nothing of ours runs in them.
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_load_what_the_main_process_does_and_see_new_epochs(data_set: DataSet, context: str) -> None:
    samples = NoldoS12(data_set.root, split=None, seed=2)
    assert samples[0]["id"] == 100  # read before the fork, on purpose
    loader = DataLoader(
        samples, batch_size=3, num_workers=2, multiprocessing_context=context, persistent_workers=True
    )
    for epoch in (0, 1):
        samples.set_epoch(epoch)
        loaded = [
            {name: values[index] for name, values in batch.items()}
            for batch in loader
            for index in range(len(batch["id"]))
        ]
        assert [int(one["id"]) for one in loaded] == samples.ids.tolist()
        for one, expected in zip(loaded, samples, strict=True):
            assert int(one["season"]) == expected["season"]
            assert torch.equal(one["s1_grd_10m"], expected["s1_grd_10m"])
            assert torch.equal(one["s2_l1c_20m"], expected["s2_l1c_20m"])
            assert torch.equal(one["mask"], expected["mask"])
    del loader


def test_it_needs_none_of_the_packages_of_the_build(data_set: DataSet) -> None:
    code = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {{"pyarrow", "yaml", "rich", "cyclopts", "rasterio", "geopandas", "ee", "pandas", "dask",
                                  "xarray", "obstore", "matplotlib", "shapely", "pyproj", "scipy"}}:
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Blocked())
import torch
from noldo import NoldoS12, on_one_grid
samples = NoldoS12({str(data_set.root)!r}, bands=13)
batch = next(iter(torch.utils.data.DataLoader(samples, batch_size=2)))
print(on_one_grid(batch, bands=13).shape, batch["mask"].shape)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert answer.stderr == ""
    assert answer.stdout == "torch.Size([2, 13, 12, 12]) torch.Size([2, 12, 12])\n"


def test_importing_noldo_imports_nothing_heavy() -> None:
    code = "import sys, noldo; print({'numpy', 'torch', 'zarr', 'pydantic'} & set(sys.modules))"
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert answer.stdout == "set()\n"


def test_every_public_name_is_where_it_is_said_to_be() -> None:
    for name in noldo.__all__:
        assert getattr(noldo, name).__module__.startswith("noldo") or name == "DYNAMIC_WORLD"
    assert set(noldo.__all__) <= set(dir(noldo))
    with pytest.raises(AttributeError, match="nonsense"):
        _ = noldo.nonsense


def test_a_missing_torch_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(name: str) -> object:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(noldo, "import_module", lacking)
    with pytest.raises(MissingExtraError, match="needs torch; run `pip install"):
        _ = noldo.NoldoS12
    assert issubclass(MissingExtraError, NoldoError)

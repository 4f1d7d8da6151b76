"""The benchmark of a step runs, on a CPU and where a bare node lacks packages, and compares with the step that was published."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from benchmarks import made_up_store
from benchmarks.published_items import StandIn
from benchmarks.published_step import published_loss
from benchmarks.records import machine
from benchmarks.roofline import Counting, Operator, Peaks
from noldo.method.objective import CrossModal, cross_modal_loss
from noldo.method.smoothing import label_prior
from noldo.training.recipe import Augmentation

MISSING = ("scipy", "lmdb", "rasterio", "matplotlib", "cyclopts", "rich", "geopandas", "snakemake", "sklearn")
"""What a bare node may lack."""

RUN = f"""
import json, sys, torch, torchmetrics  # which looks for what is installed, rather than for what can be imported
from importlib.machinery import PathFinder
from pathlib import Path

class Without(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.partition(".")[0] in {MISSING!r} else super().find_spec(name, path, target)

for name in [one for one in sys.modules if one.partition(".")[0] in {MISSING!r}]:
    del sys.modules[name]
sys.meta_path[:] = [Without if one is PathFinder else one for one in sys.meta_path]
torch.set_num_threads(1)
from benchmarks import made_up_store, step

folder = Path(sys.argv[1])
made_up_store.write(folder / "nol.zarr", made_up_store.layout_of(2))
settings = step.Settings(
    batch=2, crop=64, encoder="tu-mobilenetv3_small_050", steps=2, log_steps=1, threads=1, workers=0, compile=False, peak_side=128
)
record = step.compare(folder / "nol.zarr", folder, settings=settings, device=torch.device("cpu"))
record["page"] = step.page(record | {{"command": "none"}})
print(json.dumps(record))
"""


@pytest.mark.slow
def test_the_benchmark_of_a_step_runs_on_a_bare_cpu_and_tells_all_it_is_asked_for(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(tmp_path)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    record = json.loads(done.stdout.splitlines()[-1])
    assert record["items"].startswith("a stand-in")
    assert len(record["ways"]) == 4
    assert all(one["samples_per_s"] > 0 and 0 <= one["waited"] <= 1 for one in record["ways"].values())
    assert all(value > 0 for value in record["ratios"].values())
    assert record["roofline"]["convolutions_ms"] > 0
    assert record["view"]["largest_difference"] == 0
    assert "is the larger**" in record["page"]


@pytest.mark.parametrize("epoch", [0, 40, 80])
def test_the_published_loss_is_the_one_that_this_project_descends(epoch):
    random = torch.Generator().manual_seed(epoch)
    labels = torch.randint(0, 9, (2, 4, 24, 24), generator=random).to(torch.uint8)
    season = torch.tensor([1, 3])
    prior = label_prior(labels, season, num_classes=9)
    shown = labels[torch.arange(2), season]
    both = [torch.randn(2, 9, 24, 24, generator=random) * 2 for _ in range(2)]
    ours = cross_modal_loss(*both, shown, settings=CrossModal(), epoch=epoch, prior_NCHW=prior).loss
    theirs = published_loss(*both, shown.long(), prior, epoch=epoch)
    assert float(theirs) == pytest.approx(float(ours), rel=1e-5)


def test_items_of_the_stand_in_have_the_prior_of_the_labels_that_they_show(tmp_path):
    store = tmp_path / "nol.zarr"
    made_up_store.write(store, made_up_store.layout_of(1))
    items = StandIn(store, tmp_path / "files", augmentation=Augmentation(crop_px=264, flip=0, rotate=0))
    item = items[0]
    assert {name: tuple(value.shape) for name, value in item.items()} == {
        "s1": (2, 264, 264), "s2": (13, 264, 264), "prior": (9, 264, 264), "label": (264, 264),
    }  # fmt: skip
    labels = torch.from_numpy(np.load(tmp_path / "files" / "labels.npy"))
    season = [torch.equal(one.long(), item["label"]) for one in labels[0]].index(True)
    expected = label_prior(labels, torch.tensor([season]), num_classes=9)[0]
    torch.testing.assert_close(item["prior"], expected, rtol=0, atol=2e-6)
    assert 0 <= float(item["s2"].min()) < float(item["s2"].max()) <= 1


def test_operators_are_counted_with_their_work_and_their_bytes_and_views_are_free():
    image = torch.randn(2, 3, 8, 8, requires_grad=True)
    weight = torch.randn(4, 3, 3, 3)
    with Counting() as counting:
        torch.nn.functional.conv2d(image, weight, padding=1).view(-1).sum().backward()
    (forward,) = (one for one in counting.operators if one.name == "convolution")
    assert forward.flops == 2 * 2 * 8 * 8 * 4 * 3 * 9
    assert forward.num_bytes == 4 * (2 * 3 * 64 + 4 * 3 * 9 + 2 * 4 * 64)
    assert any(one.name == "convolution_backward" for one in counting.operators)
    assert not any("view" in one.name for one in counting.operators)


def test_an_operator_takes_as_long_as_the_dearer_of_its_work_and_its_bytes():
    peaks = Peaks(flops_per_s=100, bytes_per_s=10)
    assert peaks.seconds(Operator("convolution", 200, 10)) == 2
    assert peaks.seconds(Operator("add", 1, 50)) == 5


def test_the_name_of_an_accelerator_goes_into_the_hardware_of_a_record():
    assert machine("NVIDIA H100 80GB HBM3")["hardware"].endswith("-cores-nvidia-h100-80gb-hbm3")
    assert machine()["hardware"].endswith("-cores")

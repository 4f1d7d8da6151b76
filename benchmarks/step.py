"""A training step on a GPU, data included, beside the published one and beside its roofline.

    python -m benchmarks.step [--locations 512] [--batch 128] [--steps 60] [--folder FOLDER]

CromSS with ResNet-50 and middle fusion on made-up locations. Four ways, one after the other: the trainer itself (`noldo.training.loop`), fed by
the ring loader or again and again by one batch in memory; and the published step (`benchmarks.published_step`), fed by the authors' items or
by one batch in memory. Times are taken where a trainer waits for its device, without the first ones, in which code is compiled. Then
one eager step of ours is counted, operator by operator (`benchmarks.roofline`). Needs a GPU to mean anything; on a CPU it runs at
`--batch 2 --crop 64 --encoder resnet18 --steps 4 --log-steps 2 --peak-side 256`.
"""

import argparse
import gc
import itertools
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from lightning_fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader

from benchmarks import made_up_store
from benchmarks.published_items import Items, published_items
from benchmarks.published_step import PublishedStep
from benchmarks.records import headline, keep, machine, table, versions
from benchmarks.roofline import Counting, Operator, Peaks, best_s, largest, peaks_of, wait_for
from noldo.dataset import NoldoS12
from noldo.method.cross_entropy import cross_entropy
from noldo.ring_loader import RingLoader
from noldo.training.feed import make_feed
from noldo.training.label_transforms import with_largest_label
from noldo.training.loop import Loop
from noldo.training.networks import build_pretraining
from noldo.training.prefetch import on_device
from noldo.training.pretraining import Pretraining
from noldo.training.recipe import PretrainRecipe, recipe_of
from noldo.training.run_folder import RunFolder
from noldo.training.task import Batch, Feed
from noldo.training.views import draw_moves, preparation

PACKAGES = ("torch", "numpy", "numcodecs", "segmentation-models-pytorch", "lmdb", "scipy")
OURS, OURS_FED, THEIRS, THEIRS_FED = (
    "ours, fed by the ring loader",
    "ours, fed from memory",
    "published, fed by the authors' items",
    "published, fed from memory",
)
TARGETS = {"samples/s / published, with its items": 3.0, "samples/s / published, from memory": 1.5}
MOST_WAITED, LEAST_OF_ROOFLINE = 0.02, 0.50


@dataclass(frozen=True)
class Settings:
    batch: int = 128
    crop: int = 256
    encoder: str = "resnet50"
    steps: int = 60
    log_steps: int = 10
    """Steps between two looks at the losses; times are taken there, the first one is left out."""
    threads: int = 8
    """Of the ring loader."""
    workers: int = 12
    """Of the published step's DataLoader."""
    compile: bool = True
    peak_side: int = 8192
    """Of the matrices whose product tells the peak."""


MOST_PIXELS_ON_CPU = 16 * 128**2
"""Of a step: more would take hours and all memory."""


class Repeated:
    """A data set gone through again and again: as many samples as the steps take, of few locations."""

    def __init__(self, samples: Any, count: int) -> None:
        self._samples, self._count = samples, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        return self._samples[index % len(self._samples)]

    def samples_into(self, outs: Any, indices: Any) -> Any:
        return self._samples.samples_into(outs, [index % len(self._samples) for index in indices])

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._samples, name)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--locations", type=int, default=512)
    parser.add_argument("--folder", type=Path, help="keep the data here, and take it from here the next time")
    for name, value in asdict(Settings()).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=None)
        else:
            parser.add_argument(option, type=type(value), default=value)
    arguments = vars(parser.parse_args())
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu" and arguments["batch"] * arguments["crop"] ** 2 > MOST_PIXELS_ON_CPU:
        sys.exit(
            "benchmarks.step: needs a GPU; on a CPU give e.g. --batch 2 --crop 64 --encoder resnet18 --steps 4 --log-steps 2 --peak-side 256"
        )
    locations, folder = arguments.pop("locations"), arguments.pop("folder")
    if arguments["compile"] is None:
        arguments["compile"] = device.type == "cuda"
    with tempfile.TemporaryDirectory() as scratch:
        place = folder or Path(scratch)
        store = place / "nol.zarr"
        if not (store / "zarr.json").exists():
            made_up_store.write(store, made_up_store.layout_of(locations))
        record = compare(store, place, settings=Settings(**arguments), device=device)
    record["command"] = " ".join(["python -m benchmarks.step", *sys.argv[1:]])
    text = page(record)
    print(text)
    print(keep(record, text, name="step"), file=sys.stderr)


def compare(store: Path, folder: Path, *, settings: Settings, device: torch.device) -> dict[str, Any]:
    torch.set_float32_matmul_precision("high")  # as published
    items, kind = published_items(store, folder / "published", crop_px=settings.crop)
    item_ms = _item_ms(items)
    peaks = peaks_of(device, side=settings.peak_side)
    feed = _feed(_recipe(store, settings), store, settings)
    # A slot of the ring is filled anew: what is kept is copied.
    batch = {name: value.clone() for name, value in next(iter(feed.train)).items()}
    if device.type == "cuda":
        batch = {name: value.pin_memory() for name, value in batch.items()}
    ways: dict[str, dict[str, float]] = {}
    for name, fed in ((OURS, feed), (OURS_FED, replace(feed, train=Same(batch, settings.steps)))):
        ways[name] = _ours(fed, store, settings, device)
        _tidy(device)
    cast(RingLoader, feed.train).close()
    ways |= _published(items, settings, device)
    _tidy(device)
    operators = _counted(_recipe(store, replace(settings, compile=False)), batch, device)
    speed = {name: one["samples_per_s"] for name, one in ways.items()}
    return {
        **machine(torch.cuda.get_device_name(device) if device.type == "cuda" else None),
        "packages": versions(PACKAGES),
        "settings": asdict(settings),
        "locations": len(items),
        "items": kind,
        "item_ms": item_ms,
        "ways": ways,
        "ratios": {
            "samples/s / published, with its items": speed[OURS] / speed[THEIRS],
            "samples/s / published, from memory": speed[OURS] / speed[THEIRS_FED],
        },
        "waited": ways[OURS]["waited"],
        "roofline": _against_roofline(operators, peaks, step_s=settings.batch / speed[OURS]),
        "view": _view_ms(_recipe(store, settings), batch, device),
    }


def _item_ms(items: Items, *, count: int = 8) -> float:
    start = time.perf_counter()
    for index in range(count):
        items[index % len(items)]
    items.close()  # workers are forks of this process, and open the files by themselves
    return 1e3 * (time.perf_counter() - start) / count


def _tidy(device: torch.device) -> None:
    """Each way has the whole memory."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _recipe(store: Path, settings: Settings) -> PretrainRecipe:
    tree: dict[str, Any] = {
        "kind": "pretrain",
        "data": {"store": str(store.parent), "loader": "ring", "num_workers": settings.threads},
        "augmentation": {"crop_px": settings.crop},
        "schedule": {"name": "constant"},
        "encoder": settings.encoder,
        "epochs": 1,
        "batch_size": settings.batch,
        "log_steps": settings.log_steps,
        "precision": "bf16-mixed" if torch.cuda.is_available() else "32-true",
        "compile": settings.compile,
    }
    return cast(PretrainRecipe, recipe_of(tree, where="benchmarks.step"))


def _feed(recipe: PretrainRecipe, store: Path, settings: Settings) -> Feed:
    samples = NoldoS12(store, labels="all", seed=recipe.seed)
    samples.set_transform(with_largest_label, keeps_nothing=True)
    return make_feed(
        cast(Any, Repeated(samples, settings.steps * settings.batch)),
        None,
        data=recipe.data,
        batch_size=settings.batch,
        seed=recipe.seed,
        draw=_no_picture,
    )


def _no_picture(_: Any) -> Any:
    raise AssertionError("nothing is drawn where there is no val split")


class Same:
    """One batch, again and again."""

    def __init__(self, batch: Batch, count: int) -> None:
        self._batch, self._count = batch, count

    def __iter__(self) -> Iterator[Batch]:
        return itertools.repeat(self._batch, self._count)


def _task(recipe: PretrainRecipe, device: torch.device) -> Pretraining:
    torch.manual_seed(0)
    network, inputs = build_pretraining(recipe, num_classes=made_up_store.NUM_CLASSES)
    if device.type == "cuda":
        network.to(memory_format=torch.channels_last)  # as in `noldo.training.runs`
    return Pretraining(
        recipe,
        network=network,
        inputs=inputs,
        num_classes=made_up_store.NUM_CLASSES,
        label_loss=cross_entropy,
        num_ranks=1,
        device=device,
    )


def _ours(feed: Feed, store: Path, settings: Settings, device: torch.device) -> dict[str, float]:
    """The trainer as it is; samples a second between its looks, and the share of time that it waited for batches."""
    recipe, looks = _recipe(store, settings), []
    with tempfile.TemporaryDirectory() as out:
        fabric = Fabric(accelerator=device.type, devices=1, precision=recipe.precision)
        fabric.launch()
        folder = RunFolder(Path(out))
        loop = Loop(
            _task(recipe, fabric.device),
            feed=feed,
            recipe=recipe,
            folder=folder,
            fabric=fabric,
            progress=lambda step, total, words: looks.append((step, time.perf_counter())),
        )
        loop.run()
        waited = [one["waited"] for one in folder.metrics() if "waited" in one]
    return {
        "samples_per_s": _per_s(looks, batch=settings.batch),
        "waited": sum(waited[1:]) / max(1, len(waited) - 1),
    }


def _per_s(looks: list[tuple[int, float]], *, batch: int) -> float:
    """Samples a second from the first look to the last one."""
    (first, start), (last, end) = looks[0], looks[-1]
    return batch * (last - first) / (end - start)


def _published(items: Items, settings: Settings, device: torch.device) -> dict[str, dict[str, float]]:
    torch.manual_seed(0)
    recipe = _recipe(Path("none"), settings)
    network, _ = build_pretraining(recipe, num_classes=made_up_store.NUM_CLASSES)
    step = PublishedStep(network, device=device)
    loader = DataLoader(
        cast(Any, Repeated(items, settings.steps * settings.batch)),
        batch_size=settings.batch,
        shuffle=True,
        num_workers=settings.workers,
        pin_memory=device.type == "cuda",
        drop_last=True,
    )
    found = {THEIRS: _times(loader, step, settings, device)}
    batch = next(iter(DataLoader(cast(Any, Repeated(items, settings.batch)), batch_size=settings.batch)))
    on_it = {name: value.to(device) for name, value in batch.items()}
    return found | {THEIRS_FED: _times(Same(on_it, settings.steps), step, settings, device)}


def _times(
    batches: Iterable[Any], step: PublishedStep, settings: Settings, device: torch.device
) -> dict[str, float]:
    looks, waited_s, asked = [], 0.0, time.perf_counter()
    for number, batch in enumerate(batches, start=1):
        waited_s += time.perf_counter() - asked
        step(batch)
        if number % settings.log_steps == 0:
            wait_for(device)
            if not looks:
                waited_s = 0.0
            looks.append((number, time.perf_counter()))
        asked = time.perf_counter()
    return {
        "samples_per_s": _per_s(looks, batch=settings.batch),
        "waited": waited_s / (looks[-1][1] - looks[0][1]),
    }


def _counted(recipe: PretrainRecipe, batch: Batch, device: torch.device) -> list[Operator]:
    """Operators of one eager step of ours, from integers to the optimiser."""
    task = _task(recipe, device)
    network = task.network.to(device).train()
    optimiser = torch.optim.Adam(network.parameters(), lr=1e-3)

    class Mixed(nn.Module):
        def forward(self, *images: torch.Tensor) -> Any:
            with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16-mixed"):
                return network(*images)

    with Counting() as counting:
        task.losses(Mixed(), on_device(batch, device), epoch=0)["loss"].backward()
        optimiser.step()
    return counting.operators


def _against_roofline(operators: list[Operator], peaks: Peaks, *, step_s: float) -> dict[str, Any]:
    flops, num_bytes = sum(one.flops for one in operators), sum(one.num_bytes for one in operators)
    convolutions_s = sum(peaks.seconds(one) for one in operators if one.is_convolution)
    return {
        "step_ms": 1e3 * step_s,
        "tflop": flops / 1e12,
        "gb": num_bytes / 1e9,
        "peak_tflops": peaks.flops_per_s / 1e12,
        "peak_gb_per_s": peaks.bytes_per_s / 1e9,
        "arithmetic_ms": 1e3 * flops / peaks.flops_per_s,
        "traffic_ms": 1e3 * num_bytes / peaks.bytes_per_s,
        "convolutions_ms": 1e3 * convolutions_s,
        "share": convolutions_s / step_s,
        "largest_ms": {name: 1e3 * value for name, value in largest(operators, peaks, count=10)},
    }


def _view_ms(recipe: PretrainRecipe, batch: Batch, device: torch.device) -> dict[str, float]:
    """From stored integers to what a network sees, prior included; compiled only on a GPU. The two are compared first."""
    task_inputs = build_pretraining(recipe, num_classes=made_up_store.NUM_CLASSES)[1].to(device)
    moved = on_device(batch, device)
    moves = draw_moves(
        moved.pop("id"),
        side_px=moved["mask"].shape[-1],
        settings=recipe.augmentation,
        seed=0,
        epoch=0,
        device=device,
        has_fixed_shapes=recipe.compile,
    )
    plain, fast = (
        preparation(task_inputs, num_classes=made_up_store.NUM_CLASSES, kind="ts", is_compiled=is_compiled)
        for is_compiled in (False, recipe.compile)
    )
    expected, found = plain(moved, moves), fast(moved, moves)
    assert expected.prior is not None
    assert found.prior is not None
    differences = [(found.images[name] - image).abs().max().item() for name, image in expected.images.items()]
    differences.append((found.prior - expected.prior).abs().max().item())
    return {
        "plain_ms": 1e3 * best_s(lambda: plain(moved, moves), device=device, repeats=3),
        "compiled_ms": 1e3 * best_s(lambda: fast(moved, moves), device=device, repeats=3),
        "largest_difference": max(differences),
        "share_of_other_labels": (found.labels != expected.labels).float().mean().item(),
    }


def page(record: Mapping[str, Any]) -> str:
    settings, roofline, view = record["settings"], record["roofline"], record["view"]
    goals = [[name, f"{record['ratios'][name]:.2f}", f">= {goal:.1f}"] for name, goal in TARGETS.items()]
    goals += [
        ["time waiting for data / time", f"{record['waited']:.3f}", f"<= {MOST_WAITED:.2f}"],
        ["roofline of the convolutions / step", f"{roofline['share']:.2f}", f">= {LEAST_OF_ROOFLINE:.2f}"],
    ]
    ways = [
        [name, f"{one['samples_per_s']:,.1f}", f"{1e3 * settings['batch'] / one['samples_per_s']:,.1f}", f"{one['waited']:.3f}"]
        for name, one in record["ways"].items()
    ]  # fmt: skip
    arithmetic, traffic = roofline["arithmetic_ms"], roofline["traffic_ms"]
    larger = "arithmetic" if arithmetic > traffic else "traffic"
    return (
        headline(record, title="A training step")
        + f": {settings['encoder']}, middle fusion, batches of {settings['batch']}, crops of {settings['crop']} px, {settings['steps']} steps, "
        f"{'compiled' if settings['compile'] else 'eager'}. Items of the published step: {record['items']}, {record['item_ms']:.1f} ms each.\n\n"
        + table(["goal", "found", "wanted"], goals)
        + "\n"
        + table(["way", "samples/s", "ms a step", "share of time waiting"], ways)
        + f"\nA step of {roofline['step_ms']:,.1f} ms has {roofline['tflop']:.3g} TFLOP and, eager, moves {roofline['gb']:,.1f} GB. At the peaks of this run "
        f"({roofline['peak_tflops']:,.1f} TFLOP/s in bfloat16, {roofline['peak_gb_per_s']:,.0f} GB/s) arithmetic alone takes {arithmetic:,.1f} ms, and traffic alone "
        f"{traffic:,.1f} ms: **{larger} is the larger**. Each convolution at its own limit: {roofline['convolutions_ms']:,.1f} ms.\n\n"
        + table(
            ["operator of the eager step", "ms at least"],
            [[name, f"{value:,.2f}"] for name, value in roofline["largest_ms"].items()],
        )
        + f"\nFrom integers to the network's view: {view['plain_ms']:,.2f} ms eager, {view['compiled_ms']:,.2f} ms as it is used; largest difference "
        f"{view['largest_difference']:.1g}, other labels {view['share_of_other_labels']:.1g}.\n"
    )


if __name__ == "__main__":
    main()

"""Thresholds of the selection by histograms, beside one sort of all pixels, which they replaced.

    python -m benchmarks.selecting [--batch 128] [--side 256] [--repeats 5]

Both give the same weights to the last bit. On a CPU most of the time goes into fresh pages of temporaries, which a GPU's allocator
keeps: `MALLOC_MMAP_MAX_=0 MALLOC_TRIM_THRESHOLD_=20000000000` does the same there.
"""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from benchmarks.records import headline, keep, machine, table, versions
from noldo.method.labels import groups
from noldo.method.selection import label_weights

NUM_CLASSES = 9
SHARE = 0.5

KINDS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "any confidence": lambda random: random,
    "of a new network": lambda random: 1 / NUM_CLASSES + 0.01 * random,
    "of a sure network": lambda random: 1 - 1e-4 * random,
}


def by_sort(confidence: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Integers that sort by class, then by confidence."""
    group = groups(labels)
    keys = ((group << 32) | confidence.view(torch.int32)).flatten().sort().values
    edges = torch.arange(NUM_CLASSES + 2, device=keys.device) << 32
    ends = torch.searchsorted(keys, edges)
    counts = ends[1:] - ends[:-1]
    k = (counts.to(torch.float32) * SHARE).to(torch.int64)
    thresholds = (keys[(ends[1:] - k).clamp(max=len(keys) - 1)] & 0xFFFFFFFF).to(torch.int32)
    kept = (k > 0) & (torch.arange(NUM_CLASSES + 1, device=keys.device) > 0)
    threshold = torch.where(kept, thresholds.view(torch.float32), torch.inf)[group]
    return torch.where(threshold == 0, 1, (confidence / threshold).clamp(max=1))


def by_histograms(confidence: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return label_weights(confidence, labels, share=SHARE, num_classes=NUM_CLASSES)


def best_ms(work: Callable[[], torch.Tensor], *, repeats: int, device: torch.device) -> float:
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 1e3 * best


def compare(*, batch: int, side: int, repeats: int, device: torch.device) -> list[list[str]]:
    """A row a kind of confidence: milliseconds of each way, and their ratio."""
    generator = torch.Generator(device).manual_seed(0)
    shape = (batch, side, side)
    labels = torch.randint(0, NUM_CLASSES, shape, generator=generator, device=device).to(torch.uint8)
    rows = []
    for name, kind in KINDS.items():
        confidence = kind(torch.rand(shape, generator=generator, device=device))
        assert torch.equal(by_sort(confidence, labels), by_histograms(confidence, labels))
        sort, histograms = (
            best_ms(partial(way, confidence, labels), repeats=repeats, device=device)
            for way in (by_sort, by_histograms)
        )
        rows.append([name, f"{sort:,.1f}", f"{histograms:,.1f}", f"{sort / histograms:.1f}"])
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = torch.cuda.get_device_name() if device.type == "cuda" else None
    record: dict[str, Any] = {
        **machine(name),
        "packages": versions(("torch",)),
        "command": " ".join(["python -m benchmarks.selecting", *sys.argv[1:]]),
        "rows": compare(**vars(arguments), device=device),
    }
    columns = ["confidence", "sort, ms", "histograms, ms", "ratio"]
    text = headline(record, title="Thresholds of the selection") + "\n\n" + table(columns, record["rows"])
    print(text)
    print(keep(record, text, name="selecting"), file=sys.stderr)


if __name__ == "__main__":
    main()

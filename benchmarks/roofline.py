"""What a step costs at least: operations and bytes of each operator, and what this device does of both at its best.

Floating point operations are counted by the formulas of `torch.utils.flop_counter`. Bytes are those of an eager step: each operator reads each
of its tensors once and writes each result once; views move nothing. What a compiler fuses moves less.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import flop_registry


@dataclass(frozen=True)
class Operator:
    name: str
    flops: float
    num_bytes: float

    @property
    def is_convolution(self) -> bool:
        return "convolution" in self.name


@dataclass(frozen=True)
class Peaks:
    """What the device reaches in this run."""

    flops_per_s: float
    """Of bfloat16, the better of a large matrix product and a large convolution."""
    bytes_per_s: float
    """Read and written by a large copy."""

    def seconds(self, one: Operator) -> float:
        """An operator is bound by one or by the other."""
        return max(one.flops / self.flops_per_s, one.num_bytes / self.bytes_per_s)


class Counting(TorchDispatchMode):
    """Records every operator that runs inside, those of the backward pass too."""

    def __init__(self) -> None:
        super().__init__()
        self.operators: list[Operator] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        found = func(*args, **kwargs)
        packet = func.overloadpacket
        name = str(packet).removeprefix("aten.")
        if not func.is_view and not name.startswith(("empty", "detach", "new_empty")):
            formula = flop_registry.get(packet)
            flops = 0 if formula is None else formula(*args, **kwargs, out_val=found)
            self.operators.append(Operator(name, flops, sum(_nbytes(args, kwargs, found))))
        return found


def _nbytes(*trees: Any) -> Iterator[int]:
    for one in tree_iter(trees):
        if isinstance(one, torch.Tensor):
            yield min(
                one.nbytes, one.untyped_storage().nbytes()
            )  # expanded tensors are smaller than they look


def largest(operators: list[Operator], peaks: Peaks, *, count: int) -> list[tuple[str, float]]:
    """Names and seconds at least of the operators that take longest, all calls together."""
    total: dict[str, float] = defaultdict(float)
    for one in operators:
        total[one.name] += peaks.seconds(one)
    return sorted(total.items(), key=lambda item: -item[1])[:count]


def peaks_of(device: torch.device, *, side: int, repeats: int = 5) -> Peaks:
    """Measure.

    Parameters
    ----------
    side
        Of the matrices; 8192 fills a large GPU.
    """
    kind = torch.bfloat16
    first, second = (torch.randn(side, side, device=device, dtype=kind) for _ in range(2))
    channels, image_px = side // 32, side // 128
    image = torch.randn(64, channels, image_px, image_px, device=device, dtype=kind)
    image = image.to(memory_format=torch.channels_last)
    weight = torch.randn(channels, channels, 3, 3, device=device, dtype=kind)
    weight = weight.to(memory_format=torch.channels_last)
    source = torch.empty(side * side * 4, device=device, dtype=torch.float32)
    target = torch.empty_like(source)
    product_s = best_s(lambda: first @ second, device=device, repeats=repeats)
    convolution_s = best_s(
        lambda: functional.conv2d(image, weight, padding=1), device=device, repeats=repeats
    )
    copy_s = best_s(lambda: target.copy_(source), device=device, repeats=repeats)
    of_convolution = 2 * image.numel() * channels * 9
    return Peaks(max(2 * side**3 / product_s, of_convolution / convolution_s), 2 * source.nbytes / copy_s)


def best_s(work: Callable[[], object], *, device: torch.device, repeats: int) -> float:
    """Seconds of the fastest of some turns, ten calls each; the first call is not counted."""
    calls = 10 if device.type == "cuda" else 1
    work()
    wait_for(device)
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(calls):
            work()
        wait_for(device)
        best = min(best, (time.perf_counter() - start) / calls)
    return best


def wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)

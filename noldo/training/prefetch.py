"""Batches brought to a device while it computes on the one before.

Copies run on a stream of their own, from pinned memory, and never wait for the step that runs: as the host is ahead of the device, the
next batch is there when its step begins. Elsewhere than on CUDA a batch is handed on as it is.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import nullcontext
from typing import Any

import torch

from noldo.training.task import Batch


class Prefetch:
    """Brings batches to one device, and counts the time that the host waits for them.

    One serves all iterations of a loader: at its beginning a `RingLoader` waits for the copies of the one before, on the stream that they
    were made on.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = _stream_of(device)
        self.waited_s = 0.0
        """Of the host, since `start_counting`; a device that has work left waits less."""
        self._start_s = time.perf_counter()

    def batches(self, batches: Iterable[Batch]) -> Iterator[tuple[Batch, Batch]]:
        """Each batch as it came and on the device; both are valid until the next one is asked for.

        The iterable is asked while the stream of copies is the current one: a `RingLoader` gives a slot back when the copies on it are
        done, and does not wait for the step.
        """
        iterator = iter(batches)
        while True:
            start_s = time.perf_counter()
            with nullcontext() if self._stream is None else torch.cuda.stream(self._stream):
                batch = next(iterator, None)
                moved = None if batch is None else on_device(batch, self._device)
            self.waited_s += time.perf_counter() - start_s
            if batch is None or moved is None:
                return
            self._hand_over(moved)
            yield batch, moved

    def start_counting(self) -> None:
        """From now on."""
        self.waited_s, self._start_s = 0.0, time.perf_counter()

    def share_waited(self) -> float:
        """Share of the time since `start_counting` in which the host waited for batches, 0..1."""
        return min(1.0, self.waited_s / max(time.perf_counter() - self._start_s, 1e-9))

    def _hand_over(self, moved: Batch) -> None:
        """Let the stream that computes wait for the copies, and the allocator for what it computes."""
        if self._stream is None:
            return
        current = torch.cuda.current_stream(self._device)
        current.wait_stream(self._stream)
        for tensor in _tensors(moved):
            if tensor.is_cuda:
                tensor.record_stream(current)


def _stream_of(device: torch.device) -> "torch.cuda.Stream | None":
    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


def on_device(batch: Batch, device: torch.device) -> dict[str, Any]:
    """Tensors moved without waiting, the ids left on the host: augmentation is drawn by them. So are batches within one."""
    moved = dict(batch)
    for name, value in batch.items():
        if isinstance(value, Mapping):
            moved[name] = on_device(value, device)
        elif isinstance(value, torch.Tensor) and name != "id":
            moved[name] = value.to(device, non_blocking=True)
    return moved


def _tensors(batch: Batch) -> Iterator[torch.Tensor]:
    for value in batch.values():
        if isinstance(value, Mapping):
            yield from _tensors(value)
        elif isinstance(value, torch.Tensor):
            yield value

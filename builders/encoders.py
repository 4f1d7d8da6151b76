"""GeoTIFFs made by several processes: GDAL keeps Python's lock while it compresses, so threads would wait for each other."""

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import get_context, parent_process
from typing import Protocol

import numpy as np

from builders.geotiff import encode, quiet_without_place
from noldo.errors import NoldoError
from noldo.grids import Grid
from noldo.products import ArraySpec


class Encode(Protocol):
    """As `builders.geotiff.encode`."""

    def __call__(self, pixels: np.ndarray, spec: ArraySpec, *, grid: Grid | None) -> bytes:
        """(band?, y, x) as stored to a GeoTIFF."""
        ...


@contextmanager
def encoders(num_processes: int) -> Iterator[Encode]:
    """A function that encodes in one of so many processes; 1: in this one. May be called by many threads.

    Other processes import the main module again, which must therefore do nothing when it is imported.

    Raises
    ------
    NoldoError
        If a process ended by itself, as when memory is short.
    """
    if num_processes == 1:
        with quiet_without_place():
            yield encode
        return
    # Spawned: a fork would inherit the locks of running threads.
    pool = ProcessPoolExecutor(num_processes, mp_context=get_context("spawn"), initializer=_prepare)

    def elsewhere(pixels: np.ndarray, spec: ArraySpec, *, grid: Grid | None) -> bytes:
        try:
            return pool.submit(_encode, pixels, spec, grid).result()
        except BrokenProcessPool:
            raise NoldoError(
                "a process that makes GeoTIFFs ended by itself, perhaps for want of memory; give fewer --processes and run "
                "the same command again"
            ) from None

    try:
        yield elsewhere
    finally:
        pool.shutdown(cancel_futures=True)


def _prepare() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the main process says what an interrupt means
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """Leave no process behind when the main one is killed: it would wait for work forever."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _encode(pixels: np.ndarray, spec: ArraySpec, grid: Grid | None) -> bytes:
    with quiet_without_place():
        return encode(pixels, spec, grid=grid)

"""The shards of an import: items are read, fitted to the store, staged on disk, and written an array at a time."""

import logging
import shutil
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack
from io import FileIO
from pathlib import Path

import numpy as np

from builders.import_items import BadItemError, ImportPlan, Item, ReadItem
from builders.import_paths import ImportPaths, timed_shard
from builders.import_rows import Row, ShardNote, label_columns, read_note, row_of, write_note
from noldo.atomic import write_errors
from noldo.legend import LEGEND_OF_PRODUCT
from noldo.products import ArraySpec
from noldo.status import Status
from noldo.store import StoreLayout, shard_path, write_shard

logger = logging.getLogger(__name__)

FINEST_M = 10


class ShardWriter:
    """Writes the shards of one import, and tells how far it is."""

    def __init__(self, plan: ImportPlan, read: ReadItem, layout: StoreLayout, paths: ImportPaths) -> None:
        self._plan = plan
        self._read = read
        self._layout = layout
        self._paths = paths

    def write_all(self) -> None:
        """Every shard that is not complete."""
        began, read, skipped = time.monotonic(), 0, 0
        todo = [shard for shard in range(self._layout.num_shards) if not self._is_complete(shard)]
        done = self._layout.num_shards - len(todo)
        if done:
            logger.info("%s of %s shards are there already", done, self._layout.num_shards)
        for number, shard in enumerate(todo, start=1):
            with timed_shard(self._paths, shard):
                note = self._write(shard)
            read += len(note.rows)
            skipped += sum(row["status"] != Status.KEPT.name.lower() for row in note.rows)
            rate = read / max(time.monotonic() - began, 1e-9)
            left_s = sum(len(self._layout.rows_of(one)) for one in todo[number:]) / rate
            logger.info(
                "shard %s of %s written: %s items, %s of them skipped; %.1f items/s, %.0f min left",
                *(done + number, self._layout.num_shards, read, skipped, rate, left_s / 60),
            )

    def _is_complete(self, shard: int) -> bool:
        missing = [spec for spec in self._layout.specs if not self._file(spec, shard).is_file()]
        return not missing and read_note(self._paths.note(shard), self._plan) is not None

    def _file(self, spec: ArraySpec, shard: int) -> Path:
        return shard_path(self._paths.store, spec, shard)

    def _write(self, shard: int) -> ShardNote:
        """Read the items of a shard, then write what is missing of its files."""
        staging = self._paths.staging
        with write_errors(staging):
            shutil.rmtree(staging, ignore_errors=True)
            staging.mkdir(parents=True)
        note = self._stage(shard)
        self._keep_note(shard, note)
        rows = len(note.rows)
        for spec in self._layout.specs:
            if not self._file(spec, shard).is_file():
                shape = (rows, *self._item_shape(spec))
                items = np.memmap(staging / spec.name, spec.dtype, mode="r", shape=shape)
                write_shard(self._paths.store, spec, shard=shard, items=items)
        shutil.rmtree(staging, ignore_errors=True)
        return note

    def _keep_note(self, shard: int, note: ShardNote) -> None:
        """Before the first file of the shard, so that what was decided can't change between two of them."""
        path, new = self._paths.note(shard), self._paths.staging / "note.parquet"
        write_note(new, note, self._plan)
        with write_errors(path):
            if path.is_file() and path.read_bytes() != new.read_bytes():
                logger.warning(
                    "shard %s: its items are not what they were; all its files are written again", shard
                )
                for spec in self._layout.specs:
                    self._file(spec, shard).unlink(missing_ok=True)
            path.parent.mkdir(parents=True, exist_ok=True)
            new.replace(path)

    def _item_shape(self, spec: ArraySpec) -> tuple[int, ...]:
        return spec.item_shape(len(self._layout.season_names), self._layout.patch_size_px)

    def _stage(self, shard: int) -> ShardNote:
        """Append all items of a shard to one raw file an array."""
        rows: list[Row] = []
        counted: Counter[str] = Counter()
        staging = self._paths.staging
        with ExitStack() as stack:
            with write_errors(staging):
                files = {
                    spec.name: stack.enter_context((staging / spec.name).open("wb", buffering=0))
                    for spec in self._layout.specs
                }
            for at in self._layout.rows_of(shard):
                row, arrays, found = self._tried(self._plan.items[at], at=at, shard=shard)
                rows.append(row)
                counted.update(found)
                with write_errors(staging):
                    for spec in self._layout.specs:
                        _write_all(files[spec.name], arrays[spec.name])
        return ShardNote(tuple(rows), {text: number for text, number in counted.items() if number})

    def _tried(
        self, item: Item, *, at: int, shard: int
    ) -> tuple[Row, Mapping[str, np.ndarray], Mapping[str, int]]:
        """One item: its row of the index, its arrays at the size of the store, and what was counted."""
        status, reason, placement = item.status, item.reason, item.placement
        columns: dict[str, object] = {}
        arrays: Mapping[str, np.ndarray] = {}
        counted: Mapping[str, int] = {}
        if status == Status.KEPT:
            try:
                reading = self._read(item)
                placement = placement if reading.placement is None else reading.placement
                size_px = self._size_px(reading.arrays)
                arrays = {
                    spec.name: self._padded(reading.arrays[spec.name], spec) for spec in self._layout.specs
                }
                columns = {
                    "window": [0, size_px[0], 0, size_px[1]],
                    **label_columns(arrays, self._layout.specs, num_pixels=size_px[0] * size_px[1]),
                    **reading.columns,
                }
                counted = reading.counted
            except BadItemError as error:
                status, reason = Status.BAD_SOURCE, str(error)
                logger.info("%s: skipped, %s", item.name, reason)
        if status != Status.KEPT:
            arrays = {
                spec.name: np.full(self._item_shape(spec), spec.no_data, spec.dtype)
                for spec in self._layout.specs
            }
        row = row_of(item, placement, row=at, shard=shard, status=status, reason=reason, columns=columns)
        return row, arrays, counted

    def _size_px(self, arrays: Mapping[str, np.ndarray]) -> tuple[int, int]:
        """Rows and columns of 10 m that an item has: all its arrays must agree, and be square.

        Raises
        ------
        BadItemError
            If they do not, are not, or the store has another size.
        """
        sizes = {}
        for spec in self._layout.specs:
            array, shape = arrays[spec.name], self._item_shape(spec)
            assert array.dtype == np.dtype(spec.dtype), f"{spec.name}: {array.dtype}, expected {spec.dtype}"
            if array.shape[:-2] != shape[:-2]:
                raise BadItemError(
                    "wrong size", f"{spec.name} has axes {array.shape[:-2]}, expected {shape[:-2]}"
                )
            height, width = array.shape[-2:]
            sizes[spec.name] = (height * spec.resolution_m // FINEST_M, width * spec.resolution_m // FINEST_M)
        side = self._layout.patch_size_px
        height, width = next(iter(sizes.values()))
        smallest = 1 if self._plan.may_be_smaller else side
        if len(set(sizes.values())) > 1 or height != width or not smallest <= height <= side:
            found = ", ".join(f"{name} {one[0]} x {one[1]}" for name, one in sizes.items())
            wanted = f"{'a square of at most ' if self._plan.may_be_smaller else ''}{side} x {side}"
            raise BadItemError("wrong size", f"{found} px of 10 m, expected {wanted}")
        return height, width

    def _padded(self, array: np.ndarray, spec: ArraySpec) -> np.ndarray:
        """At the size of the store, contiguous; labels are checked against their legend."""
        if spec.is_label and spec.product in LEGEND_OF_PRODUCT:
            _check_classes(array, spec)
        shape = self._item_shape(spec)
        if array.shape == shape:
            return np.ascontiguousarray(array)
        whole = np.full(shape, spec.no_data, spec.dtype)
        whole[..., : array.shape[-2], : array.shape[-1]] = array
        return whole


def _write_all(file: FileIO, array: np.ndarray) -> None:
    rest = array.data.cast("B")
    while rest:
        rest = rest[file.write(rest) :]


def _check_classes(labels: np.ndarray, spec: ArraySpec) -> None:
    num_classes = len(LEGEND_OF_PRODUCT[spec.product].classes)
    strange = labels[(labels >= num_classes) & (labels != spec.no_data)]
    if len(strange):
        raise BadItemError(
            "unknown class", f"{spec.product} has {int(strange[0])}, expected 0 .. {num_classes - 1}"
        )

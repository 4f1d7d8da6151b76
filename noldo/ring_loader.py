"""Batches from a process of its own, through memory that is used again and again.

A worker of torch's DataLoader writes each batch into freshly mapped shared memory, which costs more than decoding it; threads that
decode inside a busy trainer starve. So one spawned process reads with several threads, straight into a ring of slots that both
processes see, and the trainer hands a slot back when it is done with it.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from typing import Any, Protocol, Self, cast

import numpy as np
import torch
import torch.multiprocessing

from noldo import errors
from noldo.errors import ConfigError, NoldoError, StoreError

MIN_SLOTS = 2
"""One that is filled while the other is learnt from."""

MOST_AT_ONCE = 8
"""Samples that a thread takes at once: planning several costs less than planning one after the other, and the last ones
of a batch must not wait for a single thread.
"""


Slot = dict[str, torch.Tensor]
"""Key to (sample, ...), in memory that both processes see."""


class Samples(Protocol):
    """A map-style data set that can be pickled, whose samples are dicts of tensors and whole numbers, all of one shape.

    One that has a method `samples_into(outs, indices)`, as `NoldoS12` has, is asked to read straight into a slot: a tensor of a sample is then
    the array of its `out` under the same key, or no part of `outs` at all.
    """

    def __getitem__(self, index: int, /) -> Any: ...

    def __len__(self) -> int: ...


@dataclass(frozen=True)
class _Field:
    """One key of a sample."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]


class RingLoader:
    """Iterates over batches, as a DataLoader with the same data set and `batches` would; order and values are the same.

    The tensors of a batch are valid until the next one is asked for, or, on a GPU, until the copies that the current stream was
    asked for before are done: clone what is kept longer. The process starts with the first iteration, and ends with the loader or with its parent.

    Parameters
    ----------
    batches
        Positions of samples, a list a batch; iterated anew for each epoch. Batches of one iteration may differ in size.
    num_threads
        That read and decode.
    num_slots
        Batches that exist at once.

    Raises
    ------
    ConfigError
        If there are too few threads or slots, or samples can't lie in one array.
    """

    def __init__(
        self,
        samples: Samples,
        *,
        batches: Iterable[Sequence[int]],
        batch_size: int,
        num_threads: int = 2,
        num_slots: int = 4,
    ) -> None:
        self._process: Any = None
        self._connection: Connection | None = None
        self._slots: list[Slot] = []
        if num_threads < 1 or num_slots < MIN_SLOTS or batch_size < 1:
            raise ConfigError(
                f"{num_threads} threads, {num_slots} slots, batches of {batch_size}: expected 1, {MIN_SLOTS} and 1 at least"
            )
        self._samples = samples
        self._batches = batches
        self._num_threads = num_threads
        self._fields = _fields_of(samples[0])
        self._slots = [_slot_of(self._fields, batch_size) for _ in range(num_slots)]
        self._generation = 0

    def __len__(self) -> int:
        """Batches of one iteration."""
        return len(cast(Sized, self._batches))

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        """Batches, each in its slot; see the class.

        Raises
        ------
        NoldoError
            What reading raised, in this process.
        StoreError
            If the process that reads has died.
        """
        connection = self._started()
        if (pending := _after_copies()) is not None:
            pending.synchronize()  # those of an iteration before, whose slots are all free now
        self._generation += 1
        generation, plan = self._generation, [list(one) for one in self._batches]
        self._tell(connection, (generation, plan, list(range(len(self._slots)))))
        lent: deque[tuple[int, torch.cuda.Event | None]] = deque()
        for positions in plan:
            slot = self._next_slot(connection, generation)
            yield {name: array[: len(positions)] for name, array in self._slots[slot].items()}
            lent.append((slot, _after_copies()))
            while lent and (len(lent) >= len(self._slots) - 1 or _is_done(lent[0][1])):
                number, event = lent.popleft()
                if event is not None:
                    event.synchronize()
                self._tell(connection, (generation, number))

    @property
    def process_id(self) -> int | None:
        """Of the process that reads; None: it has not started, or has ended."""
        return None if self._process is None else int(self._process.pid)

    def close(self) -> None:
        """End the process."""
        if self._connection is not None:
            self._connection.close()
            self._process.join(timeout=10)
            if self._process.is_alive():
                self._process.kill()
            self._connection = self._process = None

    def __del__(self) -> None:
        self.close()
        if torch.cuda.is_available():
            for array in (array for slot in self._slots for array in slot.values()):
                torch.cuda.cudart().cudaHostUnregister(array.data_ptr())  # type: ignore[no-untyped-call]

    def _started(self) -> Connection:
        if self._connection is None:
            # Spawned: clients of object stores, and threads of torch, do not survive a fork.
            context = torch.multiprocessing.get_context("spawn")
            ours, theirs = multiprocessing.Pipe()
            self._process = context.Process(
                target=_serve,
                args=(theirs, self._samples, self._slots, self._num_threads),
                name="noldo-reader",
                daemon=True,
            )
            self._process.start()
            theirs.close()
            self._connection = ours
        return self._connection

    def _next_slot(self, connection: Connection, generation: int) -> int:
        """The slot that holds the next batch; those of an iteration that was given up are passed over."""
        while True:
            if generation != self._generation:
                raise StoreError(
                    "this iteration of a RingLoader ended when another one began; use one at a time"
                )
            if connection not in wait([connection, self._process.sentinel]):
                raise self._died()
            try:
                of, slot, problem = connection.recv()
            except (EOFError, OSError):
                raise self._died() from None
            if of != generation:
                continue
            if problem is not None:
                self.close()
                raise _error_of(problem)
            return int(slot)

    def _tell(self, connection: Connection, message: object) -> None:
        try:
            connection.send(message)
        except OSError:
            raise self._died() from None

    def _died(self) -> StoreError:
        self._process.join(timeout=10)
        code = self._process.exitcode
        self.close()
        return StoreError(
            f"the process that reads samples ended with code {code}; was it killed for want of memory? Start again, with fewer "
            "slots or smaller batches"
        )


def _fields_of(sample: Mapping[str, Any]) -> list[_Field]:
    found = []
    for name, value in sample.items():
        if isinstance(value, torch.Tensor):
            found.append(_Field(name, value.dtype, tuple(value.shape)))
        elif isinstance(value, int):
            found.append(_Field(name, torch.int64, ()))
        else:
            raise ConfigError(
                f"sample key {name}: {type(value).__name__}; expected a tensor or a whole number"
            )
    return found


def _serve(connection: Connection, samples: Samples, slots: Sequence[Slot], num_threads: int) -> None:
    """The process that reads, until its parent closes the connection or ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches it too; the parent decides
    torch.set_num_threads(1)
    with ThreadPoolExecutor(num_threads) as pool:
        server = _Server(connection, samples, slots, pool, num_threads)
        message = _received(connection)
        while message is not None:
            message = server.iterate(*message)


class _Server:
    """Fills slots in order, as long as there are free ones."""

    def __init__(
        self,
        connection: Connection,
        samples: Samples,
        slots: Sequence[Slot],
        pool: ThreadPoolExecutor,
        num_threads: int,
    ) -> None:
        self._connection = connection
        self._samples = samples
        self._slots = [_SlotArrays.of(slot) for slot in slots]
        self._pool = pool
        self._num_threads = num_threads

    def iterate(self, generation: int, plan: Sequence[Sequence[int]], free_slots: Sequence[int]) -> Any:
        """One iteration. Returns the message that begins the next one; None: there is none."""
        free, filling = deque(free_slots), deque[_Filling]()
        for positions in plan:
            while not free or self._connection.poll():
                if not free and filling:
                    if not self._finish(filling.popleft(), generation):
                        return self._after(filling)
                    continue
                message = _received(self._connection)
                if message is None or len(message) > 2:
                    wait_for([one for batch in filling for one in batch.copies])
                    return message
                if message[0] == generation:
                    free.append(message[1])
            filling.append(self._begin(free.popleft(), positions))
            # With three slots or more one batch is begun while the one before it ends, so that no thread waits for the others.
            if len(filling) > 1 and not self._finish(filling.popleft(), generation):
                return self._after(filling)
        while filling:
            if not self._finish(filling.popleft(), generation):
                break
        return self._after(filling)

    def _after(self, filling: Iterable["_Filling"]) -> Any:
        """What begins the next iteration, when nothing of this one is written any more; None: there is none."""
        wait_for([one for batch in filling for one in batch.copies])
        message = _received(self._connection)
        while message is not None and len(message) == 2:
            message = _received(self._connection)
        return message

    def _begin(self, slot: int, positions: Sequence[int]) -> "_Filling":
        """Samples on their way into a slot: each thread takes the next ones when it has done some."""
        at_once = max(1, min(MOST_AT_ONCE, -(-len(positions) // self._num_threads)))
        todo = deque(
            (first, positions[first : first + at_once]) for first in range(0, len(positions), at_once)
        )
        return _Filling(
            slot,
            [self._pool.submit(self._copy_all, self._slots[slot], todo) for _ in range(self._num_threads)],
        )

    def _finish(self, batch: "_Filling", generation: int) -> bool:
        """Hand a slot over when it is full. Returns whether there is more to do."""
        wait_for(batch.copies)  # all of them, before any error is told: the slot may be filled anew then
        problem = None
        try:
            for one in batch.copies:
                one.result()
        except (NoldoError, OSError, ValueError, IndexError, MemoryError) as error:
            problem = type(error).__name__, str(error)
        return _sent(self._connection, (generation, batch.slot, problem)) and problem is None

    def _copy_all(self, slot: "_SlotArrays", todo: deque[tuple[int, Sequence[int]]]) -> None:
        while todo:
            try:
                first, positions = todo.popleft()
            except IndexError:  # another thread took the last ones
                return
            try:
                self._copy(slot, first, positions)
            except BaseException:
                todo.clear()
                raise

    def _copy(self, slot: "_SlotArrays", first: int, positions: Sequence[int]) -> None:
        """Samples into the places of a slot that begin with `first`."""
        into = getattr(self._samples, "samples_into", None)
        if into is None:
            samples = (self._samples[one] for one in positions)
        else:
            samples = into([slot.place(first + one) for one in range(len(positions))], positions)
        for place, (position, sample) in enumerate(zip(positions, samples, strict=True), start=first):
            slot.put(sample, place, position=position)


@dataclass(frozen=True)
class _SlotArrays:
    """A slot, as the process that reads writes to it."""

    arrays: dict[str, np.ndarray]
    """Key to (sample, ...)."""
    starts: dict[str, int]
    """Key to the address of the array."""

    @classmethod
    def of(cls, slot: Slot) -> Self:
        return cls(
            {name: array.numpy() for name, array in slot.items()},
            {name: array.data_ptr() for name, array in slot.items()},
        )

    def place(self, number: int) -> dict[str, np.ndarray]:
        """Where one sample goes."""
        return {name: array[number, ...] for name, array in self.arrays.items()}

    def put(self, sample: Mapping[str, Any], place: int, *, position: int) -> None:
        """What of a sample is not yet where it is to be.

        Raises
        ------
        StoreError
            If it is of another size than the first sample; `position` names it.
        """
        for name, array in self.arrays.items():
            value = sample[name]
            is_tensor = isinstance(value, torch.Tensor)
            shape = value.shape if is_tensor else ()
            if shape != array.shape[1:]:
                raise StoreError(
                    f"sample {position}: {name} is {tuple(shape)}, that of the first is {array.shape[1:]}; samples of "
                    "one batch have one size: choose a crop"
                )
            if not is_tensor:
                array[place] = value
            elif (
                value.data_ptr() != self.starts[name] + place * array.strides[0] or not value.is_contiguous()
            ):
                array[place] = value.numpy()


@dataclass(frozen=True)
class _Filling:
    """A batch on its way into its slot."""

    slot: int
    copies: "list[Future[None]]"


def _received(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


def _sent(connection: Connection, message: object) -> bool:
    try:
        connection.send(message)
    except OSError:
        return False
    return True


def _slot_of(fields: Sequence[_Field], batch_size: int) -> Slot:
    """Shared memory for one batch; pages that are locked, if there is a GPU to copy to."""
    slot = {}
    for one in fields:
        array = torch.empty(batch_size, *one.shape, dtype=one.dtype)
        array.share_memory_()  # type: ignore[no-untyped-call]  # torch does not type it
        if torch.cuda.is_available():
            code = torch.cuda.cudart().cudaHostRegister(array.data_ptr(), array.nbytes, 0)  # type: ignore[no-untyped-call]
            torch.cuda.check_error(code)
        slot[one.name] = array
    return slot


def _error_of(problem: tuple[str, str]) -> Exception:
    """The same error, of the same kind if it is one of ours."""
    kind, words = problem
    found = getattr(errors, kind, StoreError)
    return cast(Exception, found(words))


def _after_copies() -> "torch.cuda.Event | None":
    """What happens on a GPU after all copies that were asked for so far; None without a GPU."""
    if not torch.cuda.is_available() or not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return None
    event = torch.cuda.Event()  # type: ignore[no-untyped-call]
    event.record()
    return event


def _is_done(event: "torch.cuda.Event | None") -> bool:
    return event is None or bool(event.query())  # type: ignore[no-untyped-call]

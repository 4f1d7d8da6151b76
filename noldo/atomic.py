"""Files that appear whole or not at all."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from noldo.errors import StoreError


@contextmanager
def atomic_file(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that gets its name only when the block ends well.

    The temporary name is fixed (`.NAME.partial`, beside the target), so that what a killed writer left
    is overwritten by the next one instead of piling up. One writer a file is the caller's promise.

    Raises
    ------
    StoreError
        If the disk is full, or the folder can't be written to.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            yield file
        partial.replace(path)
    except OSError as error:
        _discard(partial)
        raise _unwritable(path, error) from error
    except BaseException:
        _discard(partial)
        raise


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Say of an OSError in the block that `path` can't be written.

    Raises
    ------
    StoreError
        If the disk is full, or the folder can't be written to.
    """
    try:
        yield
    except OSError as error:
        raise _unwritable(path, error) from error


def _unwritable(path: Path, error: OSError) -> StoreError:
    return StoreError(
        f"{path}: can't be written ({error.strerror or error}); free space or choose a writable folder, "
        "then run the same command again"
    )


def _discard(partial: Path) -> None:
    with suppress(OSError):  # the first error is the one to tell
        partial.unlink()


def write_if_changed(path: Path, content: bytes) -> bool:
    """Write a file unless it already holds these bytes; its modification time then stays as it is.

    Returns
    -------
    Whether anything was written.

    Raises
    ------
    StoreError
        If the disk is full, or the folder can't be written to.
    """
    with suppress(OSError):  # missing or unreadable: not these bytes
        if path.read_bytes() == content:
            return False
    with atomic_file(path) as file:
        file.write(content)
    return True

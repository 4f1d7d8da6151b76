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
        raise StoreError(
            f"{path}: can't be written ({error.strerror}); free space or choose a writable folder, "
            "then run the same command again"
        ) from error
    except BaseException:
        _discard(partial)
        raise


def _discard(partial: Path) -> None:
    with suppress(OSError):  # the first error is the one to tell
        partial.unlink()


def write_if_changed(path: Path, content: bytes) -> bool:
    """Write a file unless it already holds these bytes; its modification time then stays as it is.

    Returns
    -------
    Whether anything was written.
    """
    if path.is_file() and path.read_bytes() == content:
        return False
    with atomic_file(path) as file:
        file.write(content)
    return True

"""Files of a published data set, wherever they lie: in a folder, in a zip or in a tar, read without unpacking.

Archives come from strangers: `builders.archive_members` says what is refused. Archives in archives are files like any other.
"""

import stat
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

from builders.archive_members import DAMAGED, LIMITS, ArchiveError, Limits, TarMembers, format_of, zip_members
from noldo.errors import InputError


class SourceFiles(Protocol):
    """Read access to the files of a published data set, by relative path with slashes."""

    where: str
    """Folder or archive, for messages."""

    def names(self) -> Iterator[str]:
        """Every file, sorted within its folder."""
        ...

    def children(self, folder: str) -> list[str]:
        """Names of what lies directly in a folder (`""`: the topmost), sorted; none if there is no such folder."""
        ...

    def read(self, name: str, *, limit: int) -> bytes:
        """A whole file.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        InputError
            If it is larger than `limit` bytes, can't be read, or is not what the archive says.
        """
        ...


def open_source(path: Path, *, limits: Limits = LIMITS) -> SourceFiles:
    """The files of a folder, of a zip, or of an uncompressed tar.

    Raises
    ------
    InputError
        If there is nothing of the kind, or the archive is not safe.
    """
    if path.is_dir():
        return FolderFiles(path)
    if not path.is_file():
        raise InputError(f"{path}: no such folder or archive; give the place of the data set")
    found = format_of(path)
    if found == "zip":
        return ZipFiles(path, limits=limits)
    if found:
        raise InputError(
            f"{path}: a {found} archive can only be read from its beginning; unpack it with "
            f"`python -m builders extract-archive --archive {path} --out FOLDER` and give the folder"
        )
    return TarFiles(path, limits=limits)


class FolderFiles:
    """Files of a folder. Links in it are the user's own, and followed."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path

    def names(self) -> Iterator[str]:
        """See `SourceFiles`."""
        yield from self._below("")

    def _below(self, folder: str) -> Iterator[str]:
        for child in self.children(folder):
            name = f"{folder}/{child}" if folder else child
            path = self._path / name
            if path.is_dir():
                yield from self._below(name)
            else:
                yield name

    def children(self, folder: str) -> list[str]:
        """See `SourceFiles`."""
        path = self._path / folder if folder else self._path
        try:
            return sorted(child.name for child in path.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise self._unreadable(folder, error) from None

    def read(self, name: str, *, limit: int) -> bytes:
        """See `SourceFiles`."""
        path = self._path / name
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise InputError(f"{self.where}/{name}: not a regular file; replace or remove it")
            if found.st_size > limit:
                raise InputError(f"{self.where}/{name}: {found.st_size} bytes, expected at most {limit}")
            return path.read_bytes()
        except FileNotFoundError:
            raise
        except NotADirectoryError:
            raise FileNotFoundError(name) from None
        except OSError as error:
            raise self._unreadable(name, error) from None

    def _unreadable(self, name: str, error: OSError) -> InputError:
        return InputError(
            f"{self.where}/{name}: can't be read ({error.strerror}); check the disk and the permissions, then run the "
            "same command again"
        )


class ArchiveTree:
    """Names of the files of an archive, by folder."""

    def __init__(self, names: Iterable[str]) -> None:
        self._folders: dict[str, set[str]] = {"": set()}
        for name in names:
            rest = name
            while rest:
                rest, _, child = rest.rpartition("/")
                children = self._folders.setdefault(rest, set())
                if child in children:
                    break
                children.add(child)

    def children(self, folder: str) -> list[str]:
        """Sorted names of what lies directly in a folder."""
        return sorted(self._folders.get(folder, ()))


class ZipFiles:
    """Files of a zip: each is unpacked in memory when it is asked for."""

    def __init__(
        self, path: Path, *, where: str = "", limits: Limits = LIMITS, may_repeat: bool = False
    ) -> None:
        """Read and check the table of contents; see `zip_members`.

        Parameters
        ----------
        where
            Its name, for messages; the path, if not given.

        Raises
        ------
        InputError
            If it is not safe, or can't be read.
        """
        self.where = where or str(path)
        try:
            self._zip = zipfile.ZipFile(path)
        except (*DAMAGED, OSError) as error:
            raise InputError(f"{self.where}: not a readable zip ({error}); fetch it again") from None
        self._members = zip_members(self._zip, where=self.where, limits=limits, may_repeat=may_repeat)
        self._tree = ArchiveTree(self._members)

    def names(self) -> Iterator[str]:
        """See `SourceFiles`."""
        yield from sorted(self._members)

    def children(self, folder: str) -> list[str]:
        """See `SourceFiles`."""
        return self._tree.children(folder)

    def read(self, name: str, *, limit: int) -> bytes:
        """See `SourceFiles`."""
        info = self._members.get(name)
        if info is None:
            raise FileNotFoundError(name)
        if info.file_size > limit:
            raise ArchiveError(
                f"{self.where}: {name}: {info.file_size} bytes unpacked, expected at most {limit}"
            )
        try:
            with self._zip.open(info) as file:
                content = file.read(info.file_size + 1)
                # Reading on to the end compares the checksum.
                more = file.read(1)
        except DAMAGED as error:
            raise ArchiveError(f"{self.where}: {name}: damaged ({error}); fetch the archive again") from None
        except OSError as error:
            raise InputError(f"{self.where}: can't be read ({error.strerror}); check the disk") from None
        if more or len(content) != info.file_size:
            raise ArchiveError(
                f"{self.where}: {name}: {len(content)} bytes or more, but its header says {info.file_size}; "
                "fetch the archive again"
            )
        return content


class TarFiles:
    """Files of an uncompressed tar, read in place."""

    def __init__(self, path: Path, *, limits: Limits = LIMITS) -> None:
        """Read and check all headers.

        Raises
        ------
        InputError
            If they are not safe, or can't be read.
        """
        self.where = str(path)
        self._path = path
        size = path.stat().st_size
        try:
            with path.open("rb") as file:
                self._places = {
                    member.name: (member.offset, member.size)
                    for member in TarMembers(file, where=self.where, limits=limits, file_bytes=size)
                }
        except OSError as error:
            raise InputError(f"{path}: can't be read ({error.strerror}); check the disk") from None
        self._tree = ArchiveTree(self._places)

    def names(self) -> Iterator[str]:
        """See `SourceFiles`."""
        yield from sorted(self._places)

    def children(self, folder: str) -> list[str]:
        """See `SourceFiles`."""
        return self._tree.children(folder)

    def read(self, name: str, *, limit: int) -> bytes:
        """See `SourceFiles`."""
        if name not in self._places:
            raise FileNotFoundError(name)
        offset, size = self._places[name]
        if size > limit:
            raise ArchiveError(f"{self.where}: {name}: {size} bytes, expected at most {limit}")
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                content = file.read(size)
        except OSError as error:
            raise InputError(f"{self.where}: can't be read ({error.strerror}); check the disk") from None
        if len(content) != size:
            raise ArchiveError(f"{self.where}: {name}: the archive ends within it; fetch it again")
        return content

"""Archives of strangers: what is in them is read or unpacked, or refused with the member's name and no trace."""

import bz2
import gzip
import io
import lzma
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.archive_extract import MARK, extract_archive
from builders.archive_files import ZipFiles, open_source
from builders.archive_members import ArchiveError, Limits
from noldo.errors import InputError

CONTENT = {"a.txt": b"first", "below/b.bin": bytes(range(256)) * 40, "below/deep/c": b""}
SMALL = Limits(member_bytes=100_000, total_bytes=300_000, ratio_from_bytes=2_000, ratio=50)


def make_zip(path: Path, members: list[tuple[zipfile.ZipInfo | str, bytes]]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for info, content in members:
            archive.writestr(info, content, zipfile.ZIP_DEFLATED)
    return path


def make_tar(path: Path, members: list[tuple[tarfile.TarInfo, bytes]]) -> Path:
    with tarfile.open(path, "w") as archive:
        for info, content in members:
            info.size = len(content) if info.isreg() else info.size
            archive.addfile(info, io.BytesIO(content))
    return path


def plain_zip(path: Path) -> Path:
    return make_zip(path, list(CONTENT.items()))


def plain_tar(path: Path) -> Path:
    return make_tar(path, [(tarfile.TarInfo(f"./{name}"), content) for name, content in CONTENT.items()])


def entry(name: str, mode: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name)
    info.create_system = 3
    info.external_attr = mode << 16
    return info


def odd(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.fixture
def canary(tmp_path: Path) -> Callable[[], dict[str, bytes]]:
    """All files around the target; nothing of them may change."""
    (tmp_path / "canary").mkdir()
    (tmp_path / "canary/song").write_bytes(b"tweet")

    def look() -> dict[str, bytes]:
        return {
            str(path): path.read_bytes()
            for path in tmp_path.rglob("*")
            if path.is_file() and "target" not in path.relative_to(tmp_path).parts
        }

    return look


def folder_of_content(tmp_path: Path) -> Path:
    for name, content in CONTENT.items():
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path / "folder"


@pytest.mark.parametrize("kind", ["folder", "zip", "tar"])
def test_files_are_read_in_place_wherever_they_lie(tmp_path, kind):
    path = {
        "folder": lambda: folder_of_content(tmp_path),
        "zip": lambda: plain_zip(tmp_path / "x.zip"),
        "tar": lambda: plain_tar(tmp_path / "x.tar"),
    }[kind]()
    before = set(tmp_path.rglob("*"))
    source = open_source(path)
    assert list(source.names()) == sorted(CONTENT)
    assert source.children("") == ["a.txt", "below"]
    assert source.children("below") == ["b.bin", "deep"]
    assert source.children("nowhere") == []
    assert {name: source.read(name, limit=20_000) for name in source.names()} == CONTENT
    with pytest.raises(FileNotFoundError):
        source.read("below/none", limit=10)
    with pytest.raises(FileNotFoundError):
        source.read("a.txt/none", limit=10)
    with pytest.raises(InputError, match=r"below/b\.bin.*10240.*at most 100"):
        source.read("below/b.bin", limit=100)
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("kind", ["zip", "tar", "gz", "bz2", "xz"])
def test_an_archive_is_unpacked_into_a_folder_of_its_own(tmp_path, kind):
    tar = plain_tar(tmp_path / "x.tar").read_bytes()
    packed = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}
    path = plain_zip(tmp_path / "x.zip") if kind == "zip" else tmp_path / "x.tar"
    if kind in packed:
        path = tmp_path / f"x.tar.{kind}"
        path.write_bytes(packed[kind](tar))
    extracted = extract_archive(path, tmp_path / "target")
    assert extracted.num_files == 3
    assert extracted.num_bytes == sum(map(len, CONTENT.values()))
    assert dict(_read(tmp_path / "target")) == CONTENT


def _read(folder: Path) -> list[tuple[str, bytes]]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [(path.relative_to(folder).as_posix(), path.read_bytes()) for path in files]


def test_a_compressed_tar_with_many_whole_blocks_is_read_once_from_its_beginning(tmp_path, monkeypatch):
    members = [(tarfile.TarInfo(f"{number}"), os.urandom(512 * 40)) for number in range(30)]
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(make_tar(tmp_path / "x.tar", members).read_bytes(), 1))
    rewinds: list[int] = []
    rewind = gzip._GzipReader._rewind  # type: ignore[attr-defined]

    def counted(self):
        rewinds.append(1)
        rewind(self)

    monkeypatch.setattr(gzip._GzipReader, "_rewind", counted)
    assert extract_archive(path, tmp_path / "target").num_files == 30
    assert rewinds == []


def test_a_compressed_tar_is_not_read_in_place_but_the_message_says_what_to_do(tmp_path):
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(plain_tar(tmp_path / "x.tar").read_bytes()))
    with pytest.raises(InputError, match=r"gzip.*extract-archive"):
        open_source(path)


BAD_NAMES = ["../escape", "/etc/escape", "a/../../escape", "C:/escape", "a\\..\\escape", "a\x01b", "b" * 300]


@pytest.mark.parametrize("name", BAD_NAMES)
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_path_that_leads_elsewhere_is_refused_by_name(tmp_path, canary, kind, name):
    members = [("good", b"good"), (name, b"bad")]
    path = tmp_path / f"x.{kind}"
    if kind == "zip":
        make_zip(path, list(members))
    else:
        make_tar(path, [(tarfile.TarInfo(one), content) for one, content in members])
    before = canary()
    with pytest.raises(ArchiveError, match=r"escape|x01|bbbb"):
        open_source(path)
    with pytest.raises(ArchiveError, match="path"):
        extract_archive(path, tmp_path / "target")
    assert canary() == before
    assert not (tmp_path / "target").exists()


def test_a_name_that_ends_early_is_refused(tmp_path):
    path = plain_zip(tmp_path / "x.zip")
    path.write_bytes(path.read_bytes().replace(b"a.txt", b"a\0txt"))
    with pytest.raises(ArchiveError, match=r"control characters"):
        open_source(path)


@pytest.mark.parametrize(
    "kind",
    [
        *(tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE),
        *(tarfile.CONTTYPE, b"Z"),
    ],
    ids=["symlink", "hard link", "pipe", "character device", "block device", "contiguous", "unknown"],
)
def test_anything_but_files_and_folders_is_refused_in_a_tar(tmp_path, canary, kind):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(tarfile.TarInfo("a.txt"), io.BytesIO())
        archive.addfile(odd("link", kind, "../canary/song"))
    before = canary()
    with pytest.raises(ArchiveError, match="'link'"):
        open_source(path)
    with pytest.raises(ArchiveError, match="'link'"):
        extract_archive(path, tmp_path / "target")
    assert canary() == before
    assert not (tmp_path / "target").exists()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_anything_but_files_and_folders_is_refused_in_a_zip(tmp_path, canary, kind):
    path = make_zip(tmp_path / "x.zip", [(entry("link", kind | 0o777), b"../canary/song")])
    before = canary()
    with pytest.raises(ArchiveError, match="'link'"):
        extract_archive(path, tmp_path / "target")
    assert canary() == before


def test_a_write_through_a_link_that_came_before_is_not_possible(tmp_path, canary):
    path = tmp_path / "x.tar"
    with tarfile.open(path, "w") as archive:
        archive.addfile(odd("out", tarfile.SYMTYPE, str(tmp_path / "canary")))
        info = tarfile.TarInfo("out/song")
        info.size = 5
        archive.addfile(info, io.BytesIO(b"quack"))
    before = canary()
    with pytest.raises(ArchiveError):
        extract_archive(path, tmp_path / "target")
    assert canary() == before


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", [("a", "a"), ("a", "./a"), ("b/a", "b//a"), ("a", "a/b"), ("a/b", "a")])
def test_two_members_of_one_name_are_refused(tmp_path, names):
    zipped = make_zip(tmp_path / "x.zip", [(name, b"") for name in names])
    tarred = make_tar(tmp_path / "x.tar", [(tarfile.TarInfo(name), b"") for name in names])
    for path in (zipped, tarred):
        with pytest.raises(ArchiveError, match=r"second member|both a file and a folder"):
            open_source(path)


def test_encrypted_members_are_refused(tmp_path):
    path = plain_zip(tmp_path / "x.zip")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"a\.txt.*encrypted"):
        open_source(path)


def test_methods_that_unpack_without_bound_are_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("bomb", bytes(1000))
    with pytest.raises(ArchiveError, match=r"bomb.*only deflate"):
        open_source(tmp_path / "x.zip")


def test_a_bomb_is_refused_by_what_its_header_says(tmp_path):
    for content, match in ((bytes(90_000), "would become"), (os.urandom(110_000), "at most 100000")):
        path = make_zip(tmp_path / "x.zip", [("bomb", content)])
        with pytest.raises(ArchiveError, match=rf"bomb.*{match}"):
            open_source(path, limits=SMALL)
        with pytest.raises(ArchiveError, match=r"bomb"):
            extract_archive(path, tmp_path / "target", limits=SMALL)
    path = make_zip(tmp_path / "x.zip", [(f"{number}", os.urandom(90_000)) for number in range(4)])
    with pytest.raises(ArchiveError, match=r"'3'.*more than 300000 bytes"):
        open_source(path, limits=SMALL)
    many = make_zip(tmp_path / "x.zip", [(f"{number}", b"") for number in range(4)])
    with pytest.raises(ArchiveError, match=r"'3'.*3 files"):
        open_source(many, limits=Limits(members=3))


def test_a_bomb_is_caught_by_counting_where_headers_say_little(tmp_path, canary):
    """Each member of a compressed tar may be of a decent size; together they are not."""
    members = [(tarfile.TarInfo(f"{number}"), bytes(50_000)) for number in range(5)]
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(make_tar(tmp_path / "x.tar", members).read_bytes()))
    before = canary()
    with pytest.raises(ArchiveError, match=r"have become"):
        extract_archive(path, tmp_path / "target", limits=SMALL)
    assert canary() == before
    assert not (tmp_path / "target").exists()


def test_a_header_that_lies_about_its_size_yields_no_more_than_it_says(tmp_path):
    path = make_zip(tmp_path / "x.zip", [("bomb", bytes(90_000))])
    content = path.read_bytes()
    path.write_bytes(content.replace((90_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little")))
    with pytest.raises(ArchiveError, match=r"bomb.*damaged"):
        open_source(path).read("bomb", limit=1_000)
    with pytest.raises(ArchiveError, match=r"damaged"):
        extract_archive(path, tmp_path / "target")
    assert not (tmp_path / "target").exists()


def test_members_that_share_their_bytes_are_refused(tmp_path):
    """The construction of a small archive that never ends."""
    path = make_zip(tmp_path / "x.zip", [("a", b"x" * 50), ("b", b"y" * 50)])
    content = bytearray(path.read_bytes())
    second = content.index(b"PK\x01\x02", content.index(b"PK\x01\x02") + 4)
    content[second + 42 : second + 46] = bytes(4)
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"also those of another"):
        open_source(path)


def test_a_header_of_endless_length_is_not_read(tmp_path):
    """A tar may announce a name of gigabytes, which its reader would hold in memory."""
    info = tarfile.TarInfo("././@LongLink")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 1 << 33
    path = tmp_path / "x.tar.gz"
    path.write_bytes(gzip.compress(info.tobuf(tarfile.GNU_FORMAT) + bytes(10_000_000)))
    with pytest.raises(ArchiveError, match=r"header of 8589934592 bytes"):
        extract_archive(path, tmp_path / "target")


def test_sparse_members_are_refused(tmp_path):
    info = tarfile.TarInfo("holes")
    info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 50)}
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO())
    with pytest.raises(ArchiveError, match=r"holes"):
        open_source(tmp_path / "x.tar")


@pytest.mark.parametrize("cut", [1, 1024, 6_000, 10_300])
def test_a_cut_archive_is_an_error_not_a_shorter_data_set(tmp_path, cut):
    whole = plain_tar(tmp_path / "x.tar").read_bytes()
    whole = whole[
        : whole.rindex(b"below/deep/c") + 512 + 1024
    ]  # without the padding that follows the end mark
    path = tmp_path / "cut.tar"
    path.write_bytes(whole[: len(whole) - cut] if cut > 1 else whole[:-1025])
    with pytest.raises(InputError, match=r"not a whole tar|ends within"):
        open_source(path)
    with pytest.raises(InputError, match=r"not a whole tar|ends within"):
        extract_archive(path, tmp_path / "target")
    zipped = plain_zip(tmp_path / "x.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(zipped[:-30])
    with pytest.raises(InputError):
        open_source(tmp_path / "cut.zip")


def test_a_damaged_header_in_the_middle_is_not_taken_for_the_end(tmp_path):
    path = plain_tar(tmp_path / "x.tar")
    content = bytearray(path.read_bytes())
    at = content.index(b"below/b.bin")
    content[at - 2 : at + 40] = os.urandom(42)
    path.write_bytes(content)
    with pytest.raises(InputError):
        open_source(path)


def test_damaged_bytes_of_a_zip_are_noticed(tmp_path):
    path = make_zip(tmp_path / "x.zip", [("a", os.urandom(5_000))])
    content = bytearray(path.read_bytes())
    content[2_000] ^= 255
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"'?a'?.*damaged"):
        open_source(path).read("a", limit=5_000)


def test_an_archive_in_an_archive_is_a_file_like_any_other(tmp_path):
    inner = plain_zip(tmp_path / "inner.zip").read_bytes()
    path = make_zip(tmp_path / "x.zip", [("inner.zip", inner)])
    extract_archive(path, tmp_path / "target")
    assert _read(tmp_path / "target") == [("inner.zip", inner)]


def test_a_folder_that_holds_something_is_not_unpacked_into(tmp_path, canary):
    before = canary()
    with pytest.raises(InputError, match=r"not empty"):
        extract_archive(plain_zip(tmp_path / "x.zip"), tmp_path / "canary")
    assert {name: content for name, content in canary().items() if "x.zip" not in name} == before


def test_what_a_killed_run_left_is_unpacked_anew(tmp_path):
    target = tmp_path / "target"
    (target / "below").mkdir(parents=True)
    (target / MARK).touch()
    (target / "below/half").write_bytes(b"ha")
    extract_archive(plain_zip(tmp_path / "x.zip"), target)
    assert dict(_read(target)) == CONTENT


def test_a_pipe_in_a_folder_is_no_file_and_does_not_wait(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(InputError, match=r"not a regular file"):
        open_source(tmp_path).read("pipe", limit=10)


def test_what_is_no_archive_is_said(tmp_path):
    (tmp_path / "x").write_bytes(b"hello")
    for path in (tmp_path / "x", tmp_path / "none"):
        with pytest.raises(InputError):
            open_source(path)
        with pytest.raises(InputError):
            extract_archive(path, tmp_path / "target")


def test_a_plain_tar_of_zips_is_a_tar_though_it_ends_like_a_zip(tmp_path):
    inner = plain_zip(tmp_path / "inner.zip").read_bytes()
    names = ["000001.zarr.zip", "000002.zarr.zip"]
    path = make_tar(tmp_path / "x.tar", [(tarfile.TarInfo(name), inner) for name in names])
    assert zipfile.is_zipfile(path), "or the test shows nothing"
    assert list(open_source(path).names()) == names
    extract_archive(path, tmp_path / "target")
    assert _read(tmp_path / "target") == [(name, inner) for name in names]


def test_a_file_is_what_it_begins_as_whatever_was_put_behind(tmp_path):
    tar, zipped = (plain(tmp_path / "part").read_bytes() for plain in (plain_tar, plain_zip))
    other = make_zip(tmp_path / "other.zip", [("other", b"")]).read_bytes()
    (tmp_path / "x").write_bytes(tar + other)
    assert list(open_source(tmp_path / "x").names()) == sorted(CONTENT)
    (tmp_path / "x").write_bytes(zipped + other)
    for how in (open_source, ZipFiles, lambda path: extract_archive(path, tmp_path / "target")):
        with pytest.raises(
            ArchiveError, match=rf"{len(zipped)} bytes of something else stand before the zip"
        ):
            how(tmp_path / "x")
    assert not (tmp_path / "target").exists()


def test_a_zip_of_nothing_is_a_zip(tmp_path):
    assert list(open_source(make_zip(tmp_path / "x.zip", [])).names()) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "a,b"},
        {"GNU.sparse.size": "9" * 5_000},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        {"size": "-1"},
    ],
    ids=["words", "digits", "map in the content", "size"],
)
def test_headers_of_a_tar_that_hold_no_numbers_are_an_error_that_names_the_archive(tmp_path, headers):
    info = tarfile.TarInfo("holes")
    info.pax_headers, info.size = headers, 512
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info, io.BytesIO(b"words\n" * 100))
    with pytest.raises(ArchiveError, match=r"x\.tar: "):
        open_source(tmp_path / "x.tar")
    with pytest.raises(ArchiveError, match=r"x\.tar: "):
        extract_archive(tmp_path / "x.tar", tmp_path / "target")


WHOLE: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "tar": bytes,
}


@settings(deadline=None, max_examples=150)
@given(kind=st.sampled_from(["zip", *WHOLE]), data=st.data())
def test_damage_anywhere_in_an_archive_is_an_error_that_names_it(tmp_path_factory, kind, data):
    folder = tmp_path_factory.mktemp("damaged")
    path = folder / "x"
    if kind == "zip":
        content = bytearray(make_zip(path, [*CONTENT.items(), ("ü", b"u" * 50)]).read_bytes())
    else:
        content = bytearray(WHOLE[kind](plain_tar(path).read_bytes()))
    for at in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=3)):
        content[at] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])
    for use in (lambda: dict(_contents(path)), lambda: extract_archive(path, folder / "target")):
        fault = _fault(use)
        assert fault is None or str(path) in fault


def _fault(use: Callable[[], object]) -> str | None:
    """What is wrong, in words."""
    try:
        use()
    except InputError as error:
        return str(error)
    return None


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    source = open_source(path)
    for name in source.names():
        yield name, source.read(name, limit=20_000)


def test_a_name_that_is_no_text_is_an_error_that_names_the_archive(tmp_path):
    path = make_zip(tmp_path / "x.zip", [("üü", b"")])
    path.write_bytes(path.read_bytes().replace("üü".encode(), b"\xff\xff\xff\xff"))
    for how in (open_source, lambda one: extract_archive(one, tmp_path / "target")):
        with pytest.raises(InputError, match=r"x\.zip: .*utf-8"):
            how(path)


@pytest.mark.parametrize(("kind", "at"), [("gz", 2), ("bz2", 5), ("xz", 8)])
def test_a_damaged_compressed_tar_is_an_error_that_names_it(tmp_path, kind, at):
    content = bytearray(WHOLE[kind](plain_tar(tmp_path / "x.tar").read_bytes()))
    content[at] ^= 255
    path = tmp_path / f"x.tar.{kind}"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=rf"x\.tar\.{kind}: (damaged|not a whole tar)"):
        extract_archive(path, tmp_path / "target")

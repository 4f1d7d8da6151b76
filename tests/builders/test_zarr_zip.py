"""Zipped Zarr groups of strangers: what zarr-python writes is read alike, everything else is an error in one line."""

import copy
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from numcodecs import LZ4, Blosc, Zstd

from builders.archive_members import ArchiveError
from builders.import_items import BadItemError
from builders.zarr_chunks import chunk_values
from builders.zarr_documents import array_facts
from builders.zarr_zip import ZarrZip
from noldo.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have a Zarr V3 specification")

Files = dict[str, bytes]


def write(path: Path, files: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def files_of(path: Path) -> Files:
    with zipfile.ZipFile(path) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist()}


def group_of(path: Path, arrays: Mapping[str, np.ndarray], *, zarr_format: int, **options: Any) -> Path:
    store = zarr.storage.ZipStore(path, mode="w")
    group = zarr.open_group(store, mode="w", zarr_format=zarr_format)
    for name, array in arrays.items():
        config = {"write_empty_chunks": True, "order": "C"}
        group.create_array(name, data=array, attributes={"units": "m"}, config=config, **options)
    store.close()
    return path


V2 = {
    "zarr_format": 2,
    "shape": [2, 3],
    "chunks": [2, 3],
    "dtype": "<i2",
    "compressor": None,
    "filters": None,
}
"""Of an array of six bytes of 16 bits."""


def one_array(document: Mapping[str, Any], chunk: bytes, *, name: str = "0.0") -> Files:
    """A group of Zarr 2 with the array `a`."""
    return {
        ".zgroup": b'{"zarr_format": 2}',
        "a/.zarray": json.dumps(document).encode(),
        f"a/{name}": chunk,
    }


PIXELS = np.random.default_rng(0).integers(-999, 999, (5, 4, 7)).astype(np.int16)


@pytest.mark.parametrize("chunks", [(5, 4, 7), (2, 3, 4), (1, 1, 1), (8, 8, 8)])
@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    "array",
    [
        PIXELS,
        PIXELS.astype(">f4"),
        PIXELS.astype(np.float16),
        PIXELS > 0,
        PIXELS.astype("U5"),
        PIXELS.astype(np.int64).astype("M8[s]"),
        PIXELS.astype(np.int64).astype("M8[ns]"),
    ],
    ids=lambda array: array.dtype.str,
)
def test_what_zarr_python_writes_is_read_as_it_reads_it(tmp_path, array, chunks, zarr_format):
    path = group_of(tmp_path / "x.zip", {"a": array}, zarr_format=zarr_format, chunks=chunks)
    archive = ZarrZip(path, where="x.zip")
    assert archive.arrays["a"].attributes["units"] == "m"
    np.testing.assert_array_equal(archive.whole("a"), array)
    np.testing.assert_array_equal(archive.part("a", 1, 4), array[1:4])
    assert archive.whole("a").dtype.isnative


@pytest.mark.parametrize(
    ("zarr_format", "options"),
    [
        *((2, {"compressors": one}) for one in (None, Blosc(), LZ4(), Zstd())),
        (2, {"order": "F"}),
        (2, {"chunk_key_encoding": {"name": "v2", "separator": "/"}}),
        (3, {"compressors": None}),
        (3, {"compressors": [{"name": "blosc", "configuration": {"typesize": 2}}]}),
        (3, {"chunk_key_encoding": {"name": "v2", "separator": "."}}),
        (3, {"chunk_key_encoding": {"name": "default", "separator": "."}}),
        (3, {"serializer": {"name": "bytes", "configuration": {"endian": "big"}}}),
    ],
    ids=str,
)
def test_every_compressor_and_name_of_chunks_that_is_allowed_is_read(tmp_path, zarr_format, options):
    path = group_of(tmp_path / "x.zip", {"a": PIXELS}, zarr_format=zarr_format, chunks=(2, 3, 4), **options)
    np.testing.assert_array_equal(ZarrZip(path, where="x.zip").part("a", 0, 5), PIXELS)


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_strings_of_any_length_and_single_values_are_read(tmp_path, zarr_format):
    texts = np.array(["", "ü", "a" * 1_000, "S2A"], dtype=np.dtypes.StringDType())
    path = tmp_path / "x.zip"
    store = zarr.storage.ZipStore(path, mode="w")
    group = zarr.open_group(store, mode="w", zarr_format=zarr_format)
    group.create_array("texts", data=texts, chunks=(3,))
    group.create_array("number", data=np.array(7.5))
    store.close()
    archive = ZarrZip(path, where="x.zip")
    assert archive.whole("texts").tolist() == texts.tolist()
    assert archive.whole("number") == 7.5


@pytest.mark.parametrize("zarr_format", [2, 3])
@pytest.mark.parametrize(
    ("kind", "fill"),
    [("i2", -5), ("f4", np.nan), ("f4", -np.inf), ("b1", True), ("M8[s]", 12), ("U3", "abc")],
)
def test_chunks_that_are_not_there_hold_the_fill_value_in_small_arrays_and_are_missed_in_parts(
    tmp_path, zarr_format, kind, fill
):
    path = tmp_path / "x.zip"
    store = zarr.storage.ZipStore(path, mode="w")
    group = zarr.open_group(store, mode="w", zarr_format=zarr_format)
    array = group.create_array("a", shape=(4,), chunks=(2,), dtype=kind, fill_value=np.array(fill, kind)[()])
    array[2:] = np.zeros(2, kind) if kind != "M8[s]" else np.array([5, 6], kind)
    expected = array[:]
    store.close()
    archive = ZarrZip(path, where="x.zip")
    np.testing.assert_array_equal(archive.whole("a"), expected)
    with pytest.raises(BadItemError, match=r"missing file: x\.zip: chunk a/"):
        archive.part("a", 0, 4)


def test_a_chunk_that_is_missing_without_a_fill_value_is_an_error(tmp_path):
    path = write(tmp_path / "x.zip", one_array(V2, b"", name="unused"))
    with pytest.raises(BadItemError, match="missing file"):
        ZarrZip(path, where="x.zip").whole("a")


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        (".zattrs", b"{", "x.zip: .zattrs: no JSON object"),
        (".zgroup", b"[]", "x.zip: .zgroup: no JSON object"),
        (".zgroup", b"[" * 100_000, "no JSON object"),
        (".zgroup", b"{}", "that of no group of Zarr 2"),
        ("a/.zattrs", b"[]", "a/.zattrs: no JSON object"),
        ("a/.zarray", b"\xff", "a/.zarray: no JSON object"),
        ("a/.zarray", b'{"shape": ' + b"9" * 5_000 + b"}", "a/.zarray: no JSON object"),
    ],
)
def test_documents_that_are_no_objects_are_an_error_that_names_them(tmp_path, name, content, words):
    path = write(tmp_path / "x.zip", {**one_array(V2, bytes(12)), name: content})
    with pytest.raises(InputError, match=r"x\.zip: ") as error:
        ZarrZip(path, where="x.zip")
    assert words in str(error.value)
    assert str(tmp_path) not in str(error.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"compressor": [1]}, "id is None"),
        ({"compressor": {"id": "gzip"}}, "compressor 'gzip'"),
        ({"shape": [float("inf"), 3]}, "shape [inf, 3]"),
        ({"shape": [2.0, 3]}, "shape [2.0, 3]"),
        ({"shape": [True, 3]}, "shape [True, 3]"),
        ({"shape": "23"}, "shape is '23'"),
        ({"shape": [2]}, "in chunks of"),
        ({"filters": 5}, "filters is 5"),
        ({"order": ["C"]}, "order is ['C']"),
        ({"dtype": "<i" + "9" * 5_000}, "dtype <i999"),
        ({"dtype": "<U0"}, "dtype <U0"),
        ({"dtype": "<i2,<i2"}, "dtype <i2,<i2"),
        ({"chunks": [1 << 20, 1 << 20]}, "chunks of 2199023255552 bytes"),
        (
            {"dtype": "|O", "filters": [{"id": "vlen-utf8"}], "chunks": [1 << 20, 2]},
            "chunks of 2097152 strings",
        ),
    ],
)
def test_an_array_that_is_not_read_is_an_error_in_words(tmp_path, changes, words):
    path = write(tmp_path / "x.zip", one_array({**V2, **changes}, bytes(12)))
    with pytest.raises(InputError, match=r"x\.zip: array a is stored in a way that is not read") as error:
        ZarrZip(path, where="x.zip")
    assert words in str(error.value)
    assert len(str(error.value)) < 400


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
V3 = {
    "zarr_format": 3,
    "node_type": "array",
    "shape": [8_192],
    "data_type": "int8",
    "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8_192]}},
    "chunk_key_encoding": {"name": "default"},
    "codecs": [BYTES],
    "fill_value": 0,
}


@pytest.mark.parametrize(
    "codecs",
    [
        [BYTES, {"name": "blosc"}, {"name": "zstd"}],
        [{"name": "zstd"}, BYTES],
        [BYTES, {"name": "gzip"}],
        [BYTES, {"name": "vlen-utf8"}],
        [{"name": "transpose"}, BYTES],
        [{"name": "vlen-utf8"}],
        [],
        [5],
    ],
)
def test_codecs_are_one_serializer_and_at_most_one_compressor(codecs):
    """Of two compressors, the first tells nothing of what the second unpacks: a chunk of 8 kB took 268 MB."""
    with pytest.raises(ValueError, match=r"codecs|name is None"):
        array_facts({**V3, "codecs": codecs}, attributes=None)


def numbers_v2(compressor: str | None) -> Any:
    tree = {**V2, "shape": [1_000], "chunks": [1_000], "dtype": "|u1"}
    return array_facts({**tree, "compressor": compressor and {"id": compressor}}, attributes={})


def _with_length(content: bytes, at: int, length: int) -> bytes:
    return content[:at] + length.to_bytes(4, "little") + content[at + 4 :]


ZEROS = bytes(1_000)
TWICE = bytes(Zstd().encode(ZEROS)) * 2
HUGE = bytes(Zstd().encode(ZEROS)) + bytes(Zstd().encode(bytes(1 << 28)))
"""The first frame is as long as the chunk; the second unpacks to 268 MB."""


@pytest.mark.parametrize(
    ("compressor", "content"),
    [
        (None, ZEROS[1:]),
        ("blosc", bytes(Blosc().encode(ZEROS * 2))),
        ("blosc", _with_length(bytes(Blosc().encode(ZEROS)), 4, 1 << 30)),
        ("blosc", bytes(Blosc().encode(np.random.default_rng(0).bytes(1_000)))[:-40]),
        ("lz4", _with_length(bytes(LZ4().encode(ZEROS)), 0, 1 << 30)),
        ("lz4", b"\xe8\x03"),
        ("zstd", TWICE),
        ("zstd", HUGE),
        ("zstd", b"\x28\xb5\x2f\xfd\x00\x58" + bytes(20)),
        *((name, b"") for name in (None, "blosc", "lz4", "zstd")),
    ],
)
def test_a_chunk_of_another_length_than_the_metadata_say_is_not_unpacked(compressor, content):
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises((ValueError, RuntimeError)):
            chunk_values(content, numbers_v2(compressor))
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


TEXTS = {**V2, "shape": [4], "chunks": [4], "dtype": "|O", "filters": [{"id": "vlen-utf8"}]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff\xff\xff\x7f", "2147483647 strings, expected 4"),
        (b"\x04\0\0\0" + b"\x01\0\0\0a", "ends within string 1 of 4"),
        (b"\x04\0\0\0" + b"\xff\xff\xff\xff" * 4, "ends within string 0"),
        (b"\x04\0\0\0" + b"\x01\0\0\0\xff" * 4, "utf-8"),
        (b"", "unpacks to 0 bytes"),
    ],
)
def test_strings_that_are_damaged_are_an_error_before_any_is_made(tmp_path, content, words):
    """Four bytes asked for 16 GiB."""
    path = write(tmp_path / "x.zip", one_array(TEXTS, content, name="0"))
    with pytest.raises(BadItemError, match=r"unreadable file: x\.zip: chunk a/0 \(") as error:
        ZarrZip(path, where="x.zip").whole("a")
    assert words in str(error.value)


def test_strings_do_not_unpack_without_bound(tmp_path):
    packed = bytes(Zstd().encode(b"\x04\0\0\0" + bytes(1 << 27)))
    path = write(tmp_path / "x.zip", one_array({**TEXTS, "compressor": {"id": "zstd"}}, packed, name="0"))
    with pytest.raises(BadItemError, match="expected at most 67108864"):
        ZarrZip(path, where="x.zip").whole("a")


def test_numbers_that_are_no_characters_are_an_error(tmp_path):
    for number in (0xD800, 0x110000, 0xFFFFFFFF):
        content = np.array([number, 65], "<u4").tobytes()
        document = {**V2, "shape": [2], "chunks": [2], "dtype": "<U1"}
        path = write(tmp_path / "x.zip", one_array(document, content, name="0"))
        with pytest.raises(BadItemError, match="no characters"):
            ZarrZip(path, where="x.zip").whole("a")


@pytest.mark.parametrize(
    ("shape", "chunks"), [([6, 4, 13, 1 << 31, 1 << 31], [1] * 5), ([1 << 20], [1]), ([1 << 31], [1 << 20])]
)
def test_no_more_is_read_at_once_than_any_data_set_has(tmp_path, shape, chunks):
    path = write(tmp_path / "x.zip", one_array({**V2, "shape": shape, "chunks": chunks}, b""))
    archive = ZarrZip(path, where="x.zip")
    for read in (lambda: archive.whole("a"), lambda: archive.part("a", 0, shape[0])):
        with pytest.raises(ArchiveError, match=r"x\.zip: array a has \d+ bytes in \d+ chunks"):
            read()


def test_the_group_decides_which_documents_count(tmp_path):
    files = {**one_array(V2, bytes(12)), "a/zarr.json": b"{"}
    assert ZarrZip(write(tmp_path / "x.zip", files), where="x.zip").whole("a").shape == (2, 3)


def test_a_damaged_member_is_a_bad_item_whose_reason_names_no_folder_of_this_machine(tmp_path):
    content = np.random.default_rng(0).bytes(12)
    path = write(tmp_path / "x.zip", one_array(V2, content))
    path.write_bytes(path.read_bytes().replace(content, bytes(12)))
    with pytest.raises(BadItemError, match=r"^unreadable file: train/x\.zip: chunk a/0\.0 \(a/0\.0: damaged"):
        ZarrZip(path, where="train/x.zip").whole("a")


JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([-1, 0, 1, 2, 3, 2**31, 2**63, 10**30, 1.5, float("inf"), float("nan")]),
    st.sampled_from(
        ["", "x", "|O", "<i2", ">f8", "<U4000", "|S7", "<M8[D]", "string", "int8", "F", "/", "Infinity"]
    ),
    st.sampled_from(["bytes", "blosc", "zstd", "vlen-utf8", "v2", "days since 1970-01-01", "9" * 5_000]),
    st.sampled_from(
        [[], [1], [[1]], {}, {"id": "zstd"}, {"name": "blosc"}, [{"id": "vlen-utf8"}], [{"name": "bytes"}]]
    ),
)


def _places(tree: Any, above: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every value of a document."""
    found = [above] if above else []
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in pairs:
        found += _places(value, (*above, key))
    return found


def _mutated(content: bytes, data: st.DataObject) -> bytes:
    """A document with one value replaced, wrapped or taken out; or other bytes."""
    tree = copy.deepcopy(json.loads(content))
    if not _places(tree) or data.draw(st.integers(0, 9)) == 0:
        return data.draw(st.sampled_from([b"", b"{", b"[]", b"null", b"3", b"\xff", b"[" * 100_000]))
    *above, last = data.draw(st.sampled_from(_places(tree)))
    parent = tree
    for key in above:
        parent = parent[key]
    change: Callable[[], Any] = data.draw(
        st.sampled_from([lambda: data.draw(JUNK), lambda: [parent[last]], lambda: {"a": parent[last]}])
    )
    parent[last] = change()
    return json.dumps(tree).encode()


def _damaged(content: bytes, data: st.DataObject) -> bytes:
    changed = bytearray(content)
    for at in data.draw(st.lists(st.integers(0, min(len(content), 60) - 1), max_size=3)):
        changed[at] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    return bytes(changed[: data.draw(st.integers(0, len(changed)))])


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Files]:
    """The same small arrays in both formats, by file."""
    folder = tmp_path_factory.mktemp("valid")
    found = {}
    for zarr_format in (2, 3):
        path = folder / f"{zarr_format}.zip"
        group_of(path, {"a": PIXELS, "b": np.array(["x", "yz"])}, zarr_format=zarr_format)
        store = zarr.storage.ZipStore(path, mode="a")
        group = zarr.open_group(store, mode="r+", zarr_format=zarr_format, use_consolidated=False)
        group.create_array("c", data=np.array(["x", "yz"], np.dtypes.StringDType()))
        store.close()
        found[zarr_format] = files_of(path)
    return found


@settings(deadline=None, max_examples=300)
@given(zarr_format=st.sampled_from([2, 3]), data=st.data())
def test_whatever_stands_in_documents_and_chunks_is_read_or_an_error_in_one_line(
    tmp_path_factory, valid, zarr_format, data
):
    files = dict(valid[zarr_format])
    for name in data.draw(st.lists(st.sampled_from(sorted(files)), min_size=1, max_size=2, unique=True)):
        is_document = name.rpartition("/")[2] in (".zgroup", ".zattrs", ".zarray", "zarr.json")
        files[name] = _mutated(files[name], data) if is_document else _damaged(files[name], data)
    path = write(tmp_path_factory.mktemp("mutated") / "x.zip", files)
    for read in (ZarrZip.whole, lambda archive, name: archive.part(name, 0, 1)):
        fault = _fault(path, read)
        assert fault is None or ("x.zip" in fault and "\n" not in fault and len(fault) < 600)


def _fault(path: Path, read: Callable[[ZarrZip, str], np.ndarray]) -> str | None:
    """What is wrong, in words. Only errors that are meant for users are caught."""
    try:
        archive = ZarrZip(path, where="x.zip")
        for name in archive.arrays:
            assert read(archive, name).dtype.kind in "iufbmMUSO"
    except InputError as error:
        return str(error)
    return None

"""An LMDB of a stranger: what is damaged is an error, and never the end of the process."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

from builders.import_items import BadItemError
from builders.lmdb_file import LmdbFile
from noldo.errors import InputError
from tests.builders.published.cromss_lmdb import record, write_lmdb

LARGE = {str(number): record(np.full((9, 999), number, np.uint8), number) for number in range(20)}

READ_ALL = """
import sys
from pathlib import Path
from builders.lmdb_file import LmdbFile
from noldo.errors import InputError
try:
    with LmdbFile(Path(sys.argv[1])) as file:
        for key in file.names():
            file.array(key, dtypes=["u1"])
except InputError as error:
    print(error)
"""
"""In a process of its own: what is tested is that it lives on."""


def test_records_are_read_from_the_folder_and_from_the_file(tmp_path):
    write_lmdb(tmp_path / "x", LARGE)
    for path in (tmp_path / "x", tmp_path / "x/data.mdb"):
        with LmdbFile(path) as file:
            array, number = file.array("7", dtypes=["u1"])
            assert (array.shape, set(array.flat), number) == ((9, 999), {7}, 7)


@pytest.mark.parametrize("keep", [0.03, 0.5, 0.99])
@pytest.mark.parametrize("is_folder", [True, False])
def test_an_lmdb_that_was_cut_off_is_refused_when_it_is_opened(tmp_path, keep, is_folder):
    write_lmdb(tmp_path / "x", LARGE)
    path = tmp_path / "x/data.mdb"
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(InputError, match=rf"data\.mdb: \d+ bytes, but its header says {len(whole)}") as error:
        LmdbFile(tmp_path / "x" if is_folder else path)
    assert "\n" not in str(error.value)
    path.write_bytes(whole)
    LmdbFile(tmp_path / "x" if is_folder else path).__exit__()


def test_wherever_an_lmdb_is_cut_the_process_lives_on(tmp_path):
    write_lmdb(tmp_path / "x", LARGE)
    path = tmp_path / "x/data.mdb"
    whole = path.read_bytes()
    for length in (0, 1, 4_095, 4_096, 4_300, 8_192, 8_200, len(whole) // 3, len(whole) - 1):
        path.write_bytes(whole[:length])
        found = subprocess.run(
            [sys.executable, "-c", READ_ALL, path], capture_output=True, text=True, check=False
        )
        assert (found.returncode, found.stderr) == (0, ""), length
        assert "fetch it again" in found.stdout, length


def test_a_shape_whose_size_wraps_around_to_nothing_is_a_wrong_size(tmp_path):
    write_lmdb(tmp_path / "x", {"0": pickle.dumps((b"", (65_536,) * 4, 0))})
    with (
        LmdbFile(tmp_path / "x") as file,
        pytest.raises(BadItemError, match=r"wrong size: x, key 0: 0 bytes for shape \(65536, "),
    ):
        file.array("0", dtypes=["u1", "u2"])

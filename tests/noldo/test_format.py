"""A data set that was written when format 1 was new stays readable forever."""

import zipfile
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from noldo.dataset import NoldoS12
from noldo.digest import digest
from noldo.info import info
from noldo.verify import verify

FIXTURE = Path(__file__).parent / "data" / "format_1.zip"
RECORDED_DIGEST = "bbcd94219fc538301db472eee7188622848cbd09f8088dc3539cbb33d72111c1"
"""Printed by `data/make_format_1.py` when it made the file."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("format_1")
    with zipfile.ZipFile(FIXTURE) as archive:
        archive.extractall(folder)
    return folder


def test_its_digest_is_the_recorded_one(root: Path) -> None:
    assert digest(root) == RECORDED_DIGEST


def test_it_has_no_problems(root: Path) -> None:
    assert verify(root).problems == ()


def test_its_samples_are_what_they_were(root: Path) -> None:
    samples = NoldoS12(root, bands=9, season="summer")
    assert samples.ids.tolist() == [100, 107, 128, 135]
    sample = samples[0]
    assert sample["s2_l1c_10m"].numpy()[:, 0, :2].tolist() == [
        [4917, 5284],
        [11643, 11129],
        [8304, 486],
        [2515, 10657],
    ]
    assert sample["mask"][0].tolist() == [8, 4, 5, 3, 4, 5]
    assert sample["s1_grd_10m"][1, 5, 3:].tolist() == [-701, -32768, -32768]
    assert sample["bounds"].tolist() == [600_000, 4_999_980, 600_060, 5_000_040]


def test_its_summary_can_be_read(root: Path) -> None:
    summary = info(root)
    assert (summary["format_version"], summary["locations"], summary["locations_tried"]) == (1, 5, 6)
    assert summary["requests"]["pixels"] == 10


def test_others_read_the_same(root: Path) -> None:
    labels = xr.open_zarr(root / "nol.zarr")["dynamic_world_10m"]
    assert labels.shape == (6, 2, 6, 6)
    assert np.array_equal(labels[0, 1, 0].values, [8, 4, 5, 3, 4, 5])

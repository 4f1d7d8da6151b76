"""Verbs that turn published data sets on disk into stores. Loaded when one is asked for, by `builders.__main__`.

Each returns what is to be printed at its end. What an import is told are the fields of a dataclass, whose texts are the help.
"""

from pathlib import Path
from typing import Annotated, TypeAlias

from cyclopts import Parameter

from builders.import_cromss_lmdb import CromssLmdb
from builders.import_dfc2020 import Dfc2020
from builders.import_noldo_archive import NoldoArchive
from builders.import_ssl4eo_v1 import Ssl4eoV1
from builders.import_ssl4eo_v11 import Ssl4eoV11
from builders.import_store import ImportTarget

_FLAT = Parameter(name="*", negative_iterable=())

Target: TypeAlias = Annotated[ImportTarget, _FLAT]


def import_ssl4eo_v1(*, told: Annotated[Ssl4eoV1, _FLAT], target: Target) -> str:
    """Import SSL4EO-S12 v1.0: folders of GeoTIFFs, raw or bytes; with --labels, SSL4EO-S12@NoL."""
    from builders.import_ssl4eo_v1 import import_ssl4eo_v1 as run

    return run(told, target).render()


def import_ssl4eo_v11(*, told: Annotated[Ssl4eoV11, _FLAT], target: Target) -> str:
    """Import SSL4EO-S12 v1.1: zipped Zarr groups."""
    from builders.import_ssl4eo_v11 import import_ssl4eo_v11 as run

    return run(told, target).render()


def import_cromss_lmdb(*, told: Annotated[CromssLmdb, _FLAT], target: Target) -> str:
    """Import the LMDBs of CromSS: of pretraining, @DW, @OSM or DFC2020."""
    from builders.import_cromss_lmdb import import_cromss_lmdb as run

    return run(told, target).render()


def import_noldo_archive(*, told: Annotated[NoldoArchive, _FLAT], target: Target) -> str:
    """Import a subset of NoLDO-S12 as published: its zip, or the folder that was in it."""
    from builders.import_noldo_archive import import_noldo_archive as run

    return run(told, target).render()


def import_dfc2020(*, told: Annotated[Dfc2020, _FLAT], target: Target) -> str:
    """Import the Data Fusion Contest 2020: GeoTIFFs in its folders, in one folder, or in archives."""
    from builders.import_dfc2020 import import_dfc2020 as run

    return run(told, target).render()


def extract_archive(*, archive: Path, out: Path) -> str:
    """Unpack a zip or tar of a stranger: plain files only, below a new folder only.

    Parameters
    ----------
    archive
        Zip, or tar: plain, gzip, bzip2 or xz.
    out
        Folder that does not exist yet.
    """
    from builders.archive_extract import extract_archive as run

    extracted = run(archive, out)
    return f"{out}: {extracted.num_files} files, {extracted.num_bytes} bytes"

"""Which tiles a split has: looks at names of files, opens none of them."""

import logging
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from noldo.errors import InputError
from noldo.published.layouts import Layout

_LOG = logging.getLogger(__name__)

NUM_SHOWN = 3

XBD_LIST = "xbd_files.csv"
"""Published with OpenEarthMap, beside the lists of its splits: which of its images are of xBD."""


@dataclass(frozen=True)
class Tile:
    """Files of one place."""

    id: int
    """Position in the list or folder of its split, from 0, counting what is missing."""
    name: str
    """Its files without their ends."""
    images: Mapping[str, Path]
    """Modality to file."""
    label: Path | None
    """None: labels of this split are not there."""


def list_tiles(
    root: Path,
    layout: Layout,
    *,
    split: str,
    modalities: Sequence[str],
    label_folder: str | None,
    label_root: Path | None = None,
) -> tuple[Tile, ...]:
    """Tiles of a split, in the order of its list, or of the numbers in their names.

    Images that a list names and that are not there are left out, and told once.

    Parameters
    ----------
    label_folder
        Of the layout, or None: no labels are asked for.
    label_root
        Another folder of the same layout with labels; of splits that it has none of, those of `root` count.

    Raises
    ------
    InputError
        If a folder or list is missing, nothing is there, or some tiles have a label or another image and some don't.
    """
    if not root.is_dir():
        raise InputError(f"{root}: no such folder; give the folder of {layout.name}")
    if label_folder is not None and label_root is not None:
        _require_labels(label_root, label_folder)
    folders = {modality: layout.images[modality] for modality in modalities}
    if layout.by_region:
        return _of_regions(root, split, folders, label_folder, label_root, where=layout.name)
    return _of_folders(root, split, folders, label_folder, label_root)


def label_path(root: Path, tile: Tile, layout: Layout, *, split: str, label_folder: str) -> Path:
    """Where the label of a tile is looked for below a folder of this layout."""
    name = next(iter(tile.images.values())).name
    above = region_of(name) if layout.by_region else split
    return root / above / label_folder / name


def _require_labels(root: Path, folder: str) -> None:
    """A wrong path would have every split keep its own labels."""
    if not any(path.is_dir() for path in root.glob(f"*/{folder}")):
        raise InputError(
            f"{root}: no folder {folder} below any of its folders; data.label_store is a folder like the data set's own"
        )


def _of_regions(
    root: Path,
    split: str,
    folders: Mapping[str, str],
    label_folder: str | None,
    label_root: Path | None,
    *,
    where: str,
) -> tuple[Tile, ...]:
    list_file = root / f"{split}.txt"
    names = _listed(list_file)

    def path_of(name: str, folder: str, at: Path) -> Path:
        return at / region_of(name) / folder / name

    kept = [
        (position, name)
        for position, name in enumerate(names)
        if all(path_of(name, folder, root).is_file() for folder in folders.values())
    ]
    here = {name for _, name in kept}
    if missing := [name for name in names if name not in here]:
        _tell_missing(list_file, tuple(missing), len(names))
    if not kept:
        raise InputError(
            f"{list_file}: none of the {len(names)} images that it names is there, e.g. "
            f"{path_of(names[0], next(iter(folders.values())), root)}; give the folder of {where} that holds them"
        )
    labels: dict[str, Path] = {}
    if label_folder is not None:
        for place in (root,) if label_root is None else (label_root, root):
            found = {name: path_of(name, label_folder, place) for _, name in kept}
            if labels := {name: path for name, path in found.items() if path.is_file()}:
                break
        _require_all(labels, [name for _, name in kept], where=f"{list_file}: {label_folder}")
    return tuple(
        Tile(
            position,
            Path(name).stem,
            {modality: path_of(name, folder, root) for modality, folder in folders.items()},
            labels.get(name),
        )
        for position, name in kept
    )


def region_of(name: str) -> str:
    """The region in a name of OpenEarthMap: up to its last underscore."""
    return name.rpartition("_")[0]


def _listed(path: Path) -> list[str]:
    try:
        names = path.read_text(encoding="utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{path}: can't be read ({error}); the folder must hold the published list of its split"
        ) from None
    if not names:
        raise InputError(f"{path}: names no image; copy the published list again")
    if odd := [name for name in names if not re.fullmatch(r"[^/\\]+_[^/\\_]+\.tiff?", name)]:
        raise InputError(
            f"{path}: {odd[0][:80]!r} is no name like aachen_1.tif; copy the published list again"
        )
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise InputError(f"{path}: {shown(twice)} more than once; copy the published list again")
    return names


def _of_folders(
    root: Path,
    split: str,
    folders: Mapping[str, str],
    label_folder: str | None,
    label_root: Path | None,
) -> tuple[Tile, ...]:
    found = {
        modality: _by_stem(root / split / folder, what=f"images of {modality} of split {split}")
        for modality, folder in folders.items()
    }
    first = next(iter(found.values()))
    names = sorted(first, key=_numeric)
    for modality, images in found.items():
        _require_all(images, names, where=f"{root / split / folders[modality]}")
    labels: dict[str, Path] = {}
    if label_folder is not None:
        places = [root / split / label_folder]
        if label_root is not None:
            places.insert(0, label_root / split / label_folder)
        folder = next((place for place in places if place.is_dir()), None)
        if folder is not None:
            labels = _by_stem(folder, what=f"labels of split {split}", may_be_empty=True)
            if spare := sorted(set(labels) - set(names), key=_numeric):
                tell_once(f"{folder}: {len(spare)} labels without an image, left out: {shown(spare)}")
            _require_all({name: labels[name] for name in names if name in labels}, names, where=str(folder))
    return tuple(
        Tile(
            position,
            name,
            {modality: images[name] for modality, images in found.items()},
            labels.get(name),
        )
        for position, name in enumerate(names)
    )


def _by_stem(folder: Path, *, what: str, may_be_empty: bool = False) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; it would hold the {what}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in (".tif", ".tiff") or path.name.startswith("."):
            continue
        if path.stem in found:
            raise InputError(f"{path}: {found[path.stem].name} is there, too; keep one of them")
        found[path.stem] = path
    if not found and not may_be_empty:
        raise InputError(f"{folder}: no .tif in it; it should hold the {what}")
    return found


def _require_all(found: Mapping[str, Path], names: Sequence[str], *, where: str) -> None:
    """All or none: half a split of labels would be a smaller split without a word."""
    missing = [name for name in names if name not in found]
    if found and missing:
        raise InputError(
            f"{where}: {len(missing)} of {len(names)} tiles are not there: {shown(missing)}; copy them, or "
            "take away what is left of them"
        )


def _numeric(name: str) -> tuple[tuple[int, int | str], ...]:
    """Numbers in a name by their size: 999 before 1000."""
    parts = re.split(r"(\d+)", name)
    return tuple((1, int(part)) if part.isdecimal() else (0, part) for part in parts)


def _tell_missing(list_file: Path, missing: tuple[str, ...], num_listed: int) -> None:
    counted = f"{list_file}: {len(missing)} of {num_listed} images are not there and left out"
    of_xbd = _names_of_xbd(list_file.with_name(XBD_LIST))
    if of_xbd is None:
        tell_once(
            f"{counted}: {_by_region(missing)}; those of xBD are not published with the others (data/compile_xbd.py of the data "
            f"set's repository adds them), any other is missing from this copy (no {XBD_LIST} here to tell them apart)"
        )
        return
    ours = [name for name in missing if name not in of_xbd]
    theirs = [name for name in missing if name in of_xbd]
    parts = []
    if theirs:
        parts.append(
            f"{len(theirs)} of xBD, not published with the others, see data/compile_xbd.py of the data set's repository: "
            f"{_by_region(theirs)}"
        )
    if ours:
        parts.append(
            f"{len(ours)} that are published, so that this copy is not whole: {_by_region(ours)}, e.g. {shown(ours)}"
        )
    tell_once(f"{counted}; {'; '.join(parts)}")


def _by_region(names: Sequence[str]) -> str:
    regions = Counter(region_of(name) for name in names)
    return ", ".join(f"{region} {count}" for region, count in sorted(regions.items()))


def _names_of_xbd(path: Path) -> frozenset[str] | None:
    """Names in the list that lies beside those of the splits (image of xBD, then name here); None: it does not, or names nothing."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return None
    return frozenset(line.rpartition(",")[2].strip() for line in lines if "," in line) or None


@cache
def tell_once(message: str) -> None:
    """A split is opened more than once in a run; the same line twice says nothing new."""
    _LOG.warning("%s", message)


def shown(names: Sequence[str]) -> str:
    """The first few of them."""
    return ", ".join(names[:NUM_SHOWN]) + (", ..." if len(names) > NUM_SHOWN else "")

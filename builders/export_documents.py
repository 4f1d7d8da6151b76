"""JSON documents of an export, written and read back."""

import json
from pathlib import Path
from typing import Any

from builders.export_item import SHA256_MULTIHASH, Document, FileRecord
from noldo.errors import StoreError


def to_bytes(document: Document) -> bytes:
    """JSON as people can read it."""
    return (json.dumps(document, indent=1) + "\n").encode()


def recorded_files(path: Path) -> dict[str, FileRecord]:
    """Files that an item tells of, by key.

    Raises
    ------
    StoreError
        If the item can't be read.
    """
    records = {}
    document = read_document(path)
    try:
        for key, asset in document["assets"].items():
            records[key] = FileRecord(
                asset["file:size"], asset["file:checksum"].removeprefix(SHA256_MULTIHASH)
            )
    except (KeyError, AttributeError, TypeError) as error:
        raise _edited(path, f"lacks {error}") from None
    return records


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object of an export.

    Raises
    ------
    StoreError
        If it is missing, or no JSON object.
    """
    try:
        tree = json.loads(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path}: can't be read ({error.strerror}); export it again") from None
    except ValueError:
        tree = None
    if not isinstance(tree, dict):
        raise _edited(path, "is no JSON object")
    return tree


def _edited(path: Path, what: str) -> StoreError:
    return StoreError(f"{path}: {what}; delete it and export it again")

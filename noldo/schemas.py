"""JSON Schemas of the files beside a store: `python -m noldo.schemas` writes them to `schemas/`."""

import json
from pathlib import Path

from noldo.manifest import Manifest, Record, RunReport

SCHEMAS: dict[str, type[Record]] = {
    "manifest.schema.json": Manifest,
    "run.schema.json": RunReport,
}
"""File name to the model it describes."""


def schema_text(model: type[Record]) -> str:
    """JSON Schema of a model as it is written, as text."""
    schema = model.model_json_schema(mode="serialization")
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    """Write every schema of this package to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in SCHEMAS.items():
        (folder / name).write_text(schema_text(model), encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path("schemas"))

"""JSON Schemas of everything that is read or written as YAML or JSON, generated from the models."""

import json
from pathlib import Path

from builders.config import BuildConfig


def build_schema() -> str:
    """JSON Schema of a build's config, as text."""
    return json.dumps(BuildConfig.model_json_schema(), indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    """Write every schema of the project to `folder`."""
    from noldo.schemas import write_schemas as write_noldo_schemas

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "build.schema.json").write_text(build_schema(), encoding="utf-8")
    write_noldo_schemas(folder)

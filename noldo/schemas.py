"""JSON Schemas of the files beside a store: `python -m noldo.schemas` writes them to `schemas/`."""

import json
from pathlib import Path

from noldo.frozen import Frozen
from noldo.manifest import Manifest, Record, RunReport
from noldo.training.recipe import PretrainRecipe, SelfTrainRecipe, TransferRecipe
from noldo.training.study import Study

SCHEMAS: dict[str, type[Record]] = {
    "manifest.schema.json": Manifest,
    "run.schema.json": RunReport,
}
"""File name to the model it describes."""


def schema_text(model: type[Record]) -> str:
    """JSON Schema of a model as it is written, as text."""
    schema = model.model_json_schema(mode="serialization")
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


READ_FROM_USERS: dict[str, type[Frozen]] = {
    "pretrain-recipe.schema.json": PretrainRecipe,
    "transfer-recipe.schema.json": TransferRecipe,
    "self-train-recipe.schema.json": SelfTrainRecipe,
    "study.schema.json": Study,
}
"""File name to the model of what users write."""


def input_schema_text(name: str) -> str:
    """JSON Schema of what users write, as text."""
    schema = READ_FROM_USERS[name].model_json_schema()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def write_schemas(folder: Path) -> None:
    """Write every schema of this package to a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in SCHEMAS.items():
        (folder / name).write_text(schema_text(model), encoding="utf-8")
    for name in READ_FROM_USERS:
        (folder / name).write_text(input_schema_text(name), encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path("schemas"))

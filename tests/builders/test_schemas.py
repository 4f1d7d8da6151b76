import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from builders.schemas import write_schemas

ROOT = Path(__file__).parents[2]


def test_the_committed_schemas_are_those_of_the_models(tmp_path):
    write_schemas(tmp_path)
    fresh = {path.name: path.read_text() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_text() for path in (ROOT / "schemas").glob("*.json")}
    assert committed == fresh, "run `make schemas`"


@pytest.mark.parametrize("name", ["sandbox", "noldo_s12"])
def test_another_json_schema_reader_accepts_the_configs_of_the_project(name):
    schema = json.loads((ROOT / "schemas" / "build.schema.json").read_text())
    tree = yaml.safe_load((ROOT / "config" / f"{name}.yaml").read_text())
    jsonschema.validate(json.loads(json.dumps(tree, default=str)), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree | {"sesons": []}, schema)


def test_every_key_of_a_config_is_described():
    schema = json.loads((ROOT / "schemas" / "build.schema.json").read_text())
    sections = {"build": schema, **schema["$defs"]}
    silent = [
        f"{section}.{key}"
        for section, tree in sections.items()
        for key, value in tree["properties"].items()
        if "description" not in value and "$ref" not in value and "allOf" not in value
    ]
    assert silent == []

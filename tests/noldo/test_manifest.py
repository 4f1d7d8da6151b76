"""Manifest and run record: round trips, messages, and the schemas kept in the repository."""

import json
from pathlib import Path

import jsonschema
import pytest

from noldo.errors import StoreError, StoreFormatError
from noldo.manifest import (
    Manifest,
    RunReport,
    read_manifest,
    read_run_report,
    write_manifest,
    write_run_report,
)
from noldo.schemas import READ_FROM_USERS, SCHEMAS, schema_text, write_schemas
from tests.noldo.made_up_data_set import DataSet

ROOT = Path(__file__).parents[2]


def test_a_manifest_survives_the_way_to_disk(data_set: DataSet, tmp_path: Path) -> None:
    manifest = read_manifest(data_set.root / "nol.json")
    write_manifest(tmp_path / "nol.json", manifest)
    assert (tmp_path / "nol.json").read_bytes() == (data_set.root / "nol.json").read_bytes()
    assert manifest.arrays[0].dimensions == ("location", "season", "band_s2_l1c_10m", "y_10m", "x_10m")
    assert manifest.arrays[0].shape == (10, 3, 4, 12, 12)


def test_an_unchanged_manifest_keeps_its_time(own_data_set: DataSet) -> None:
    path = own_data_set.root / "nol.json"
    before = path.stat().st_mtime_ns
    write_manifest(path, read_manifest(path))
    assert path.stat().st_mtime_ns == before


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_schemas_in_the_repository_are_those_of_the_models(name: str) -> None:
    stored = (ROOT / "schemas" / name).read_text(encoding="utf-8")
    assert stored == schema_text(SCHEMAS[name]), "run `python -m noldo.schemas`"


def test_schemas_are_written_to_any_folder(tmp_path: Path) -> None:
    write_schemas(tmp_path / "new")
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == sorted([*SCHEMAS, *READ_FROM_USERS])


def test_another_reader_accepts_what_we_write(data_set: DataSet) -> None:
    for name, model in (("nol.json", Manifest), ("nol.run.json", RunReport)):
        tree = json.loads((data_set.root / name).read_bytes())
        jsonschema.validate(tree, json.loads(schema_text(model)))


def test_another_reader_refuses_what_is_wrong(data_set: DataSet) -> None:
    tree = json.loads((data_set.root / "nol.json").read_bytes()) | {"synthetic": "perhaps"}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(tree, json.loads(schema_text(Manifest)))


def test_keys_of_a_newer_noldo_are_ignored(own_data_set: DataSet) -> None:
    path = own_data_set.root / "nol.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | {"moon_phase": 3}))
    assert read_manifest(path).name == "made_up"


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, StoreError, "can't be read"),
        ("{", StoreFormatError, "not a JSON object"),
        ('{"format_version": 2}', StoreFormatError, "upgrade noldo"),
        ("{}", StoreFormatError, "format None.*rebuild"),
        ('{"format_version": 1}', StoreFormatError, "subset: Field required"),
    ],
)
def test_what_is_no_manifest_is_told_in_one_line(
    tmp_path: Path, content: str | None, error: type[Exception], message: str
) -> None:
    path = tmp_path / "nol.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(error, match=message) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_run_record_survives_the_way_to_disk(tmp_path: Path) -> None:
    report = RunReport(seconds={"pack": 1.5})
    write_run_report(tmp_path / "nol.run.json", report)
    assert read_run_report(tmp_path / "nol.run.json") == report

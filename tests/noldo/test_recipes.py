"""Every recipe in the project can be read, and says what it is for."""

from pathlib import Path

import pytest
import yaml

from noldo.training.recipe import load_recipe
from noldo.training.study import load_study, plan

FOLDER = Path(__file__).parents[2] / "recipes"
FILES = sorted(FOLDER.rglob("*.yaml"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_recipe_or_study_is_read_and_its_header_says_how_to_run_it(path):
    text = path.read_text()
    if "kind" in yaml.safe_load(text):
        command = f"noldo {load_recipe(path).kind.replace('_', '-')} recipes/{path.relative_to(FOLDER)}"
    else:
        study = load_study(path)
        assert plan(study, seeds=study.seeds, where=str(path))
        command = f"noldo reproduce recipes/{path.relative_to(FOLDER)}"
        if path.parent.name == "paper":
            command = (
                f"noldo reproduce --tables {path.stem.upper().replace('_V', '_v')} --seeds {len(study.seeds)}"
            )
    assert f"#   {command} --out runs/" in text


def test_there_are_recipes():
    assert len(FILES) >= 5

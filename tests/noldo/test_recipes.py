"""Every recipe in the project can be read, and says what it is for."""

import csv
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


def test_every_known_figure_of_the_other_two_papers_says_what_became_of_it():
    with (FOLDER / "paper" / "other_papers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["here"] for row in rows} <= {"reproduced", "not reproducible here", "not known here"}
    assert all((row["why"] and row["source"]) or row["here"] == "not known here" for row in rows)
    assert all(bool(row["value"]) == (row["here"] != "not known here") for row in rows)
    docs = (FOLDER.parent / "docs" / "published.md").read_text(encoding="utf-8")
    for paper in {row["paper"] for row in rows}:
        figures = [row for row in rows if row["paper"] == paper and row["value"]]
        assert f"| {paper} | {len(figures)} |" in docs


def test_a_phase_is_told_only_where_the_figure_has_one():
    """Manual labels exist for val and test alone, and neither they nor the shares of classes are known to be of one split."""
    with (FOLDER / "paper" / "other_papers.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["phase"] for row in rows} == {"val", "test", ""}
    of_all = [row for row in rows if row["what"].startswith(("pseudo-labels against manual", "share of"))]
    assert len(of_all) == 17
    assert {row["phase"] for row in of_all} == {""}
    assert all(row["phase"] for row in rows if row["value"] and row not in of_all)

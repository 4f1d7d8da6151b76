import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from noldo.errors import ConfigError
from noldo.training.recipe import TransferRecipe
from noldo.training.results_table import (
    Figure,
    Line,
    RunScores,
    csv_of,
    difference,
    figure_of,
    html_page,
    markdown,
    published_figures,
    read_published,
)
from noldo.training.study import CurvesFigure, Row, Share, Study, load_study, located, plan
from noldo.training.study_figure import curves_of, write_study_figure

STUDY = Study(
    name="DW",
    before={"cromss": {"kind": "pretrain", "data": {"store": "a"}, "seed": 7}},
    base={"kind": "transfer", "data": {"store": "b", "subset": "dw"}, "epochs": 3},
    columns={"frozen": {"mode": "frozen"}, "finetuned": {"mode": "finetuned"}},
    rows=(Row(name="random"), Row(name="CromSS, mid", set={"weights": "{cromss}", "data": {"bands": 9}})),
)


def test_every_row_is_planned_with_every_column_and_seed_and_pretraining_comes_first():
    runs = plan(STUDY, seeds=(1, 2), where="s.yaml")
    assert [run.folder for run in runs] == [
        "before/cromss",
        *(f"random/{column}/seed-{seed}" for column in ("frozen", "finetuned") for seed in (1, 2)),
        *(f"cromss-mid/{column}/seed-{seed}" for column in ("frozen", "finetuned") for seed in (1, 2)),
    ]
    last = runs[-1]
    assert isinstance(last.recipe, TransferRecipe)
    assert (last.recipe.seed, last.recipe.mode, last.recipe.epochs) == (2, "finetuned", 3)
    assert (last.recipe.data.store, last.recipe.data.bands) == ("b", 9)
    assert last.needs == ("before/cromss",)


def test_weights_in_braces_become_the_folder_of_the_run_before():
    run = plan(STUDY, seeds=(1,), where="s.yaml")[-1]
    recipe = located(run, folder=Path("out"))
    assert isinstance(recipe, TransferRecipe)
    assert recipe.weights == "out/before/cromss"


def test_changes_reach_every_recipe():
    runs = plan(STUDY, seeds=(1,), where="s.yaml", changes={"epochs": 1, "data": {"num_workers": 0}})
    assert {run.recipe.epochs for run in runs} == {1}
    assert {run.recipe.data.num_workers for run in runs} == {0}
    assert {run.recipe.data.store for run in runs} == {"a", "b"}


def test_a_schedule_of_another_name_replaces_the_section_and_does_not_mix_with_it():
    study = STUDY.model_copy(
        update={
            "base": {**STUDY.base, "schedule": {"name": "cosine", "epochs": 5}},
            "rows": (Row(name="x", set={"schedule": {"name": "plateau"}}),),
        }
    )
    assert plan(study, seeds=(1,), where="s.yaml")[-1].recipe.schedule.name == "plateau"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": (Row(name="x", set={"weights": "{dino}"}),)}, "weights {dino}: `before` has cromss"),
        ({"rows": (Row(name="x", set={"epoch": 3}),)}, "row 'x', column 'frozen': epoch: Extra inputs"),
        ({"before": {"cromss": {"kind": "pretrain"}}}, "before.cromss: data: Field required"),
    ],
)
def test_what_is_wrong_in_a_study_is_named_with_its_row(changes, words):
    with pytest.raises(ConfigError, match=r"^s\.yaml, ") as error:
        plan(STUDY.model_copy(update=changes), seeds=(1,), where="s.yaml")
    assert words in str(error.value)


def test_a_study_that_cannot_be_read_is_one_line(tmp_path):
    path = tmp_path / "s.yaml"
    for text, words in (("a: [", "not YAML"), ("name: x", "base: Field required"), ("- 1", "study: ")):
        path.write_text(text)
        with pytest.raises(ConfigError, match=words):
            load_study(path)
    with pytest.raises(ConfigError, match="can't be read"):
        load_study(tmp_path / "none.yaml")


def test_two_rows_of_one_name_are_refused():
    with pytest.raises(ValueError, match="cromss-mid twice"):
        Study(name="x", base={}, rows=(Row(name="CromSS mid"), Row(name="CromSS, mid")))


PUBLISHED = [
    {"dataset": "DW", "input": "S2", "weights": "random", "s2_bands": "13", "mode": "frozen", "metric": metric,
     "mean": mean, "std": "0.5"}
    for metric, mean in (("mIoU", "40.0"), ("AA", "50.0"))
]  # fmt: skip


def test_published_figures_are_picked_by_their_columns():
    wanted = {"dataset": "DW", "weights": "random"}
    found = published_figures(PUBLISHED, wanted, column="frozen")
    assert found["mIoU"] == Figure(40.0, 0.5)
    assert published_figures(PUBLISHED, wanted, column="finetuned") == {}
    assert published_figures(PUBLISHED, {}, column="frozen") == {}


def test_a_table_tells_what_is_full_partial_missing_and_only_published():
    published = published_figures(PUBLISHED, {"weights": "random"}, column="frozen")
    ours = {
        score: figure_of([0.41, 0.43]) for score in ("oa", "mean_recall", "mean_precision", "miou", "mf1")
    }
    lines = [
        Line("random", "frozen", ours, published, num_runs=2, num_planned=2),
        Line("half", "frozen", ours, {}, num_runs=2, num_planned=3),
        Line("none", "frozen", {}, published, num_runs=0, num_planned=3),
        Line("theirs", "frozen", {}, published, num_runs=0, num_planned=0),
    ]
    text = markdown(lines, title="DW", note="A note.")
    assert "| random | 2 | 42.00 ± 1.41 | 42.00 ± 1.41 / 50.00 ± 0.50 (-8.00) |" in text
    assert "42.00 ± 1.41 / 40.00 ± 0.50 (+2.00)" in text
    assert "| half | 2 of 3 | 42.00 ± 1.41 |" in text
    assert "| none | 0 of 3 | – | – / 50.00 ± 0.50 |" in text
    assert "| theirs | published only |" in text
    assert "A note." in text
    assert difference(lines[0], "miou") == pytest.approx(2.0)
    assert difference(lines[2], "miou") is None
    page = html_page(lines, title="<DW>")
    assert "&lt;DW&gt;" in page
    assert page.count("<tr class=") == 4
    assert 'class="partial"' in page


def test_one_run_has_no_spread():
    assert str(figure_of([0.5])) == "50.00"


def test_published_results_without_their_columns_are_refused(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("dataset,mean\nDW,1\n")
    with pytest.raises(ConfigError, match="no column input, metric, mode"):
        read_published(path)
    with pytest.raises(ConfigError, match="can't be read"):
        read_published(tmp_path / "none.csv")


@given(st.integers(1, 9))
def test_shares_are_disjoint_and_complete_and_the_first_makes_what_others_need(of):
    runs = plan(STUDY, seeds=(1, 2, 3), where="s.yaml")
    shares = [Share(number, of).of_runs(runs) for number in range(1, of + 1)]
    assert sorted(run.folder for share in shares for run in share) == sorted(run.folder for run in runs)
    assert shares[0][0].folder == "before/cromss"


@pytest.mark.parametrize("text", ["", "1", "0/2", "3/2", "a/b", "1/2/3", "-1/2"])
def test_a_share_that_is_none_is_refused(text):
    with pytest.raises(ConfigError, match="expected number/of"):
        Share.parse(text)


def test_raw_results_have_a_line_for_each_run_and_modality_of_pretraining():
    scores = {"oa": 0.5, "mean_recall": 0.4, "mean_precision": 0.3, "miou": 0.2, "mf1": 0.1}
    alone = {
        "split": "val", "num_locations": 2, "num_pixels": 9, "scores": scores,
        "scores_of_present_classes": {"miou": 0.15},
    }  # fmt: skip
    both = alone | {"outputs": {"s1_grd": alone, "s2_l1c": alone}}
    text = csv_of([RunScores("a", "b", 1, "s2_l1c", alone), RunScores("c", "d", 2, "", both)])
    rows = list(csv.DictReader(text.splitlines()))
    assert [(row["row"], row["seed"], row["modality"]) for row in rows] == [
        ("a", "1", "s2_l1c"), ("c", "2", "s1_grd"), ("c", "2", "s2_l1c"),
    ]  # fmt: skip
    assert {(row["split"], row["miou"], row["miou_of_present_classes"]) for row in rows} == {
        ("val", "0.2", "0.15")
    }


def line(row: str, column: str, *shares: float) -> Line:
    ours = {"miou": figure_of(shares)} if shares else {}
    return Line(row, column, ours, {}, num_runs=len(shares), num_planned=3)


def test_curves_run_along_the_columns_and_skip_what_was_not_run(tmp_path):
    lines = [line("plain", "none", 0.5, 0.7), line("plain", "half"), line("both", "half", 0.3)]
    lines.append(Line("theirs", "none", {}, {}, num_runs=0, num_planned=0))
    columns = {50.0: "half", 0.0: "none"}
    found = curves_of(lines, columns=columns, score="miou")
    assert {row: [(x, figure.mean) for x, figure in points] for row, points in found.items()} == {
        "plain": [(0.0, pytest.approx(60))],
        "both": [(50.0, pytest.approx(30))],
    }
    curves = CurvesFigure(x="wrong (%)", panels={"uniform": columns})
    for name in ("a.png", "b.png"):
        write_study_figure(tmp_path / name, lines, curves=curves, title="t")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_curves_of_a_column_that_is_not_there_are_refused():
    with pytest.raises(ValueError, match="no column frosen"):
        Study(name="x", base={}, rows=STUDY.rows, columns=STUDY.columns,
              curves=CurvesFigure(x="x", panels={"a": {0: "frosen"}}))  # fmt: skip

"""Losses that recipes name: matrices T read from files of `noldo compare-labels`, and runs that learn with them."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from noldo.compare_labels import compare_labels
from noldo.compare_table import CSV_COLUMNS, write_csv
from noldo.confusion import LabelComparison
from noldo.errors import ConfigError
from noldo.legend import DYNAMIC_WORLD
from noldo.method.confidence import log_probabilities
from noldo.method.cross_entropy import cross_entropy
from noldo.method.labels import one_hot
from noldo.training.evaluating import Judged, evaluate_run
from noldo.training.losses import label_loss_of
from noldo.training.recipe import TransferRecipe
from noldo.training.run_folder import RunFolder, read_checkpoint
from noldo.training.runs import run_recipe
from noldo.transition_file import read_transition
from tests.noldo.label_store import write_label_store
from tests.noldo.made_up_data_set import DataSet
from tests.noldo.training_set import pretrain_recipe, transfer_recipe, write_training_set

torch.set_num_threads(1)

CLASSES = DYNAMIC_WORLD.classes
HARD = {"smoothing": None}
PREDICTED = (0.5, 0.25, 0.125, 0.125)
ENTROPY = -sum(p * math.log(p) for p in PREDICTED)
SURPRISE = -sum(math.log(p) for p in PREDICTED)


def compared(folder: Path, *, absent: int | None = None) -> LabelComparison:
    """Experts against Dynamic World, which errs in a third of the pixels; experts never give the absent class."""
    random = np.random.default_rng(5)
    expert = random.integers(0, 9, (8, 1, 24, 24)).astype(np.uint8)
    wrong = random.random(expert.shape) < 0.33
    labels = {
        "dynamic_world": np.where(wrong, random.integers(0, 9, expert.shape), expert).astype(np.uint8),
        "expert": np.where(expert == absent, 255, expert).astype(np.uint8),
    }
    return compare_labels(write_label_store(folder, labels), of="expert", against="dynamic_world")


def written(folder: Path, comparison: LabelComparison, *, kind: str = "csv") -> Path:
    path = folder / f"t.{kind}"
    if kind == "csv":
        write_csv(path, comparison)
    else:
        path.write_text(comparison.model_dump_json())
    return path


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_a_matrix_is_read_as_it_was_compared(tmp_path: Path, kind: str) -> None:
    comparison = compared(tmp_path / "s", absent=8)
    found = read_transition(written(tmp_path, comparison, kind=kind), classes=CLASSES)
    np.testing.assert_array_equal(found, comparison.transition())
    assert np.isnan(found[8]).all()


def loss_of(path: Path, *, name: str = "forward", **keys: Any) -> Any:
    recipe = transfer_recipe(Path("x"), loss={"name": name, "transition": str(path), **keys})
    assert isinstance(recipe, TransferRecipe)
    return label_loss_of(recipe.loss, classes=CLASSES, device=torch.device("cpu"))


@pytest.mark.parametrize("name", ["forward", "backward"])
def test_a_correction_by_a_file_knows_rows_as_true_and_columns_as_labels(tmp_path: Path, name: str) -> None:
    """The prediction is sure of class 0, and the labels say 1: forward correction asks T[0, 1] for it."""
    comparison = compared(tmp_path / "s")
    labels = torch.ones(1, 2, 2, dtype=torch.uint8)
    logits = torch.zeros(1, 9, 2, 2)
    logits[:, 0] = 50
    found = loss_of(written(tmp_path, comparison), name=name)(
        log_probabilities(logits), one_hot(labels, num_classes=9), weights_NHW=torch.ones(1, 2, 2)
    )
    transition = comparison.transition()
    expected = {
        "forward": -np.log(transition[0, 1]),
        "backward": 50 * np.linalg.inv(transition)[1, 1:].sum(),
    }
    assert found.item() == pytest.approx(expected[name], rel=1e-4)


def test_an_absent_class_is_refused_or_taken_as_right(tmp_path: Path) -> None:
    path = written(tmp_path, compared(tmp_path / "s", absent=8))
    with pytest.raises(
        ConfigError, match=r"t\.csv: row 8 of T is unknown.*absent_classes: identity"
    ) as error:
        loss_of(path)
    assert "\n" not in str(error.value)
    assert callable(loss_of(path, absent_classes="identity"))


def changed_csv(folder: Path, change: Any) -> Path:
    path = written(folder, compared(folder / "s"))
    with path.open(newline="") as file:
        lines = list(csv.DictReader(file))
    columns, lines = change(list(CSV_COLUMNS), lines)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(lines)
    return path


def with_value(at: int, column: str, value: str) -> Any:
    def change(columns: list[str], lines: list[dict[str, str]]) -> Any:
        lines[at][column] = value
        return columns, lines

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda columns, lines: (columns[:4], lines), "columns .*, but T needs probability; write it with"),
        (lambda columns, lines: (columns, lines[:-1]), "80 pairs of classes, expected 81"),
        (lambda columns, lines: (columns, lines + lines[:1]), "line 83: water and water for the second time"),
        (with_value(3, "probability", "a\nb"), r"probability 'a b': expected a number"),
        (with_value(0, "probability", "0.9999"), r"row 0 of T is \[0.9999, .*expected shares"),
        (with_value(0, "probability", ""), r"row 0 of T is \[nan, "),
        (
            with_value(2, "other", "lawn"),
            "line 4: other class 2 'lawn', but the labels have 0 water, 1 trees",
        ),
        (with_value(2, "reference_id", "9"), "line 4: reference class 9 'water', but the labels have"),
    ],
)
def test_a_csv_that_holds_no_matrix_of_these_classes_is_one_line(
    tmp_path: Path, change: Any, words: str
) -> None:
    with pytest.raises(ConfigError, match=words) as error:
        loss_of(changed_csv(tmp_path, change))
    assert str(error.value).startswith(str(tmp_path / "t.csv"))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"noise_matrix": [[1.0]]}, "noise_matrix is not 9 by 9"),
        ({"noise_matrix": "x"}, "not a comparison of labels .noise_matrix: "),
        (
            {"legend": {"name": "m", "classes": ["sea", "land"], "colours": ["#000000", "#ffffff"]}},
            "T of sea, land, but the labels have water, trees, .*; compare them with labels of their own legend",
        ),
    ],
)
def test_a_json_that_holds_no_matrix_of_these_classes_is_one_line(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    path = written(tmp_path, compared(tmp_path / "s"), kind="json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ConfigError, match=words) as error:
        loss_of(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.csv", None, r"none.csv: can't be read \(No such file or directory\); write it with `noldo compare"),
        ("t.csv", b"\xff\xfe", r"t.csv: can't be read \(not text\)"),
        ("t.csv", b"", "t.csv: columns none, but T needs reference_id, reference"),
        ("t.json", b"{", r"t.json: not a comparison of labels \(: Invalid JSON"),
        ("t.npy", b"1", r"t.npy: expected a name that ends in .csv or .json"),
    ],
)  # fmt: skip
def test_a_file_that_is_none_of_a_comparison_is_one_line(
    tmp_path: Path, name: str, content: bytes | None, words: str
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigError, match=words) as error:
        loss_of(tmp_path / name)
    assert "\n" not in str(error.value)


def test_the_loss_of_a_recipe_that_names_none_is_the_cross_entropy_of_before() -> None:
    recipe = transfer_recipe(Path("x"))
    assert isinstance(recipe, TransferRecipe)
    assert label_loss_of(recipe.loss, classes=CLASSES, device=torch.device("cpu")) is cross_entropy


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"name": "sce", "alpha": 2, "beta": 3, "log_zero": -4}, 2 * math.log(4) + 3 * 4 * 0.75),
        ({"name": "sce_compat", "alpha": 2, "beta": 3}, 5 * math.log(4)),
        ({"name": "gce", "q": 0.5}, (1 - 0.5) / 0.5),
        (
            {"name": "nce_rce", "alpha": 2, "beta": 3, "log_zero": -4},
            2 * math.log(4) / SURPRISE + 3 * 4 * 0.75,
        ),
        ({"name": "agce", "a": 3, "q": 3}, (4**3 - 3.25**3) / 3),
        ({"name": "bootstrap_soft", "beta": 0.5}, 0.5 * math.log(4) + 0.5 * ENTROPY),
        ({"name": "bootstrap_hard", "beta": 0.5}, 0.5 * math.log(4) - 0.5 * math.log(0.5)),
    ],
    ids=lambda one: one["name"] if isinstance(one, dict) else "",
)
def test_parameters_of_a_recipe_reach_their_formula(keys: dict[str, Any], expected: float) -> None:
    """Four classes; the labelled one has a probability of 1/4."""
    recipe = transfer_recipe(Path("x"), loss=keys)
    assert isinstance(recipe, TransferRecipe)
    loss = label_loss_of(recipe.loss, classes="abcd", device=torch.device("cpu"))
    log_q = torch.tensor(PREDICTED, dtype=torch.float64).log().reshape(1, 4, 1, 1)
    target = torch.tensor([0.0, 1, 0, 0], dtype=torch.float64).reshape(1, 4, 1, 1)
    found = loss(log_q, target, weights_NHW=torch.ones(1, 1, 1, dtype=torch.float64))
    assert found.item() == pytest.approx(expected, rel=1e-9)


# ---- runs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return write_training_set(tmp_path_factory.mktemp("set"))


def weights_after(recipe: Any, out: Path) -> torch.Tensor:
    """All weights of a finished run, one after the other."""
    run_recipe(recipe, out=out)
    network = read_checkpoint(RunFolder(out).checkpoint("last"))["network"]
    return torch.cat([value.flatten() for value in network.values() if value.is_floating_point()])


def test_two_modalities_learn_with_gce_and_their_encoder_learns_on_with_sce(
    store: DataSet, tmp_path: Path
) -> None:
    """Both runs end, the second begins from the first, and neither is the one with cross-entropy."""
    found = {}
    for name in ("ce", "gce"):
        pretrain = pretrain_recipe(store.root, epochs=1, method=HARD | {"loss": {"name": name}})
        found[name] = weights_after(pretrain, tmp_path / name)
    assert found["ce"].isfinite().all()
    assert found["gce"].isfinite().all()
    assert not torch.equal(found["ce"], found["gce"])
    for name in ("ce", "sce"):
        transfer = transfer_recipe(
            store.root, epochs=1, loss={"name": name}, weights=str(tmp_path / "gce"), modality="s1_grd"
        )
        found[f"{name} after"] = weights_after(transfer, tmp_path / f"{name}-after")
    assert not torch.equal(found["ce after"], found["sce after"])
    terms = [RunFolder(tmp_path / f"{name}-after").metrics()[0]["train"] for name in ("ce", "sce")]
    assert [list(one) for one in terms] == [["loss", "cross_entropy", "dice"], ["loss", "sce", "dice"]]
    # The first step sees the same network: Dice is the same, the other term is not.
    assert terms[0]["dice"] == terms[1]["dice"]
    assert terms[0]["cross_entropy"] != terms[1]["sce"]


def test_one_modality_and_transfer_learn_with_the_loss_of_their_recipe_and_without_dice(
    store: DataSet, tmp_path: Path
) -> None:
    """The first step of all three sees one network and one batch."""
    first = {}
    for name in ("ce", "sce", "bootstrap_hard"):
        keys = {"loss": {"name": name}, "dice": False}
        pretrain = pretrain_recipe(
            store.root, modalities=["s2_l1c"], epochs=1, method={"selection": None, **keys}
        )
        for recipe in (pretrain, transfer_recipe(store.root, epochs=1, **keys)):
            out = tmp_path / f"{recipe.kind}-{name}"
            run_recipe(recipe, out=out)
            terms = RunFolder(out).metrics()[0]["train"]
            assert terms["dice"] == 0
            assert terms["loss"] == terms["cross_entropy" if name == "ce" else name]
            first[recipe.kind, name] = terms["loss"]
    assert len(set(first.values())) == len(first)


def test_a_run_is_judged_without_the_matrix_that_it_learnt_with(store: DataSet, tmp_path: Path) -> None:
    path = written(tmp_path, compared(tmp_path / "s"))
    recipe = transfer_recipe(store.root, epochs=1, loss={"name": "forward", "transition": str(path)})
    result = run_recipe(recipe, out=tmp_path / "run")
    path.unlink()
    assert evaluate_run(tmp_path / "run", where=Judged())["confusion"] == result["confusion"]


def test_a_matrix_of_another_legend_stops_a_run_before_it_begins(store: DataSet, tmp_path: Path) -> None:
    path = changed_csv(tmp_path, with_value(0, "other", "sea"))
    recipe = pretrain_recipe(store.root, method=HARD | {"loss": {"name": "forward", "transition": str(path)}})
    with pytest.raises(ConfigError, match="line 2: other class 0 'sea', but the labels have 0 water"):
        run_recipe(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run/recipe.json").exists()

"""Which labels are wrong: scores of patches, and the audit of a store by networks that are blind to it."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from noldo.__main__ import main
from noldo.audit.auditing import How, Jury, Labels, learnt_places
from noldo.audit.report import agreement
from noldo.audit.scores import (
    SCORES,
    TEMPERATURE,
    Pixels,
    cleanlab_score,
    mean_cross_entropy,
    mean_cross_entropy_by_class,
    worst_first,
)
from noldo.audit.table import Row
from noldo.errors import MissingExtraError
from noldo.label_store import write_label_store
from noldo.manifest import SourceRecord
from noldo.paths import find_subset
from noldo.prediction.mapper import load_mapper
from noldo.training.data_keys import LabelNoise
from noldo.training.label_noise import rate_of
from noldo.training.runs import run_recipe
from noldo.training.splits import open_split
from tests.noldo.training_set import pretrain_recipe, transfer_recipe, write_training_set

OWN_SCORES = "cross_entropy,cross_entropy_by_class"
SEEDS = st.integers(0, 999)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def pixels_of(seed: int, count: int = 50, num_classes: int = 4) -> Pixels:
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.full(num_classes, 0.5), size=count).astype(np.float32)
    return Pixels(rng.integers(0, num_classes, count), probabilities)


# ---- scores ----------------------------------------------------------------------------------------------------------


@given(SEEDS)
def test_the_score_of_cleanlab_is_the_soft_minimum_of_the_labelled_probabilities(seed):
    """Formula of cleanlab 2.9.0, `internal.multilabel_scorer.softmin`: the mean of p_y with weights exp((1 - p_y) / 0.1)."""
    pytest.importorskip("cleanlab", reason="cleanlab is optional (extra `audit`), and not installed here")
    pixels = pixels_of(seed)
    weights = np.exp((1 - pixels.own) / TEMPERATURE)
    assert cleanlab_score(pixels) == pytest.approx((weights * pixels.own).sum() / weights.sum(), rel=1e-6)


def test_without_cleanlab_its_score_is_one_line(monkeypatch):
    monkeypatch.setattr("noldo.audit.scores.find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"score cleanlab needs cleanlab; .*\[audit\].* or leave it out"
    ):
        How(("cross_entropy", "cleanlab"))
    How(("cross_entropy",))


@given(SEEDS)
def test_each_class_counts_alike_in_the_score_by_class(seed):
    pixels = pixels_of(seed)
    losses = -np.log(np.maximum(pixels.own, 1e-7))
    each = [losses[pixels.labels == one].mean() for one in np.unique(pixels.labels)]
    assert mean_cross_entropy_by_class(pixels) == pytest.approx(np.mean(each))
    assert mean_cross_entropy(pixels) == pytest.approx(losses.mean())


@pytest.mark.parametrize("name", [name for name in SCORES if name != "cleanlab"])
@given(seed=SEEDS)
def test_a_score_depends_on_no_order_and_is_finite_where_a_label_has_no_chance(name, seed):
    pixels = pixels_of(seed)
    pixels.probabilities[:3] = np.eye(4, dtype=np.float32)[(pixels.labels[:3] + 1) % 4]
    order = np.random.default_rng(seed).permutation(len(pixels.labels))
    turned = Pixels(pixels.labels[order], pixels.probabilities[order])
    assert np.isfinite(SCORES[name].of(pixels))
    assert SCORES[name].of(turned) == pytest.approx(SCORES[name].of(pixels))


def test_ranks_begin_with_the_worst_and_leave_out_what_was_not_judged():
    values = np.array([0.2, 0.9, np.nan, 0.9, 0.1])
    assert worst_first(values, score="cross_entropy").tolist() == [3, 1, 0, 2, 4]
    assert worst_first(values, score="cleanlab").tolist() == [2, 3, 0, 4, 1]


@pytest.mark.parametrize("score", ["cross_entropy", "cleanlab"])
def test_agreement_is_1_if_a_score_orders_patches_as_the_known_errors_do(score):
    sign = 1 if SCORES[score].higher_is_worse else -1
    rows = [Row(n, 1, False, 9, 0.0, "", {score: sign * n / 9}, {score: 1}, wrong=n / 10) for n in range(8)]
    found = agreement(rows, score=score)
    assert found is not None
    assert (found.kendall, found.spearman) == pytest.approx((1, 1))
    assert found.num_patches == 8
    assert agreement([Row(**{**vars(row), "wrong": None}) for row in rows], score=score) is None


# ---- noise that varies ---------------------------------------------------------------------------------------------


def test_rates_that_vary_are_even_from_0_to_twice_the_rate_and_a_locations_own():
    noise = LabelNoise(kind="uniform", rate=0.3, vary=True)
    rates = [rate_of(noise, location=one, seed=1) for one in range(2_000)]
    assert min(rates) < 0.01
    assert max(rates) > 0.59
    assert np.mean(rates) == pytest.approx(0.3, abs=0.01)
    assert rates[:5] == [rate_of(noise, location=one, seed=1) for one in range(5)]
    assert rate_of(noise.model_copy(update={"vary": False}), location=3, seed=1) == 0.3
    with pytest.raises(ValueError, match=r"rate 0\.6: with `vary` it is at most 0.5"):
        LabelNoise(kind="pair", rate=0.6, vary=True)


# ---- the audit ------------------------------------------------------------------------------------------------------


NUM_TRAIN = 12
NOISE = {"kind": "uniform", "rate": 0.3, "vary": True}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and two runs that are each blind to a half of its train split; labels of train have errors of known rates."""
    root = tmp_path_factory.mktemp("audit")

    def spread(pixels: dict[str, np.ndarray], rows: dict[str, np.ndarray]) -> None:
        rows["x_ul"] = 60_000 * np.arange(len(rows["x_ul"]))

    store = write_training_set(root / "store", then=spread, num_locations=20).root
    for fold in ("1", "2"):
        data = {"store": str(store), "num_workers": 0, "bands": 3, "hold_out": f"{fold}/2", "noise": NOISE}
        recipe = transfer_recipe(store, data=data, epochs=30, val_epochs=30, optimiser={"lr": 3e-3})
        run_recipe(recipe, out=root / f"fold-{fold}")
    return root


def audit(
    place: Path, out: Path, *more: str, runs: tuple[str, ...] = ("fold-1", "fold-2")
) -> list[dict[str, str]]:
    folders = [str(place / run) for run in runs]
    scores = () if "--scores" in more else ("--scores", OWN_SCORES)
    main(["audit", *folders, "--out", str(out), *scores, *more])
    return list(csv.DictReader((out / "audit.csv").read_text().splitlines()))


MIN_TAU = 0.45
"""Chance has a standard deviation of 0.22 on 12 patches (sqrt(2 (2 n + 5) / (9 n (n - 1)))): this is 2.1 of them. Measured here: 0.61."""


def test_an_audit_orders_patches_by_their_share_of_wrong_labels(place, tmp_path, capsys):
    rows = audit(place, tmp_path, "--clean-source", "dynamic_world", "--no-flips")
    told = capsys.readouterr().out
    assert len(rows) == NUM_TRAIN
    rates = [rate_of(LabelNoise.model_validate(NOISE), location=int(row["id"]), seed=42) for row in rows]
    assert [float(row["wrong"]) for row in rows] == pytest.approx(rates, abs=0.02)
    assert all(row["num_runs"] == "1" and row["in_sample"] == "0" for row in rows)
    tau = float(told.split("cross_entropy and the known share of wrong labels: Kendall's tau ")[1].split()[0])
    assert tau > MIN_TAU
    assert (tmp_path / "worst.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "audit.md").read_text()
    worst = min(rows, key=lambda row: int(row["rank_cross_entropy"]))
    assert f"| 1 | {worst['id']} |" in page
    assert f"the worst by cross_entropy are {worst['id']}" in told


def test_the_score_of_cleanlab_orders_patches_so_too(place, tmp_path, capsys):
    pytest.importorskip("cleanlab", reason="cleanlab is optional (extra `audit`), and not installed here")
    rows = audit(place, tmp_path, "--scores", "cleanlab", "--clean-source", "dynamic_world", "--no-flips")
    assert sorted(int(row["rank_cleanlab"]) for row in rows) == list(range(1, NUM_TRAIN + 1))
    assert all(0 <= float(row["cleanlab"]) <= 1 for row in rows)
    told = capsys.readouterr().out
    tau = float(told.split("cleanlab and the known share of wrong labels: Kendall's tau ")[1].split()[0])
    assert tau > MIN_TAU


def test_a_patch_is_judged_by_those_that_did_not_learn_from_it(place):
    mappers = [load_mapper(place / f"fold-{fold}") for fold in (1, 2)]
    jury = Jury(mappers, what=Labels(), how=How(("cross_entropy",)))
    for run, mapper in enumerate(mappers):
        learnt = open_split(mapper.recipe.data, split="train", modalities=("s2_l1c",), seed=0)
        assert [one in learnt.ids for one in jury.ids] == (~jury.blind[run]).tolist()
    both = jury.judged(0).probabilities
    jury.blind = ~jury.blind
    assert not np.array_equal(jury.judged(0).probabilities, both)


def test_patches_that_every_run_learnt_from_are_refused_unless_that_is_asked_for(place, tmp_path, capsys):
    with pytest.raises(SystemExit):
        audit(place, tmp_path, runs=("fold-1",))
    told = capsys.readouterr().err
    assert "locations were learnt from by every run, e.g. " in told
    assert "a network that remembers a wrong label calls it right; give runs with data.hold_out" in told
    rows = audit(place, tmp_path, "--in-sample", "--no-flips", runs=("fold-1",))
    assert {row["in_sample"] for row in rows} == {"0", "1"}
    assert "IN SAMPLE: " in (tmp_path / "audit.md").read_text()


def test_val_and_labels_of_another_store_can_be_audited(place, tmp_path):
    found = find_subset(place / "store")
    source = SourceRecord(product="truth", collection="made up", licence="CC0-1.0", attribution="Nobody")
    labels = np.zeros((3, 66, 66), np.uint8)
    labels[:, 33:] = 255
    write_label_store(
        found, tmp_path / "labels", product="truth", maps=lambda row: labels, source=source, provenance={}
    )
    label_store = str(tmp_path / "labels")
    rows = audit(place, tmp_path / "out", "--split", "val", "--label-store", label_store, "--no-flips")
    assert [row["labelled_px"] for row in rows] == [str(3 * 33 * 66)] * 4
    assert {row["num_runs"] for row in rows} == {"2"}
    assert all(row["worst_pair"].startswith("water > ") for row in rows)
    one = audit(place, tmp_path / "one", "--split", "val", "--label-store", label_store, "--season", "spring")
    assert [row["labelled_px"] for row in one] == [str(33 * 66)] * 4


def test_patches_without_labels_are_named_and_not_ranked(place, tmp_path):
    found = find_subset(place / "store")
    source = SourceRecord(product="truth", collection="made up", licence="CC0-1.0", attribution="Nobody")
    write_label_store(
        found,
        tmp_path / "labels",
        product="truth",
        maps=lambda row: np.full((3, 66, 66), 255 if row == 2 else 4, np.uint8),
        source=source,
        provenance={},
    )
    rows = audit(
        place, tmp_path / "out", "--split", "val", "--label-store", str(tmp_path / "labels"), "--no-flips"
    )
    assert [row["cross_entropy"] == "" for row in rows] == [True, False, False, False]
    assert sorted(row["rank_cross_entropy"] for row in rows) == ["", "1", "2", "3"]
    page = (tmp_path / "out/audit.md").read_text()
    assert f"1 of them have no label that could be judged, e.g. {rows[0]['id']}." in page


def test_what_weights_were_pretrained_on_was_learnt_from_too(place, tmp_path):
    store = place / "store"
    run_recipe(pretrain_recipe(store, epochs=1), out=tmp_path / "pretrained")
    data = {"store": str(store), "num_workers": 0, "bands": 3, "hold_out": "1/2"}
    alone = transfer_recipe(store, data=data)
    warm = transfer_recipe(store, data=data, weights=str(tmp_path / "pretrained"))
    assert learnt_places(alone) < learnt_places(warm)
    assert len(learnt_places(warm)) == NUM_TRAIN
    assert len(learnt_places(transfer_recipe(store, data=data | {"hold_out": None, "max_train": 2}))) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--scores", "magic"], "scores magic: expected some of cross_entropy"),
        (["--split", "all"], "split 'all': expected one of train, val, test"),
        (["--label-source", "osm"], "label_source 'osm'"),
        (["--clean-source", "osm"], "label_source 'osm'"),
    ],
)
def test_what_is_wrong_is_one_line(place, tmp_path, capsys, arguments, words):
    with pytest.raises(SystemExit):
        audit(place, tmp_path, *arguments)
    (told,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("noldo: ")]
    assert words in told


def test_runs_of_other_labels_say_which_are_meant(place, tmp_path, capsys):
    store = place / "store"
    run_recipe(transfer_recipe(store, epochs=1), out=tmp_path / "other")
    with pytest.raises(SystemExit):
        main(
            [
                "audit",
                str(place / "fold-1"),
                str(tmp_path / "other"),
                "--out",
                str(tmp_path),
                "--scores",
                OWN_SCORES,
            ]
        )
    assert "runs of other labels (noise: " in capsys.readouterr().err

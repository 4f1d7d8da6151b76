"""The trainer's verbs, as users call them."""

import csv
import json
from pathlib import Path

import pytest
import torch
import yaml

from noldo.__main__ import main
from noldo.weights.encoders import load_encoder, read_card
from tests.noldo.training_set import pretrain_recipe, transfer_recipe, write_training_set

torch.set_num_threads(1)

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a store, recipes, and one run of each kind."""
    root = tmp_path_factory.mktemp("place")
    store = write_training_set(root / "store").root
    for name, recipe in (("pretrain", pretrain_recipe(store)), ("transfer", transfer_recipe(store))):
        (root / f"{name}.yaml").write_text(yaml.safe_dump(recipe.model_dump(mode="json")))
    return root


@pytest.fixture(scope="module")
def runs(place: Path) -> Path:
    main(["pretrain", str(place / "pretrain.yaml"), "--out", str(place / "runs/p"), "--set", "epochs=1"])
    main(
        [
            "transfer",
            str(place / "transfer.yaml"),
            "--out",
            str(place / "runs/t"),
            "--set",
            f"weights={place}/runs/p",
        ]
    )
    return place / "runs"


def test_a_run_tells_its_scores_and_a_finished_one_tells_them_again(place, runs, capsys):
    main(["transfer", str(place / "transfer.yaml"), "--out", str(runs / "t"), "--set", f"weights={runs}/p"])
    told = capsys.readouterr().out
    assert "test, 1 locations, 4356 labelled pixels" in told
    assert "snow_and_ice" in told


def test_a_run_is_judged_again_with_the_same_scores_and_its_confusion_is_drawn(runs, capsys, tmp_path):
    figure = tmp_path / "confusion.png"
    main(["evaluate", str(runs / "t"), "--json", "--figure", str(figure)])
    found = json.loads(capsys.readouterr().out)
    stored = json.loads((runs / "t/result.json").read_text())
    assert found["confusion"] == stored["confusion"]
    assert found["scores"] == stored["scores"]
    assert figure.read_bytes().startswith(b"\x89PNG")
    main(["evaluate", str(runs / "t"), "--split", "val", "--json"])
    assert json.loads(capsys.readouterr().out)["num_locations"] == 2


def test_an_encoder_of_a_run_is_written_with_its_card_and_loads_in_three_lines(runs, capsys, tmp_path):
    out = tmp_path / "e.safetensors"
    main(["encoder", str(runs / "p"), "--modality", "s2_l1c", "--out", str(out)])
    assert "tensors loaded" in capsys.readouterr().out
    card = read_card(out)
    assert (card.bands, card.inputs, card.epoch) == (("B4", "B3", "B2"), "scaled", 1)
    with torch.no_grad():
        assert len(load_encoder(out)(torch.rand(1, 3, 64, 64))) == 6


def test_a_study_is_run_and_its_table_printed_and_what_is_there_is_not_run_again(place, capsys, tmp_path):
    recipe = yaml.safe_load((place / "transfer.yaml").read_text())
    study = {
        "name": "Small",
        "base": recipe | {"epochs": 1},
        "columns": {"frozen": {"mode": "frozen"}},
        "rows": [
            {"name": "random", "published": {"weights": "random"}},
            {"name": "lost", "set": {"weights": str(tmp_path / "lost.pth")}},
        ],
        "seeds": [1, 2],
        "results": "published.csv",
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study))
    header = "dataset,input,weights,s2_bands,mode,metric,mean,std\n"
    (tmp_path / "published.csv").write_text(header + "DW,S2,random,,frozen,mIoU,12.5,0.5\n")
    out = tmp_path / "out"
    main(["reproduce", str(path), "--out", str(out), "--seeds", "1"])
    told = capsys.readouterr().out
    assert "| random | 1 |" in told
    assert "/ 12.50 ± 0.50 (" in told
    assert "| lost | 0 of 1 |" in told
    assert "lost.pth: no such file" in told
    assert (out / "table.md").read_text().rstrip() == told.rstrip()
    assert (out / "table.html").read_text().startswith("<!doctype html>")
    (raw,) = csv.DictReader((out / "runs.csv").read_text().splitlines())
    scores = json.loads((out / "random/frozen/seed-1/result.json").read_text())["scores"]
    assert (raw["row"], raw["column"], raw["seed"]) == ("random", "frozen", "1")
    assert {name: float(raw[name]) for name in scores} == scores
    result = out / "random/frozen/seed-1/result.json"
    before = result.stat().st_mtime_ns
    main(["reproduce", str(path), "--out", str(out)])
    assert "| random | 2 |" in capsys.readouterr().out
    assert result.stat().st_mtime_ns == before


@pytest.fixture
def study(place, tmp_path):
    """One row, two columns, of which one has no store."""
    tree = {
        "name": "Small",
        "base": yaml.safe_load((place / "transfer.yaml").read_text()) | {"epochs": 1},
        "columns": {"gone": {"data": {"store": str(tmp_path / "gone")}}, "here": {}},
        "rows": [{"name": "random"}],
        "seeds": [1, 2],
    }
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(tree))
    return path


def test_what_cannot_be_run_of_a_study_does_not_keep_the_rest_from_its_table(study, capsys, tmp_path):
    main(["reproduce", str(study), "--out", str(tmp_path / "out"), "--seeds", "1"])
    told = capsys.readouterr().out
    assert "gone/nol.zarr: no store here" in told
    assert "| random | 0 of 1 |" in told
    assert "| random | 1 |" in told


def test_results_of_other_settings_are_never_taken_for_those_of_a_study(study, capsys, tmp_path):
    arguments = ["reproduce", str(study), "--out", str(tmp_path / "out"), "--seeds", "1"]
    main([*arguments, "--set", "epochs=2"])
    for more in ([], ["--only-table"]):
        with pytest.raises(SystemExit):
            main([*arguments, *more])
        told = capsys.readouterr().err
        assert "random/here/seed-1: belongs to a run with other settings (epochs: 2 there, 1 here)" in told


def test_two_shares_make_a_whole_study(study, capsys, tmp_path):
    for share in ("1/2", "2/2"):
        main(["reproduce", str(study), "--out", str(tmp_path / "out"), "--share", share])
    assert "| random | 2 |" in capsys.readouterr().out


def test_a_table_of_the_paper_is_asked_for_by_name(capsys, monkeypatch, tmp_path):
    """Nothing is run: what the authors published is printed."""
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    monkeypatch.chdir(tmp_path)
    for table in ("DW", "OSM", "DFC2020", "DFC2020_v1"):
        main(["reproduce", "--tables", table, "--seeds", "3", "--only-table"])
        assert "CromSS" in capsys.readouterr().out
        assert (tmp_path / "runs" / table.lower() / "table.md").is_file()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["transfer", "{place}/pretrain.yaml", "--out", "x"], "a recipe of kind pretrain; run it with `noldo pretrain`"),
        (["pretrain", "{place}/none.yaml", "--out", "x"], "can't be read"),
        (["pretrain", "{place}/pretrain.yaml", "--out", "{place}/x", "--set", "data.subset=dw"], "dw"),
        (["pretrain", "{place}/pretrain.yaml", "--out", "{place}/x", "--set", "data.bands=7"], "data.bands: Input should be"),
        (["evaluate", "{place}"], "recipe.json: can't be read"),
        (["evaluate", "{runs}/p"], "a run of kind pretrain; only transfer runs and self_train runs"),
        (["evaluate", "{runs}/t", "--split", "all"], "split 'all': expected one of train, val, test"),
        (["encoder", "{runs}/p", "--modality", "s3", "--out", "x"], "modality s3: networks take"),
        (["encoder", "{runs}/p", "--modality", "s2_l1c", "--out", "x.pt"], "encoders are written as safetensors"),
        (["reproduce", "{place}/pretrain.yaml", "--out", "x"], "base: Field required"),
        (["reproduce", "--out", "x"], "give the file of a study, or --tables"),
        (["reproduce", "{place}/pretrain.yaml", "--tables", "DW"], "one of both"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_one_line(place, runs, capsys, arguments, words):
    filled = [one.format(place=place, runs=runs) for one in arguments]
    with pytest.raises(SystemExit) as ended:
        main(filled)
    assert ended.value.code == 1
    told = capsys.readouterr().err.strip().splitlines()
    assert words in told[-1]
    assert told[-1].startswith("noldo: ")

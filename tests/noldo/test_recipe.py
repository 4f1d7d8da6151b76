import json

import pytest

from noldo.errors import ConfigError
from noldo.method.robust_losses import LOG_ZERO
from noldo.training.recipe import PretrainRecipe, TransferRecipe, load_recipe, recipe_of, resolved

PRETRAIN = {"kind": "pretrain", "data": {"store": "results/x"}}


def test_defaults_of_pretraining_are_the_published_recipe():
    recipe = recipe_of(PRETRAIN, where="x")
    assert isinstance(recipe, PretrainRecipe)
    assert (recipe.epochs, recipe.batch_size, recipe.optimiser.lr, recipe.encoder) == (
        200,
        128,
        5e-3,
        "resnet50",
    )
    assert recipe.method.smoothing is not None
    assert (recipe.method.smoothing.prior_share, recipe.method.smoothing.uniform_share) == (0.15, 0.05)
    assert recipe.method.selection is not None
    assert (recipe.method.selection.share, recipe.method.selection.ramp_epochs) == (0.5, 80)


def test_defaults_of_transfer_are_the_published_recipe():
    recipe = recipe_of({"kind": "transfer", "data": {"store": "x", "subset": "dw"}}, where="x")
    assert isinstance(recipe, TransferRecipe)
    assert (recipe.epochs, recipe.batch_size, recipe.optimiser.lr) == (50, 32, 5e-4)
    assert recipe.schedule.name == "cosine"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"epoch": 3}, "epoch: Extra inputs are not permitted"),
        ({"data": {"store": "x", "stor": 1}}, "data.stor: Extra inputs"),
        ({"kind": "train"}, "recipe: "),
        ({"batch_size": 0}, "batch_size: Input should be greater"),
        (
            {"augmentation": {"crop_px": 16}},
            "augmentation.crop_px: Input should be greater than or equal to 32",
        ),
        ({"modalities": ["s2_l1c"]}, "method.selection needs two modalities"),
        ({"modalities": ["s2_l1c", "s2_l1c"]}, "the same one twice"),
        ({"schedule": {"name": "cosine", "factor": 1}}, "factor: Extra inputs"),
    ],
)
def test_a_wrong_key_or_value_is_named_in_one_line(changes, words):
    with pytest.raises(ConfigError, match=r"^mine\.yaml: ") as error:
        recipe_of(PRETRAIN | changes, where="mine.yaml")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_values_of_the_command_line_stand_in_place_of_those_of_the_file(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("kind: pretrain\ndata:\n  store: results/x\nepochs: 5\n")
    recipe = load_recipe(
        path, changes=["epochs=7", "optimiser.lr=0.1", "method.selection=null", "data.store=elsewhere"]
    )
    assert isinstance(recipe, PretrainRecipe)
    assert (recipe.epochs, recipe.optimiser.lr, recipe.method.selection) == (7, 0.1, None)
    assert recipe.data.store == "elsewhere"


@pytest.mark.parametrize(
    ("text", "changes", "words"),
    [
        ("- 1", [], "expected keys and values"),
        ("a: [", [], "not YAML"),
        ("kind: pretrain", ["epochs"], "expected key=value"),
        ("kind: pretrain\nepochs: 3", ["epochs.x=1"], "epochs is not a section"),
        ("kind: pretrain", ["epochs=["], "not YAML"),
    ],
)
def test_a_file_or_change_that_is_none_is_an_error(tmp_path, text, changes, words):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words):
        load_recipe(path, changes=changes)
    with pytest.raises(ConfigError, match="can't be read"):
        load_recipe(tmp_path / "none.yaml")


TRANSFER = {"kind": "transfer", "data": {"store": "x", "subset": "dw"}}
HARD = {"smoothing": None, "selection": None}


def test_the_loss_of_labels_is_cross_entropy_with_dice_unless_a_recipe_says_otherwise():
    pretrain = json.loads(resolved(recipe_of(PRETRAIN, where="x")))["method"]
    transfer = json.loads(resolved(recipe_of(TRANSFER, where="x")))
    for keys in (pretrain, transfer):
        assert (keys["loss"], keys["dice"]) == ({"name": "ce"}, True)


@pytest.mark.parametrize(
    ("loss", "defaults"),
    [
        ("sce", {"alpha": 0.1, "beta": 1.0, "log_zero": LOG_ZERO}),
        ("sce_compat", {"alpha": 1.0, "beta": 2.0}),
        ("gce", {"q": 0.7}),
        ("nce_rce", {"alpha": 1.0, "beta": 1.0, "log_zero": LOG_ZERO}),
        ("agce", {"a": 1.0, "q": 2.0}),
        ("bootstrap_soft", {"beta": 0.95}),
        ("bootstrap_hard", {"beta": 0.8}),
    ],
)
def test_a_loss_that_is_named_has_its_published_parameters(loss, defaults):
    recipe = recipe_of(TRANSFER | {"loss": {"name": loss}}, where="x")
    assert json.loads(resolved(recipe))["loss"] == {"name": loss} | defaults
    assert recipe_of(PRETRAIN | {"method": HARD | {"loss": {"name": loss}}}, where="x")


@pytest.mark.parametrize("loss", ["ce", "sce", "bootstrap_soft", "bootstrap_hard"])
def test_losses_of_a_distribution_take_smoothed_targets(loss):
    assert recipe_of(PRETRAIN | {"method": {"loss": {"name": loss}}}, where="x")


@pytest.mark.parametrize(
    "loss",
    [
        *({"name": name} for name in ("gce", "nce_rce", "agce", "sce_compat")),
        *({"name": name, "transition": "t.csv"} for name in ("forward", "backward")),
    ],
    ids=lambda loss: loss["name"],
)
def test_losses_of_hard_labels_are_refused_with_smoothing(loss):
    with pytest.raises(ConfigError) as error:
        recipe_of(PRETRAIN | {"method": {"selection": None, "loss": loss}}, where="mine.yaml")
    words = f"mine.yaml: method: Value error, loss {loss['name']} is defined for hard labels; write `smoothing: null`"
    assert str(error.value) == words


def test_the_released_loss_is_refused_with_selection():
    method = {"smoothing": None, "loss": {"name": "sce_compat"}}
    with pytest.raises(ConfigError, match="as released, without weights; write `selection: null`"):
        recipe_of(PRETRAIN | {"method": method}, where="x")


@pytest.mark.parametrize(
    ("loss", "words"),
    [
        ({"name": "lovasz"}, "loss: Input tag 'lovasz' found using 'name' does not match any of the expected"),
        ({"q": 0.5}, "loss: Unable to extract tag using discriminator 'name'"),
        ({"name": "ce", "q": 0.5}, "loss.ce.q: Extra inputs are not permitted"),
        ({"name": "gce", "q": 0}, "loss.gce.q: Input should be greater than 0"),
        ({"name": "gce", "q": 1.5}, "loss.gce.q: Input should be less than or equal to 1"),
        ({"name": "agce", "a": 0}, "loss.agce.a: Input should be greater than 0"),
        ({"name": "agce", "q": 0}, "loss.agce.q: Input should be greater than 0"),
        ({"name": "sce", "alpha": -1}, "loss.sce.alpha: Input should be greater than or equal to 0"),
        ({"name": "sce", "log_zero": 0}, "loss.sce.log_zero: Input should be less than 0"),
        ({"name": "bootstrap_soft", "beta": 2}, "beta: Input should be less than or equal to 1"),
        ({"name": "forward"}, "loss.forward.transition: Field required"),
        ({"name": "forward", "transition": "t.csv", "absent_classes": "uniform"}, "Input should be 'refuse' or"),
    ],
)  # fmt: skip
def test_a_wrong_loss_is_named_in_one_line(loss, words):
    for tree in (TRANSFER | {"loss": loss}, PRETRAIN | {"method": HARD | {"loss": loss}}):
        with pytest.raises(ConfigError, match=r"^mine\.yaml: ") as error:
            recipe_of(tree, where="mine.yaml")
        assert words in str(error.value)
        assert "\n" not in str(error.value)


def test_a_resolved_recipe_reads_back_as_itself():
    recipe = recipe_of(PRETRAIN, where="x")
    assert recipe_of(json.loads(resolved(recipe)), where="y") == recipe

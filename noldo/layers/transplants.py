"""One layer from a run, frozen, and all others trained: how far a layer that learnt these labels helps to learn clean ones."""

import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from lightning_fabric import Fabric
from torch import nn

from noldo.layers.findings import WHOLE, Finding
from noldo.layers.looking import Progress, Scene, score_findings
from noldo.layers.stages import HEAD, LAYERS, Layer, with_layer
from noldo.layers.subjects import CLEAN, Subject
from noldo.models.freezing import freeze, keep_still
from noldo.training.feed import make_feed, whole_tiles
from noldo.training.loop import Loop
from noldo.training.losses import label_loss_of
from noldo.training.networks import inputs_of
from noldo.training.recipe import Cosine, TransferRecipe
from noldo.training.run_folder import RunFolder
from noldo.training.sample_figure import sample_figure
from noldo.training.splits import crop_to_load, open_split
from noldo.training.transferring import Transferring


def recipient_of(donor: Subject, clean: Sequence[Subject]) -> Subject:
    """The clean run whose initial weights the rest begins with: the first after the donor's seed, in a circle, that is of another one."""
    later = sorted(clean, key=lambda one: (one.seed <= donor.seed, one.seed))
    return next(one for one in later if one.seed != donor.seed)


def transplants(
    subjects: Sequence[Subject],
    scene: Scene,
    *,
    epochs: int,
    out: Path,
    layers: Sequence[Layer] = LAYERS,
    progress: Progress | None = None,
) -> list[Finding]:
    """Scores after a short training on clean labels, for each layer of each run.

    The network begins as a clean run of another seed began: with random weights. One layer, with BatchNorm's statistics, is that
    of the donor, and stays as it is; all else learns the clean labels of train with the settings of the clean runs, for `epochs`
    epochs along half a cosine. Layer `none`: nothing is taken from a run, everything learns. Donors are noisy and clean runs: their
    difference is what the noise did to the layer. A head of other classes is left out.

    Parameters
    ----------
    out
        Folder for what is trained; nothing of it is left in the end (a kill leaves a folder `.transplant-...`, which may go).
    """
    clean = [one for one in subjects if one.group == CLEAN]
    jobs: list[tuple[Subject, Layer | None]] = [(one, None) for one in clean]
    jobs += [
        (one, layer)
        for one in subjects
        for layer in layers
        if layer != HEAD or one.num_classes == clean[0].num_classes
    ]
    found = []
    for number, (donor, layer) in enumerate(jobs, start=1):
        name = WHOLE if layer is None else layer.name
        recipient = donor if layer is None else recipient_of(donor, clean)
        network, held = grafted(donor, recipient, layer)
        with tempfile.TemporaryDirectory(dir=out, prefix=".transplant-") as folder:
            counts = trained_and_judged(
                network, held, recipient, scene, epochs=epochs, folder=RunFolder(Path(folder))
            )
        found += score_findings(counts, measure="transplant", layer=name, subject=donor, other=recipient)
        if progress is not None:
            progress(number, len(jobs), f"transplant, {donor.group}, seed {donor.seed}, {name}")
    return found


def grafted(donor: Subject, recipient: Subject, layer: Layer | None) -> tuple[nn.Module, list[nn.Module]]:
    """The recipient's network as it began, with a layer of the donor, frozen; and the modules of that layer."""
    network = recipient.initial()
    if layer is None:
        return network, []
    network.load_state_dict(with_layer(network.state_dict(), layer, of=donor.state()))
    held = layer.modules_in(network)
    for module in held:
        freeze(module)
    return network, held


def trained_and_judged(
    network: nn.Module,
    held: Sequence[nn.Module],
    recipient: Subject,
    scene: Scene,
    *,
    epochs: int,
    folder: RunFolder,
) -> np.ndarray:
    """Train what is not held, and count (truth, prediction) pixels of the held-out split."""
    recipe = _recipe_of(recipient, scene, epochs=epochs)
    open_one = partial(open_split, recipe.data, modalities=(recipe.modality,), seed=recipe.seed)
    crop_px = crop_to_load(open_one(split="train"), recipe.augmentation.crop_px, where=scene.where)
    train, inputs = open_one(split="train", crop_px=crop_px), inputs_of(recipe)
    fabric = Fabric(accelerator="auto", devices=1, precision=recipe.precision)
    classes = train.legend.classes
    task = Transferring(
        recipe,
        network=network,
        inputs=inputs,
        num_classes=len(classes),
        device=fabric.device,
        label_loss=label_loss_of(recipe.loss, classes=classes, device=fabric.device),
        keep_frozen=partial(_keep_all_still, held),
    )
    bands = {modality: inputs.bands(modality) for modality in inputs.modalities}
    draw = partial(sample_figure, bands=bands, legend=train.legend)
    feed = make_feed(train, None, data=recipe.data, batch_size=recipe.batch_size, seed=recipe.seed, draw=draw)
    loop = Loop(task, feed=feed, recipe=recipe, folder=folder, fabric=fabric)
    loop.run()
    held_out = scene.open(scene.split)
    loop.count(
        whole_tiles(held_out, data=recipe.data, batch_size=scene.batch_size, limit=recipe.data.max_val)
    )
    return task.confusion()


def _keep_all_still(modules: Sequence[nn.Module]) -> None:
    for module in modules:
        keep_still(module)


def _recipe_of(subject: Subject, scene: Scene, *, epochs: int) -> TransferRecipe:
    """Supervised training as the clean runs had it, but shorter."""
    recipe = subject.recipe
    return TransferRecipe(
        data=scene.data,
        modality=recipe.modalities[0],
        framework="unet",
        encoder=recipe.encoder,
        loss=recipe.method.loss,
        dice=recipe.method.dice,
        augmentation=recipe.augmentation,
        optimiser=recipe.optimiser,
        schedule=Cosine(epochs=epochs),
        epochs=epochs,
        batch_size=recipe.batch_size,
        precision=recipe.precision,
        checkpoint_epochs=epochs,
        log_steps=recipe.log_steps,
        seed=recipe.seed,
    )

"""The task of transfer: an encoder, frozen or not, and a new decoder learn clean labels of one modality."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import nn

from noldo.method.cross_entropy import cross_entropy
from noldo.method.lovasz import lovasz_softmax
from noldo.method.objective import single_modal_loss
from noldo.method.robust_losses import LabelLoss
from noldo.training.counts import Counts, of_outputs
from noldo.training.losses import named_terms
from noldo.training.recipe import OneModality
from noldo.training.sample_figure import Shown
from noldo.training.task import Batch, Stateless
from noldo.training.views import augmented, shown_labels


class Transferring(Stateless):
    """See `noldo.training.task.Task`."""

    def __init__(
        self,
        recipe: OneModality,
        *,
        network: nn.Module,
        inputs: nn.Module,
        num_classes: int,
        device: torch.device,
        label_loss: LabelLoss = cross_entropy,
        keep_frozen: Callable[[], None] | None = None,
    ) -> None:
        """Set up counters.

        Parameters
        ----------
        label_loss
            Of the recipe, for its classes; scores don't depend on it.
        keep_frozen
            Called after the network was put into training mode.
        """
        self.network = network
        self._recipe = recipe
        self._inputs = inputs.to(device)
        self._label_loss = label_loss
        self._keep_frozen = keep_frozen
        self._counts = Counts((recipe.modality,), num_classes=num_classes, device=device)

    def losses(self, network: nn.Module, batch: Batch, *, epoch: int) -> Mapping[str, torch.Tensor]:
        """Label loss, Dice and Lovasz of one step on an augmented crop."""
        recipe = self._recipe
        view = augmented(
            batch,
            inputs=self._inputs,
            labels=shown_labels(batch),
            settings=recipe.augmentation,
            seed=recipe.seed,
            epoch=epoch,
        )
        return self._terms(network(view.images[recipe.modality]), view.labels)

    def start_validation(self) -> None:
        """Forget the epoch before."""
        self._counts.reset()

    def validate(self, network: nn.Module, batch: Batch) -> None:
        """Count whole tiles, as they are."""
        modality = self._recipe.modality
        labels = shown_labels(batch)
        logits = network(self._inputs(batch)[modality])
        self._counts.add({modality: logits}, labels, loss=self._terms(logits, labels)["loss"])

    def _terms(self, logits: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        recipe = self._recipe
        found = single_modal_loss(
            logits, labels, smoothing=None, label_loss=self._label_loss, with_dice=recipe.dice
        )
        terms = named_terms(found, loss=recipe.loss)
        if not recipe.lovasz:
            return terms
        lovasz = lovasz_softmax(logits, labels)
        return terms | {"loss": terms["loss"] + recipe.lovasz * lovasz, "lovasz": lovasz}

    def shown(self, network: nn.Module, batch: Batch) -> Shown:
        """Whole tiles, with their labels and what is predicted for them."""
        modality = self._recipe.modality
        images = self._inputs(batch)
        return Shown(images, shown_labels(batch), {modality: network(images[modality]).argmax(dim=1)})

    def scores(self) -> Mapping[str, float]:
        """Of all labelled pixels."""
        return {"loss": self._counts.loss(), **of_outputs(self._counts.confusions())}

    def confusion(self) -> np.ndarray:
        """(truth, prediction) pixels since `start_validation`."""
        return self._counts.confusions()[self._recipe.modality]

    def set_training(self, network: nn.Module) -> None:
        """Everything learns that is not frozen."""
        network.train()
        if self._keep_frozen is not None:
            self._keep_frozen()

"""The task of pretraining: one or two modalities learn noisy labels, and two teach each other."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from noldo.method.objective import CrossModal, cross_modal_loss, single_modal_loss
from noldo.method.ramps import Ramp
from noldo.method.reduction import ONE_RANK, AllRanks, Ranks
from noldo.method.robust_losses import LabelLoss
from noldo.method.selection import Selection
from noldo.method.smoothing import Smoothing
from noldo.training.augment import centre
from noldo.training.counts import Counts, of_outputs
from noldo.training.losses import named_terms
from noldo.training.recipe import Method, PretrainRecipe
from noldo.training.sample_figure import Shown
from noldo.training.task import Batch, Stateless
from noldo.training.views import View, augmented, moved, prior_of, shown_labels


def objective_of(method: Method, *, label_loss: LabelLoss) -> CrossModal:
    """Settings of a recipe as those of the objective.

    Parameters
    ----------
    label_loss
        Of the recipe, for its classes.
    """
    smoothing, selection = method.smoothing, method.selection
    return CrossModal(
        consistency=method.consistency,
        consistency_weight=method.consistency_weight,
        smoothing=None
        if smoothing is None
        else Smoothing(prior=smoothing.prior_share, uniform=smoothing.uniform_share),
        selection=None
        if selection is None
        else Selection(
            share=selection.share,
            ramp=Ramp(selection.ramp, selection.ramp_epochs),
            confidence=selection.confidence,
        ),
        label_loss=label_loss,
        with_dice=method.dice,
    )


def ranks_of(method: Method, *, num_ranks: int) -> Ranks:
    """Over whose pixels selection and sums run."""
    return AllRanks() if method.over_ranks and num_ranks > 1 else ONE_RANK


class Pretraining(Stateless):
    """See `noldo.training.task.Task`."""

    def __init__(
        self,
        recipe: PretrainRecipe,
        *,
        network: nn.Module,
        inputs: nn.Module,
        num_classes: int,
        label_loss: LabelLoss,
        num_ranks: int,
        device: torch.device,
    ) -> None:
        self.network = network
        self._recipe = recipe
        self._inputs = inputs.to(device)
        self._num_classes = num_classes
        self._objective = objective_of(recipe.method, label_loss=label_loss)
        self._ranks = ranks_of(recipe.method, num_ranks=num_ranks)
        self._counts = Counts(recipe.modalities, num_classes=num_classes, device=device)

    def losses(self, network: nn.Module, batch: Batch, *, epoch: int) -> Mapping[str, torch.Tensor]:
        """Loss and terms of one step on an augmented crop."""
        recipe = self._recipe
        whole = self._whole(batch)
        view = augmented(whole, ids=batch["id"], settings=recipe.augmentation, seed=recipe.seed, epoch=epoch)
        return self._terms(self._logits(network, view), view, objective=self._objective, epoch=epoch)

    def start_validation(self) -> None:
        """Forget the epoch before."""
        self._counts.reset()

    def validate(self, network: nn.Module, batch: Batch) -> None:
        """Count the centre of each patch, as it is; the loss is unsmoothed and unweighted, as published."""
        self._count(network, self._centre(batch))

    def shown(self, network: nn.Module, batch: Batch) -> Shown:
        """The centre of each patch, with its labels and what is predicted for it."""
        view = self._centre(batch)
        predicted = {name: one.argmax(dim=1) for name, one in self._logits(network, view).items()}
        return Shown(view.images, view.labels, predicted)

    def _centre(self, batch: Batch) -> View:
        crop_px = self._recipe.augmentation.crop_px
        whole = View(self._inputs(batch), shown_labels(batch), prior=None)
        placement = centre(len(whole.labels), side_px=whole.labels.shape[-1], crop_px=crop_px)
        return moved(whole, placement, crop_px=crop_px)

    def judge(self, network: nn.Module, batch: Batch) -> None:
        """Count whole patches, as they are."""
        self._count(network, View(self._inputs(batch), shown_labels(batch), prior=None))

    def confusions(self) -> dict[str, np.ndarray]:
        """Modality to (truth, prediction) pixels since `start_validation`."""
        return self._counts.confusions()

    def _count(self, network: nn.Module, view: View) -> None:
        logits = self._logits(network, view)
        terms = self._terms(logits, view, objective=self._objective.plain(), epoch=0, ranks=ONE_RANK)
        self._counts.add(logits, view.labels, loss=terms["loss"])

    def scores(self) -> Mapping[str, float]:
        """Of both modalities together, and of each."""
        return {"loss": self._counts.loss(), **of_outputs(self._counts.confusions())}

    def set_training(self, network: nn.Module) -> None:
        """Everything learns."""
        network.train()

    def _whole(self, batch: Batch) -> View:
        smoothing = self._recipe.method.smoothing
        prior = (
            None
            if smoothing is None
            else prior_of(batch, num_classes=self._num_classes, kind=smoothing.prior)
        )
        return View(self._inputs(batch), shown_labels(batch), prior)

    def _logits(self, network: nn.Module, view: View) -> dict[str, torch.Tensor]:
        """Modality to (N, C, Y, X)."""
        names = sorted(self._recipe.modalities)  # networks of two take S1 first
        found = network(*(view.images[name] for name in names))
        return dict(zip(names, found if len(names) > 1 else (found,), strict=True))

    def _terms(
        self,
        logits: Mapping[str, torch.Tensor],
        view: View,
        *,
        objective: CrossModal,
        epoch: int,
        ranks: Ranks | None = None,
    ) -> dict[str, torch.Tensor]:
        ranks = self._ranks if ranks is None else ranks
        if len(logits) == 1:
            (only,) = logits.values()
            alone = single_modal_loss(
                only,
                view.labels,
                smoothing=objective.smoothing,
                prior_NCHW=view.prior,
                label_loss=objective.label_loss,
                with_dice=objective.with_dice,
                ranks=ranks,
            )
            return named_terms(alone, loss=self._recipe.method.loss)
        found = cross_modal_loss(
            logits["s1_grd"],
            logits["s2_l1c"],
            view.labels,
            settings=objective,
            epoch=epoch,
            prior_NCHW=view.prior,
            ranks=ranks,
        )
        return {
            "loss": found.loss,
            **{"seg_s1": found.seg_s1, "seg_s2": found.seg_s2},
            **{"con_s1": found.con_s1, "con_s2": found.con_s2},
        }

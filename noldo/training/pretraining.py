"""The task of pretraining: one or two modalities learn noisy labels, and two teach each other."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from noldo.method.confidence import log_probabilities
from noldo.method.correction import divergence
from noldo.method.objective import CrossModal, cross_modal_loss, single_modal_loss
from noldo.method.ramps import Ramp
from noldo.method.reduction import ONE_RANK, AllRanks, Ranks
from noldo.method.robust_losses import LabelLoss
from noldo.method.selection import Selection
from noldo.method.smoothing import Smoothing
from noldo.prediction.views import resized
from noldo.products import UNLABELLED
from noldo.training.augment import centre, moves_of
from noldo.training.correcting import Correcting
from noldo.training.correction_keys import Adele
from noldo.training.counts import Counts, of_outputs
from noldo.training.losses import named_terms
from noldo.training.recipe import Method, PretrainRecipe
from noldo.training.sample_figure import Shown
from noldo.training.task import Batch
from noldo.training.views import (
    View,
    augmented_labels,
    draw_moves,
    is_observed,
    placed,
    preparation,
    shown_labels,
)


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


def logits_of(
    network: nn.Module, images: Mapping[str, torch.Tensor], *, modalities: Sequence[str]
) -> dict[str, torch.Tensor]:
    """Modality to (N, C, Y, X) of a network of these modalities.

    Parameters
    ----------
    images
        Modality to (N, B, Y, X).
    """
    names = sorted(modalities)  # networks of two take S1 first
    found = network(*(images[name] for name in names))
    return dict(zip(names, found if len(names) > 1 else (found,), strict=True))


class Pretraining:
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
        correction: Correcting | None = None,
    ) -> None:
        self.network = network
        self._recipe = recipe
        self._inputs = inputs.to(device)
        self._is_compiled = recipe.compile and device.type == "cuda"
        smoothing = recipe.method.smoothing
        self._prepare = preparation(
            self._inputs,
            num_classes=num_classes,
            kind=None if smoothing is None else smoothing.prior,
            is_compiled=self._is_compiled,
        )
        self._objective = objective_of(recipe.method, label_loss=label_loss)
        self._correction = correction
        self._ranks = ranks_of(recipe.method, num_ranks=num_ranks)
        self._counts = Counts(recipe.modalities, num_classes=num_classes, device=device)

    def losses(self, network: nn.Module, batch: Batch, *, epoch: int) -> Mapping[str, torch.Tensor]:
        """Loss and terms of one step on an augmented crop."""
        view = self._augmented(batch, epoch=epoch)
        logits = self._logits(network, view)
        if self._correction is None:
            return self._terms(logits, view, objective=self._objective, epoch=epoch)
        seen = self._seen(batch, epoch=epoch) if self._correction.adds_labels else None
        found = self._correction.corrected(view.images, view.labels, seen=seen)
        self._correction.watch(logits, view.labels, new=found.labels)
        learnt = replace(view, labels=found.labels)
        terms = self._terms(logits, learnt, objective=self._objective, epoch=epoch, trust=found.trust)
        return terms | self._divergence(network, view, logits, loss=terms["loss"])

    def _augmented(self, batch: Batch, *, epoch: int) -> View:
        recipe = self._recipe
        moves = draw_moves(
            batch["id"],
            side_px=batch["mask"].shape[-1],
            settings=recipe.augmentation,
            seed=recipe.seed,
            epoch=epoch,
            device=batch["mask"].device,
            has_fixed_shapes=self._is_compiled,
        )
        return self._prepare({name: value for name, value in batch.items() if name != "id"}, moves)

    def _seen(self, batch: Batch, *, epoch: int) -> torch.Tensor:
        """(N, Y, X) bool: where all modalities have data, in the crop and turn of this step."""
        recipe = self._recipe
        shown = [is_observed(batch, one, bands=recipe.data.bands) for one in recipe.modalities]
        marks = torch.where(torch.stack(shown).all(dim=0), 0, UNLABELLED).to(torch.uint8)
        moved = augmented_labels(
            marks, ids=batch["id"], settings=recipe.augmentation, seed=recipe.seed, epoch=epoch
        )
        return moved != UNLABELLED

    def _divergence(
        self, network: nn.Module, view: View, logits: Mapping[str, torch.Tensor], *, loss: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """The loss with ADELE's consistency of scales in it, and that term; nothing, if it is not asked for."""
        settings = self._recipe.method.correction
        if not isinstance(settings, Adele) or not settings.consistency_weight:
            return {}
        side = list(view.labels.shape[-2:])
        at_scales = {name: [one] for name, one in logits.items()}
        for scale in settings.scales:
            if scale == 1:
                continue
            size = [max(1, round(length * scale)) for length in side]
            small = replace(view, images={name: resized(image, size) for name, image in view.images.items()})
            for name, found in self._logits(network, small).items():
                at_scales[name].append(resized(found.float(), side))
        term = sum(
            (
                divergence([log_probabilities(one) for one in each], confidence=settings.confidence)
                for each in at_scales.values()
            ),
            start=torch.zeros_like(loss),
        )
        return {"loss": loss + settings.consistency_weight * term, "scales": term}

    def stepped(self) -> None:
        """A teacher, if there is one, follows."""
        if self._correction is not None:
            self._correction.stepped(self.network)

    def end_epoch(self) -> Mapping[str, Any] | None:
        """What was corrected."""
        return None if self._correction is None else self._correction.end_epoch()

    def state(self) -> dict[str, Any]:
        """Of the correction of labels; the rest is in the network."""
        return {} if self._correction is None else {"correction": self._correction.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from such a state."""
        if self._correction is not None:
            self._correction.load_state(state["correction"])

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
        labels = shown_labels(batch)
        placement = centre(len(labels), side_px=labels.shape[-1], crop_px=crop_px)
        moves = moves_of(placement, crop_px=crop_px, device=labels.device)
        return placed(batch, moves, inputs=self._inputs, labels=labels)

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

    def _logits(self, network: nn.Module, view: View) -> dict[str, torch.Tensor]:
        return logits_of(network, view.images, modalities=self._recipe.modalities)

    def _terms(
        self,
        logits: Mapping[str, torch.Tensor],
        view: View,
        *,
        objective: CrossModal,
        epoch: int,
        ranks: Ranks | None = None,
        trust: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        ranks = self._ranks if ranks is None else ranks
        if len(logits) == 1:
            (only,) = logits.values()
            alone = single_modal_loss(
                only,
                view.labels,
                smoothing=objective.smoothing,
                prior_NCHW=view.prior,
                trust_NHW=trust,
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
            trust_NHW=trust,
            ranks=ranks,
        )
        return {
            "loss": found.loss,
            **{"seg_s1": found.seg_s1, "seg_s2": found.seg_s2},
            **{"con_s1": found.con_s1, "con_s2": found.con_s2},
        }

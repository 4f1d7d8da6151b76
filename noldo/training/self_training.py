"""The task of self-training: a labelled source is learnt, and an unlabelled target by the labels that a teacher gives it.

Stage 1 of the DFC2025 track 1 winner (Liu et al., arXiv 2504.13458; StuLiu/dfc2025track1, after DACS and DAFormer), for one modality:

    L_source = CE of the student on the source                              with Dice or Lovasz, if the recipe says so
    yhat     = class that the teacher predicts for the target; trust of it  `noldo.method.trust`
    mixed    = half of the source's classes pasted on the target            `noldo.method.class_mix`
    L        = L_source + mean of w CE on the mixed images                  w: 1 where pasted, else the trust

The student sees source and mixed images in one pass (statistics of BatchNorm are those of both; published: two passes).
"""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
import torch
from torch import distributed, nn

from noldo.method.class_mix import Mixed, mixed, pasted_mask
from noldo.method.confidence import log_probabilities
from noldo.method.cross_entropy import cross_entropy
from noldo.method.labels import labelled
from noldo.method.resolution import Resolution, coarsened, draw_coarsenings
from noldo.method.robust_losses import LabelLoss
from noldo.method.strong import Strong, draw_look, looked
from noldo.method.trust import trust_weights, trusted_cross_entropy
from noldo.models.input_step import InputStep
from noldo.products import UNLABELLED
from noldo.training.paired import TARGET
from noldo.training.recipe import SelfTrainRecipe
from noldo.training.task import Batch
from noldo.training.teacher import Teacher
from noldo.training.transferring import Transferring
from noldo.training.views import View, augmented, is_observed, shown_labels

_STREAM = 7
"""Of random numbers that mix and degrade; 0 to 6 are those of seasons, crops, augmentation, order, dropout, errors, rare classes."""

_RESOLUTION, _CLASSES, _LOOK = range(3)
"""What a step draws, each by itself: leaving one out changes no other."""


class SelfTraining(Transferring):
    """See `noldo.training.task.Task`; the student is what is judged and saved."""

    def __init__(
        self,
        recipe: SelfTrainRecipe,
        *,
        network: nn.Module,
        inputs: InputStep,
        num_classes: int,
        device: torch.device,
        rank: int,
        autocast: Callable[[], AbstractContextManager[Any]],
        label_loss: LabelLoss = cross_entropy,
        keep_frozen: Callable[[], None] | None = None,
    ) -> None:
        """Set up counters and the teacher.

        Parameters
        ----------
        rank
            Each mixes by draws of its own.
        autocast
            The precision of the run, for the teacher: the student has it from its wrapper.
        label_loss, keep_frozen
            As in `Transferring`.
        """
        super().__init__(
            recipe,
            network=network,
            inputs=inputs,
            num_classes=num_classes,
            device=device,
            label_loss=label_loss,
            keep_frozen=keep_frozen,
        )
        method = recipe.method
        self.teacher = Teacher(network, decay=method.teacher_decay)
        self.teacher.network.to(device)
        self._learning = recipe
        self._num_classes = num_classes
        self._rank = rank
        self._autocast = autocast
        self._resolution = None if method.resolution is None else Resolution(**method.resolution.model_dump())
        self._strong = None if method.strong is None else Strong(**method.strong.model_dump())

    def losses(self, network: nn.Module, batch: Batch, *, epoch: int) -> Mapping[str, torch.Tensor]:
        """Loss of the source and of the mixed images, and the mean trust in the teacher.

        Seasons and crops are those of the epoch; all else is drawn for the step, so that a location that comes twice in an epoch is turned
        otherwise.
        """
        images, labels = self._source(batch)
        mix, trust = self._mixed(images, labels, self._target(batch[TARGET]))
        seen = mix.images
        if self._strong is not None:
            look = draw_look(len(seen), settings=self._strong, rng=self._rng(_LOOK))
            seen = looked(seen, look)
        of_source, of_mix = network(torch.cat([images, seen])).chunk(2)
        terms = self._terms(of_source, labels)
        mixed_loss = trusted_cross_entropy(of_mix, mix.labels, weights_NHW=mix.weights)
        return {
            **terms,
            "loss": terms["loss"] + mixed_loss,
            "mixed": mixed_loss,
            "trust": trust.mean(),
        }

    def stepped(self) -> None:
        """The teacher follows; on all ranks with the statistics of the first one, which a checkpoint holds."""
        self.teacher.follow(self.network)
        if distributed.is_initialized() and distributed.get_world_size() > 1:
            for buffer in self.teacher.network.buffers():
                distributed.broadcast(buffer, src=0)

    def state(self) -> dict[str, Any]:
        """The teacher, and with it the number of steps that all draws depend on."""
        return {"teacher": self.teacher.state()}

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on with that teacher."""
        self.teacher.load_state(state["teacher"])

    def _source(self, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Augmented crops (N, B, Y, X) of the source, some of them coarser, and their labels (N, Y, X)."""
        view = self._augmented(batch, labels=shown_labels(batch))
        images = view.images[self._learning.modality]
        if self._resolution is None:
            return images, view.labels
        coarsenings = draw_coarsenings(
            len(images), side_px=images.shape[-1], settings=self._resolution, rng=self._rng(_RESOLUTION)
        )
        return coarsened(images, view.labels, coarsenings=coarsenings)

    def _target(self, batch: Batch) -> View:
        """Augmented crops of the target; its labels are 255 where no band was observed, and else 0."""
        recipe = self._learning
        is_shown = is_observed(batch, recipe.modality, bands=recipe.target.bands)
        labels = torch.where(is_shown, 0, UNLABELLED).to(torch.uint8)
        return self._augmented(batch, labels=labels)

    def _augmented(self, batch: Batch, *, labels: torch.Tensor) -> View:
        recipe = self._learning
        return augmented(
            batch,
            inputs=self._inputs,
            labels=labels,
            settings=recipe.augmentation,
            seed=recipe.seed,
            epoch=self.teacher.num_steps,
        )

    def _mixed(self, images: torch.Tensor, labels: torch.Tensor, target: View) -> tuple[Mixed, torch.Tensor]:
        """The source on the target as the teacher labels it, and the trust in that, (N, Y, X)."""
        settings, modality = self._learning.method.trust, self._learning.modality
        with torch.no_grad(), self._autocast():
            log_q = log_probabilities(self.teacher.network(target.images[modality]))
        is_shown = labelled(target.labels)
        predicted = torch.where(is_shown, log_q.argmax(dim=1), UNLABELLED).to(torch.uint8)
        trust = trust_weights(
            log_q, kind=settings.kind, tau=settings.tau, scope=settings.scope, valid_NHW=is_shown
        )
        generator = torch.Generator().manual_seed(int(self._rng(_CLASSES).integers(2**63)))
        mask = pasted_mask(labels, num_classes=self._num_classes, generator=generator)
        source, unlabelled = (images, labels), (target.images[modality], predicted)
        return mixed(mask, source=source, target=unlabelled, trust_NHW=trust), trust

    def _rng(self, purpose: int) -> np.random.Generator:
        """By seed, step and rank: there is no state of it to save."""
        return np.random.default_rng(
            [self._learning.seed, self.teacher.num_steps, self._rank, _STREAM, purpose]
        )

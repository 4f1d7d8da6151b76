"""The training step of CromSS as published (Liu et al., IEEE TGRS 2025), written anew from a description of its repository: eager, 16-bit floats
with a scaled loss, torch's own Adam.

Known, and done so: channels stay in torch's usual order (nothing in the description changes it); probabilities are taken anew for each mask and each loss; label weights by a `topk` a class, its k read on the host; the
teacher's weights and the Dice as published. Decided in the peer's favour: no counting of metrics in the step, log-softmax where theirs takes the
logarithm of a softmax.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.nn import functional

RAMP_EPOCHS = 80
PRIOR, UNIFORM = 0.15, 0.05


class PublishedStep:
    """A network of both modalities, and what descends its loss."""

    def __init__(self, network: nn.Module, *, device: torch.device, epoch: int = 0) -> None:
        self._network = network.to(device).train()
        self._device = device
        self._epoch = epoch
        self._is_mixed = device.type == "cuda"
        self._scaler = torch.amp.GradScaler(device.type, enabled=self._is_mixed)
        self._optimiser = torch.optim.Adam(network.parameters(), lr=5e-3, weight_decay=1e-8)

    def __call__(self, batch: Mapping[str, Any]) -> torch.Tensor:
        """One step on `s1` (N, 2, Y, X), `s2` (N, B, Y, X), `label` (N, Y, X) and `prior` (N, C, Y, X) of the host: its loss."""
        s1, s2, label, prior = (
            batch[name].to(self._device, non_blocking=True) for name in ("s1", "s2", "label", "prior")
        )
        with torch.autocast(self._device.type, torch.float16, enabled=self._is_mixed):
            logits = self._network(s1, s2)
            loss = published_loss(*logits, label, prior, epoch=self._epoch)
        self._optimiser.zero_grad()
        self._scaler.scale(loss).backward()
        self._scaler.step(self._optimiser)
        self._scaler.update()
        return loss.detach()


def published_loss(
    logits_1: torch.Tensor, logits_2: torch.Tensor, label: torch.Tensor, prior: torch.Tensor, *, epoch: int
) -> torch.Tensor:
    num_classes = logits_1.shape[1]
    one_hot = functional.one_hot(label, num_classes).permute(0, 3, 1, 2).float()
    target = (1 - PRIOR - UNIFORM) * one_hot + PRIOR * prior + UNIFORM / num_classes
    ramp = math.exp(-5 * (1 - min(epoch, RAMP_EPOCHS) / RAMP_EPOCHS) ** 2)
    both = (logits_1, logits_2)
    with torch.no_grad():
        of_label = [(one.softmax(dim=1, dtype=torch.float32) * one_hot).sum(dim=1) for one in both]
        of_prediction = [_certainty(one) for one in both]
        label_weights = [
            _label_weights(one, label, share=1 - ramp * 0.5, num_classes=num_classes)
            for one in _entangled(of_label)
        ]
        teacher_weights = [(1 - ramp) + ramp * one for one in _entangled(of_prediction)]
        teachers = [one.softmax(dim=1, dtype=torch.float32) for one in both]
    loss = torch.zeros((), device=label.device)
    for own, other in ((0, 1), (1, 0)):
        log_q = both[own].log_softmax(dim=1, dtype=torch.float32)
        weights = label_weights[own]
        entropy = -(target * log_q).sum(dim=1)
        loss = loss + (weights * entropy).sum() / weights.sum() + _dice(log_q.exp(), target, weights)
        distance = -(teachers[other] * both[own].log_softmax(dim=1, dtype=torch.float32)).sum(dim=1)
        loss = loss + (teacher_weights[other] * distance).sum() / teacher_weights[other].sum()
    return loss


def _certainty(logits: torch.Tensor) -> torch.Tensor:
    q = logits.softmax(dim=1, dtype=torch.float32)
    entropy = -(q * logits.log_softmax(dim=1, dtype=torch.float32)).sum(dim=1)
    return (1 - entropy / math.log(logits.shape[1])).clamp(0, 1)


def _entangled(of_both: list[torch.Tensor]) -> list[torch.Tensor]:
    product = of_both[0] * of_both[1]
    return [(one + product) / 2 for one in of_both]


def _label_weights(
    confidence: torch.Tensor, label: torch.Tensor, *, share: float, num_classes: int
) -> torch.Tensor:
    weights = torch.zeros_like(confidence)
    for one in range(num_classes):
        of_class = label == one
        k = int(of_class.sum() * share)
        if k == 0:
            continue
        threshold = confidence[of_class].topk(k).values[-1]
        soft = (confidence[of_class] / threshold).clip(0, 1)
        weights[of_class] = torch.ones_like(soft) if threshold == 0 else soft
    return weights


def _dice(q: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    weights, over = weights[:, None], (0, 2, 3)
    common, cardinality = (weights * q * target).sum(dim=over), (weights * (q + target)).sum(dim=over)
    is_there = target.sum(dim=over) > 0
    return ((1 - 2 * common / cardinality.clamp(min=1e-7)) * is_there).mean()

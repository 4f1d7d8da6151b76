"""Losses that bear wrong labels, in place of the cross-entropy: closed forms of the papers, a value a pixel.

Axes: N sample, C class, H row, W column; CC is true class by labelled class.

Each takes log-probabilities (`noldo.method.confidence.log_probabilities`: float32 at least, so that no logit gap ends in
0 * infinity) and targets as `noldo.method.smoothing.smoothed_target` gives them: 0 in every class where there is no
label, and there the loss is 0 without gradient. In formulas p is exp(log_q), t the target and y the labelled class.

`reverse_cross_entropy`, `symmetric_cross_entropy` and the two of bootstrapping are formulas of a distribution t and take
smoothed targets. All others are defined for hard labels, and only for those.

A `LabelLoss` is what an objective asks for: `noldo.method.cross_entropy.cross_entropy`, one of these averaged by `PixelMean`,
or `dfc2025_compat_sce`, which averages otherwise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from noldo.errors import ConfigError
from noldo.method.reduction import ONE_RANK, Ranks, weighted_mean

LOG_ZERO = math.log(1e-4)
"""A, in place of log 0: the authors' code of symmetric cross-entropy clips one-hot labels at 1e-4."""

_RELEASED_FLOOR = 1e-10
"""Added to probabilities in the released second term of DFC2025 (StuLiu/dfc2025track1)."""

_ELR_CLIP = 1e-4
"""Below 1, so that the logarithm of ELR has a bound (shengliu66/ELR)."""

_ROW_SUM_TOLERANCE = 1e-4
"""Rows of T written by hand have few digits."""

PixelLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""Log-probabilities and target, (N, C, H, W), to (N, H, W)."""


class LabelLoss(Protocol):
    """What is learnt from labels, as a scalar."""

    def __call__(
        self,
        log_q_NCHW: torch.Tensor,
        target_NCHW: torch.Tensor,
        *,
        weights_NHW: torch.Tensor,
        ranks: Ranks = ONE_RANK,
    ) -> torch.Tensor:
        """0 without gradient if no pixel has weight; `weights_NHW` is 0 for pixels that are to be ignored."""
        ...


@dataclass(frozen=True)
class PixelMean:
    """sum(W * loss) / sum(W): pixels without weight are not in the mean, and batches may be split."""

    pixel_loss: PixelLoss

    def __call__(
        self,
        log_q_NCHW: torch.Tensor,
        target_NCHW: torch.Tensor,
        *,
        weights_NHW: torch.Tensor,
        ranks: Ranks = ONE_RANK,
    ) -> torch.Tensor:
        """See `LabelLoss`."""
        return weighted_mean(self.pixel_loss(log_q_NCHW, target_NCHW), weights_NHW, ranks=ranks)


# ---- of any target ---------------------------------------------------------------------------------------------------


def reverse_cross_entropy(
    log_q_NCHW: torch.Tensor, target_NCHW: torch.Tensor, *, log_zero: float = LOG_ZERO
) -> torch.Tensor:
    """RCE = -sum_k p_k log t_k with log 0 = A, which is -A (1 - p_y) for a hard label.

    Wang et al., ICCV 2019, arXiv 1908.06112, section 4 (definition of RCE). A smoothed target is clipped at e^A, as the authors' code
    clips labels.

    Parameters
    ----------
    log_zero
        A, below 0.
    """
    cost_NCHW = -target_NCHW.clamp(min=math.exp(log_zero)).log()
    return _where_labelled(target_NCHW, (log_q_NCHW.exp() * cost_NCHW).sum(dim=1))


def symmetric_cross_entropy(
    log_q_NCHW: torch.Tensor,
    target_NCHW: torch.Tensor,
    *,
    alpha: float = 0.1,
    beta: float = 1.0,
    log_zero: float = LOG_ZERO,
) -> torch.Tensor:
    """SCE = alpha CE + beta RCE.

    Wang et al., ICCV 2019, arXiv 1908.06112, section 4; defaults are those of CIFAR-10 (ten classes). CIFAR-100: alpha 6, beta 0.1.
    """
    rce_NHW = reverse_cross_entropy(log_q_NCHW, target_NCHW, log_zero=log_zero)
    return alpha * -_log_p(log_q_NCHW, target_NCHW) + beta * rce_NHW


def soft_bootstrapping(
    log_q_NCHW: torch.Tensor, target_NCHW: torch.Tensor, *, beta: float = 0.95
) -> torch.Tensor:
    """-sum_k (beta t_k + (1 - beta) p_k) log p_k; the gradient flows through both p.

    Reed et al. 2014, arXiv 1412.6596, section 3.2, soft form; the default is theirs. The second term is an entropy that is made small.
    """
    entropy_NHW = -(log_q_NCHW.exp() * log_q_NCHW).sum(dim=1)
    mixed_NHW = beta * -_log_p(log_q_NCHW, target_NCHW) + (1 - beta) * entropy_NHW
    return _where_labelled(target_NCHW, mixed_NHW)


def hard_bootstrapping(
    log_q_NCHW: torch.Tensor, target_NCHW: torch.Tensor, *, beta: float = 0.8
) -> torch.Tensor:
    """-beta sum_k t_k log p_k - (1 - beta) log max_k p_k: part of the target is the predicted class.

    Reed et al. 2014, arXiv 1412.6596, section 3.2, hard form; the default is theirs.
    """
    predicted_NHW = log_q_NCHW.max(dim=1).values
    mixed_NHW = -(beta * _log_p(log_q_NCHW, target_NCHW) + (1 - beta) * predicted_NHW)
    return _where_labelled(target_NCHW, mixed_NHW)


def early_learning_regularised(
    log_q_NCHW: torch.Tensor,
    target_NCHW: torch.Tensor,
    *,
    running_NCHW: torch.Tensor,
    strength: float = 3.0,
) -> torch.Tensor:
    """ELR = CE + lambda log(1 - <t, p>): what was predicted early pulls on, where labels that are wrong would be fitted later.

    Liu et al., NeurIPS 2020, arXiv 2007.00151, section 4; the default is that of CIFAR-10 with symmetric noise. The product is at
    most 1 - 1e-4, as in the authors' code, which keeps a running mean for each sample; of pixels that would be 100 GB, so t may
    be what a teacher predicts (`noldo.training.teacher`). No recipe has it yet.

    Parameters
    ----------
    running_NCHW
        t, probabilities without gradient.
    strength
        lambda, at least 0; 0: the cross-entropy.
    """
    agreement_NHW = (running_NCHW.detach() * log_q_NCHW.exp()).sum(dim=1).clamp(max=1 - _ELR_CLIP)
    pulled_NHW = -_log_p(log_q_NCHW, target_NCHW) + strength * torch.log1p(-agreement_NHW)
    return _where_labelled(target_NCHW, pulled_NHW)


# ---- of hard labels --------------------------------------------------------------------------------------------------


def mean_absolute_error(log_q_NCHW: torch.Tensor, target_NCHW: torch.Tensor) -> torch.Tensor:
    """MAE = 1 - p_y: half of the L1 distance between p and the hard label.

    Ghosh et al., AAAI 2017, arXiv 1712.09482, have twice that.
    """
    return -torch.expm1(_log_p(log_q_NCHW, target_NCHW))


def generalised_cross_entropy(
    log_q_NCHW: torch.Tensor, target_NCHW: torch.Tensor, *, q: float = 0.7, truncated_at: float = 0.0
) -> torch.Tensor:
    """GCE = (1 - p_y^q) / q: from the cross-entropy (q to 0) to MAE (q = 1).

    Zhang & Sabuncu, NeurIPS 2018, arXiv 1805.07836, section 3 (the L_q loss and its truncated form); the default is theirs.

    Parameters
    ----------
    q
        Above 0, at most 1.
    truncated_at
        k: the loss of pixels with p_y <= k is that of k, without gradient. 0: none. The paper takes 0.5, after epochs
        without truncation: from the start nothing would be learnt.
    """
    log_p_NHW = _log_p(log_q_NCHW, target_NCHW)
    if truncated_at:
        log_p_NHW = log_p_NHW.clamp(min=math.log(truncated_at))
    return -torch.expm1(q * log_p_NHW) / q  # expm1: for small q the difference would be rounding


def normalised_cross_entropy(log_q_NCHW: torch.Tensor, target_NCHW: torch.Tensor) -> torch.Tensor:
    """NCE = log p_y / sum_k log p_k, 0..1; adds to 1 over the labels that there might be.

    Ma et al., ICML 2020, arXiv 2006.13554, section 3 (normalised losses).
    """
    return _log_p(log_q_NCHW, target_NCHW) / log_q_NCHW.sum(dim=1)


def nce_and_rce(
    log_q_NCHW: torch.Tensor,
    target_NCHW: torch.Tensor,
    *,
    alpha: float = 1.0,
    beta: float = 1.0,
    log_zero: float = LOG_ZERO,
) -> torch.Tensor:
    """APL = alpha NCE + beta RCE: an active loss and a passive one, which both bear symmetric noise.

    Ma et al., ICML 2020, arXiv 2006.13554, section 3 (active passive loss); defaults are those of CIFAR-10. MNIST: 1 and 10, CIFAR-100:
    10 and 0.1, WebVision: 50 and 0.1.
    """
    rce_NHW = reverse_cross_entropy(log_q_NCHW, target_NCHW, log_zero=log_zero)
    return alpha * normalised_cross_entropy(log_q_NCHW, target_NCHW) + beta * rce_NHW


def asymmetric_generalised_cross_entropy(
    log_q_NCHW: torch.Tensor, target_NCHW: torch.Tensor, *, a: float = 1.0, q: float = 2.0
) -> torch.Tensor:
    """AGCE = ((a + 1)^q - (a + p_y)^q) / q; a to 0 gives GCE.

    Zhou et al., ICML 2021, arXiv 2106.03110 (asymmetric form of GCE); defaults are those of the authors' code, tuned a set.

    Parameters
    ----------
    a, q
        Above 0.
    """
    log_p_NHW = _log_p(log_q_NCHW, target_NCHW)
    log_ratio_NHW = torch.logaddexp(log_p_NHW, torch.full_like(log_p_NHW, math.log(a))) - math.log1p(a)
    return _where_labelled(target_NCHW, -math.pow(a + 1, q) / q * torch.expm1(q * log_ratio_NHW))


def forward_correction(
    log_q_NCHW: torch.Tensor, target_NCHW: torch.Tensor, *, transition_CC: torch.Tensor
) -> torch.Tensor:
    """-log sum_k p_k T[k, y]: p is of the true class, and T makes it one of the labelled class.

    Patrini et al., CVPR 2017, arXiv 1609.03683, theorem 2.

    Parameters
    ----------
    transition_CC
        T[i, j] = P(labelled j | truly i), of `transition_matrix`, on the device.
    """
    _require_classes(transition_CC, log_q_NCHW)
    # Indexed, not multiplied: autocast would round a product of matrices to 11 bits and fewer.
    log_t_NHWC = transition_CC.to(log_q_NCHW.dtype).log().t()[target_NCHW.argmax(dim=1)]
    return _where_labelled(target_NCHW, -torch.logsumexp(log_q_NCHW + log_t_NHWC.movedim(-1, 1), dim=1))


def backward_correction(
    log_q_NCHW: torch.Tensor, target_NCHW: torch.Tensor, *, inverse_CC: torch.Tensor
) -> torch.Tensor:
    """sum_k T^-1[y, k] CE_k: its mean over labels drawn by T is the cross-entropy of the true class. No bound below.

    Patrini et al., CVPR 2017, arXiv 1609.03683, theorem 1.

    Parameters
    ----------
    inverse_CC
        T^-1, of `inverse_transition`, on the device.
    """
    _require_classes(inverse_CC, log_q_NCHW)
    shares_NHWC = inverse_CC.to(log_q_NCHW.dtype)[target_NCHW.argmax(dim=1)]
    return _where_labelled(target_NCHW, -(shares_NHWC.movedim(-1, 1) * log_q_NCHW).sum(dim=1))


def dfc2025_compat_sce(
    log_q_NCHW: torch.Tensor,
    target_NCHW: torch.Tensor,
    *,
    weights_NHW: torch.Tensor,
    ranks: Ranks = ONE_RANK,
    alpha: float = 1.0,
    beta: float = 2.0,
) -> torch.Tensor:
    """What the released code of the DFC2025 winner has for SCE: alpha CE - beta log(p_y + 1e-10), over *all* pixels.

    Its second term keeps the order of the first, so it is the cross-entropy again, three times it in all; and ignored
    pixels stay in the denominator (StuLiu/dfc2025track1 at 1fe0498). Only to reproduce its numbers: `symmetric_cross_entropy`
    is the genuine one. In batches of several samples its mask is broadcast over pairs of samples, too; not here.
    """
    log_p_NHW = _log_p(log_q_NCHW, target_NCHW)
    floor_NHW = torch.full_like(log_p_NHW, math.log(_RELEASED_FLOOR))
    values_NHW = -(alpha * log_p_NHW + beta * torch.logaddexp(log_p_NHW, floor_NHW))
    return weighted_mean(weights_NHW * values_NHW, torch.ones_like(weights_NHW), ranks=ranks)


# ---- transition matrices: checked and inverted on the host, once -----------------------------------------------------


def transition_matrix(
    rows: NDArray[np.float64], *, num_classes: int, where: str = "transition"
) -> torch.Tensor:
    """T as a tensor, checked: (C, C) float64, rows the true classes, columns the labelled ones.

    Parameters
    ----------
    where
        What an error begins with, e.g. the file that T is from.

    Raises
    ------
    ConfigError
        If it has another shape, a row is no distribution, or a column is empty (a label of that class would have no
        finite loss).
    """
    if rows.shape != (num_classes, num_classes):
        raise ConfigError(
            f"{where}: T of shape {rows.shape}, expected {(num_classes, num_classes)}: a row a true class, a column a labelled "
            "one"
        )
    for position, row in enumerate(rows):
        if np.isnan(row).all():
            raise ConfigError(
                f"{where}: row {position} of T is unknown, for its reference never has that class; compare over more locations, "
                "or take its labels as right (absent_classes: identity)"
            )
        if not (np.isfinite(row).all() and (row >= 0).all() and abs(row.sum() - 1) <= _ROW_SUM_TOLERANCE):
            raise ConfigError(
                f"{where}: row {position} of T is {[round(one, 4) for one in row.tolist()]}, sum {row.sum():.6g}; expected "
                "shares from 0 up that add to 1, a row a true class"
            )
    if empty := np.flatnonzero(rows.sum(axis=0) == 0).tolist():
        raise ConfigError(
            f"{where}: column {empty[0]} of T is 0, so a label of that class would have an infinite loss; give it a share, or "
            "merge the class with one that it is taken for"
        )
    return torch.from_numpy(np.array(rows, dtype=np.float64))


def inverse_transition(transition_CC: torch.Tensor, *, where: str = "transition") -> torch.Tensor:
    """T^-1, (C, C).

    Raises
    ------
    ConfigError
        If T is singular.
    """
    rank = int(torch.linalg.matrix_rank(transition_CC))
    if rank < len(transition_CC):
        raise ConfigError(
            f"{where}: T of {len(transition_CC)} classes has rank {rank}, but backward correction needs its inverse; merge the "
            "classes that it confuses, or correct forward"
        )
    inverse_CC: torch.Tensor = torch.linalg.inv(transition_CC)
    return inverse_CC


def _require_classes(matrix_CC: torch.Tensor, log_q_NCHW: torch.Tensor) -> None:
    num_classes = log_q_NCHW.shape[1]
    if matrix_CC.shape != (num_classes, num_classes):
        raise ConfigError(f"T of shape {tuple(matrix_CC.shape)}: expected {(num_classes, num_classes)}")


def _log_p(log_q_NCHW: torch.Tensor, target_NCHW: torch.Tensor) -> torch.Tensor:
    """sum_k t_k log p_k: log p_y of a hard label, and 0, as if p_y were 1, where there is none."""
    return (target_NCHW * log_q_NCHW).sum(dim=1)


def _where_labelled(target_NCHW: torch.Tensor, values_NHW: torch.Tensor) -> torch.Tensor:
    """The values, and 0 without gradient where the target has no class."""
    return torch.where(target_NCHW.any(dim=1), values_NHW, 0)

"""Linear CKA of representations, summed over mini-batches.

Kornblith et al. 2019 (arXiv 1905.00414, section 3): CKA(X, Y) = HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L)) with K = X X', L = Y Y'.
Nguyen et al. 2021 (arXiv 2010.15327, section 3, eq. 2 and 3): each HSIC is the mean over mini-batches of the unbiased estimator of
Song et al. 2012 (JMLR 13, eq. 5), so that the result does not depend on the batch size in expectation.

Axes: R representation (network), N example (pixel), F feature.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MIN_EXAMPLES = 4
"""That the unbiased estimator needs."""


def unbiased_hsic(features: Sequence[NDArray[np.floating]]) -> NDArray[np.float64]:
    """HSIC of each pair of representations of the same examples.

    Parameters
    ----------
    features
        R arrays (N, F); F may differ.

    Returns
    -------
    (R, R); it may be slightly negative, being unbiased.

    Raises
    ------
    ValueError
        If there are fewer than four examples.
    """
    num = len(features[0])
    if num < MIN_EXAMPLES:
        raise ValueError(f"{num} examples: the unbiased HSIC needs {MIN_EXAMPLES} or more")
    grams = np.stack([_gram(one) for one in features])
    flat = grams.reshape(len(features), -1)
    sums_RN = grams.sum(axis=2)
    totals_R = sums_RN.sum(axis=1)
    traces = flat @ flat.T
    corner = np.outer(totals_R, totals_R) / ((num - 1) * (num - 2))
    cross = sums_RN @ sums_RN.T * (2 / (num - 2))
    found: NDArray[np.float64] = (traces + corner - cross) / (num * (num - 3))
    return found


def _gram(features_NF: NDArray[np.floating]) -> NDArray[np.float64]:
    """(N, N) inner products without the diagonal. The mean goes first: it changes no HSIC, but rounding."""
    centred = features_NF.astype(np.float64)
    centred -= centred.mean(axis=0)
    gram = centred @ centred.T
    np.fill_diagonal(gram, 0.0)
    return gram


def cka(hsic_RR: NDArray[np.float64]) -> NDArray[np.float64]:
    """Similarity of each pair: 1 for representations that are the same up to rotation and scale, about 0 for unrelated ones.

    Parameters
    ----------
    hsic_RR
        Sum (or mean) of `unbiased_hsic` over batches.

    Returns
    -------
    (R, R); NaN where one of the two does not vary.
    """
    own = np.diagonal(hsic_RR)
    norms = np.sqrt(np.where(own > 0, own, np.nan))
    found: NDArray[np.float64] = hsic_RR / np.outer(norms, norms)
    return found

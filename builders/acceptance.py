"""Whether the pixels of a season are good enough: coverage first, then labels. Pure functions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from builders.config import BuildConfig
from builders.metadata import leading_product
from builders.records import SeasonChoice, SeasonOutcome
from noldo.errors import SourceError
from noldo.products import NUM_DYNAMIC_WORLD_CLASSES, UNLABELLED, ArraySpec
from noldo.status import Status

S2_PRODUCTS = frozenset({"s2_l1c", "s2_l2a", "s2_scl"})
"""Products of the Sentinel-2 scene itself: all must have observed a pixel for it to count as covered. Where twins are
optional, only the leading one must."""

OFF_LATTICE = "off_lattice"
"""Key beside the arrays in what `ImagerySource.read` returns."""


@dataclass(frozen=True)
class Verdict:
    """One season, read and judged."""

    outcome: SeasonOutcome
    status: Status
    """KEPT, NO_COVERAGE or NO_LABELS."""
    reason: str
    """What was found and what was wanted; empty if the season is good."""
    bad_indices: frozenset[str]
    """Scenes that no other candidate of this location needs to be tried with."""


def judge(
    arrays: Mapping[str, np.ndarray],
    choices: Sequence[SeasonChoice],
    *,
    specs: Sequence[ArraySpec],
    size_px: int,
    config: BuildConfig,
) -> list[Verdict]:
    """Judge what was read.

    Parameters
    ----------
    arrays
        By array name, axes (choice, band?, y, x), as `ImagerySource.read` returns them, with `off_lattice`.
    choices
        The images that were asked for.
    specs
        The arrays of the build.
    size_px
        Side of the location's grid in pixels of 10 m.

    Returns
    -------
    One verdict a choice.

    Raises
    ------
    SourceError
        If an array is missing, or has another shape or dtype, or a label is no class.
    """
    check_arrays(arrays, num_choices=len(choices), specs=specs, patch_size_px=size_px)
    return [
        _verdict(
            _measure(
                arrays,
                position,
                choice=choice,
                specs=specs,
                required=frozenset({leading_product(config)}) if config.twins_are_optional else S2_PRODUCTS,
            ),
            config=config,
        )
        for position, choice in enumerate(choices)
    ]


def check_arrays(
    arrays: Mapping[str, np.ndarray],
    *,
    num_choices: int,
    specs: Sequence[ArraySpec],
    patch_size_px: int,
) -> None:
    """Hold the source to its contract before anything is stored.

    Raises
    ------
    SourceError
        If an array is missing, or has another shape or dtype than the store.
    """
    for spec in specs:
        wanted = (spec.item_shape(num_choices, patch_size_px), np.dtype(spec.dtype))
        array = arrays.get(spec.name)
        found = None if array is None else (array.shape, array.dtype)
        if found != wanted:
            raise SourceError(
                f"{spec.name}: the source gave {found}, expected {wanted}; "
                "this is a defect of the source's reader: please report it"
            )


def _measure(
    arrays: Mapping[str, np.ndarray],
    position: int,
    *,
    choice: SeasonChoice,
    specs: Sequence[ArraySpec],
    required: frozenset[str],
) -> SeasonOutcome:
    season = {spec.name: arrays[spec.name][position] for spec in specs}
    counts = class_counts(season["dynamic_world_10m"])
    return SeasonOutcome(
        choice=choice,
        coverage_s2=observed_share(season, specs=[spec for spec in specs if spec.product in required]),
        coverage_s1=observed_share(season, specs=[spec for spec in specs if spec.product == "s1_grd"]),
        label_share=sum(counts) / season["dynamic_world_10m"].size,
        class_counts=counts,
        off_lattice=bool(arrays[OFF_LATTICE][position]),
    )


def observed_share(season: Mapping[str, np.ndarray], *, specs: Sequence[ArraySpec]) -> float:
    """Share of 10 m pixels that every band of these arrays observed (0..1); 1 without any array.

    Parameters
    ----------
    season
        By array name, axes (band?, y, x). A coarse pixel counts for all 10 m pixels it holds.
    """
    observed: np.ndarray | None = None
    for spec in specs:
        values = season[spec.name]
        mask = values != spec.no_data
        if spec.bands:
            mask = mask.all(axis=0)
        fine = mask.repeat(spec.resolution_m // 10, axis=0).repeat(spec.resolution_m // 10, axis=1)
        observed = fine if observed is None else observed & fine
    return 1.0 if observed is None else int(np.count_nonzero(observed)) / observed.size


def class_counts(labels: np.ndarray) -> tuple[int, ...]:
    """Pixels of each Dynamic World class 0..8.

    Parameters
    ----------
    labels
        uint8 (y, x); `UNLABELLED` is no class.

    Raises
    ------
    SourceError
        If a label is neither a class nor `UNLABELLED`.
    """
    counts = np.bincount(labels.reshape(-1), minlength=UNLABELLED + 1)
    between = counts[NUM_DYNAMIC_WORLD_CLASSES:UNLABELLED]
    if between.any():
        label = NUM_DYNAMIC_WORLD_CLASSES + int(between.argmax())
        raise SourceError(
            f"dynamic_world_10m: label {label}, expected 0..8 or {UNLABELLED}; run "
            "`python -m builders check-source` to see what the source serves"
        )
    return tuple(int(count) for count in counts[:NUM_DYNAMIC_WORLD_CLASSES])


def _verdict(outcome: SeasonOutcome, *, config: BuildConfig) -> Verdict:
    clouds = config.clouds
    choice = outcome.choice
    partial = [
        (name, share, index)
        for name, share, index in (
            ("Sentinel-2", outcome.coverage_s2, choice.s2_index),
            ("Sentinel-1", outcome.coverage_s1, choice.s1_index),
        )
        if share < clouds.min_coverage
    ]
    if partial:
        shares = " and ".join(f"{name} observed {percent(share)}" for name, share, _ in partial)
        return Verdict(
            outcome=outcome,
            status=Status.NO_COVERAGE,
            reason=f"{shares} of the patch, {percent(clouds.min_coverage)} wanted",
            bad_indices=frozenset(index for _, _, index in partial),
        )
    if outcome.label_share < clouds.min_label_share:
        return Verdict(
            outcome=outcome,
            status=Status.NO_LABELS,
            reason=f"{percent(outcome.label_share)} of the patch labelled, "
            f"{percent(clouds.min_label_share)} wanted",
            bad_indices=frozenset({choice.s2_index}),
        )
    return Verdict(outcome=outcome, status=Status.KEPT, reason="", bad_indices=frozenset())


def percent(share: float) -> str:
    """A share as people read it; 100 % only if nothing is missing.

    >>> percent(0.99999), percent(1.0), percent(0.5)
    ('99.9 %', '100 %', '50.0 %')
    """
    return "100 %" if share >= 1.0 else f"{min(share * 100, 99.9):.1f} %"

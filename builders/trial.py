"""One location on its way: which candidates are tried, in which order, and when it is enough.

The one place that decides what is read next. It depends on the plan and on pixels, and on nothing else.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from builders.acceptance import Verdict, judge
from builders.config import BuildConfig
from builders.records import LocationOutcome, LocationPlan, SeasonChoice, SeasonOutcome
from builders.sources import ImagerySource
from noldo.errors import RequestRefusedError, RequestTooLargeError, SceneUnavailableError
from noldo.products import ArraySpec, array_specs
from noldo.status import Status


@dataclass(frozen=True)
class Fetched:
    """One location after all its requests."""

    outcome: LocationOutcome
    arrays: Mapping[str, np.ndarray]
    """By array name, axes (season, band?, y, x); empty unless the location is kept."""
    num_requests: int
    """Calls of `ImagerySource.read`."""


def fetch_location(config: BuildConfig, source: ImagerySource, plan: LocationPlan) -> Fetched:
    """Read a location's choices, and the next candidates of the seasons whose pixels are bad.

    At most `pairing.max_candidates` scenes a season are read; the first season that runs out of them
    ends the location. A request that the provider refuses ends it too, with the provider's words.
    """
    trial = _Trial(config, plan)
    try:
        while trial.open_seasons and not trial.exhausted:
            trial.read(source)
    except (RequestRefusedError, RequestTooLargeError) as error:
        return trial.end(Status.REFUSED, str(error))
    return trial.end(*trial.conclusion())


@dataclass
class _Season:
    """What is being tried for one season of one location."""

    name: str
    candidates: tuple[SeasonChoice, ...]
    rank: int = 0
    verdict: Verdict | None = None
    """Of the last candidate that was read."""
    status: Status = Status.NO_SCENE
    """KEPT once a candidate is good; else what was wrong with the last one."""
    failures: list[str] = field(default_factory=list)
    num_skipped: int = 0
    """Candidates that were not tried, because they hold a scene that is known to be bad here."""

    @property
    def choice(self) -> SeasonChoice:
        return self.candidates[self.rank]

    @property
    def exhausted(self) -> bool:
        return self.rank == len(self.candidates)

    def fail(self, status: Status, reason: str) -> None:
        self.status = status
        self.failures.append(f"{self.choice.s2_index}: {reason}")

    def skip(self, bad: set[str]) -> None:
        """Move on to the next candidate that has no scene known to be bad here."""
        while not self.exhausted and bad & {self.choice.s2_index, self.choice.s1_index}:
            self.rank += 1
            self.num_skipped += 1

    def words(self) -> str:
        """What was wrong with each candidate."""
        others = self.num_skipped - len(self.failures)
        more = f"; {others} more with one of these scenes" if others else ""
        return f"{self.name}: {'; '.join(self.failures)}{more}"


class _Trial:
    """One location on its way: the current candidate of each season, and the pixels accepted so far."""

    def __init__(self, config: BuildConfig, plan: LocationPlan) -> None:
        self._config = config
        self._location = plan.location
        self._specs = array_specs(config.products.selected())
        self._seasons = [
            _Season(season.name, ranked[: config.pairing.max_candidates])
            for season, ranked in zip(config.seasons, plan.seasons, strict=True)
        ]
        self._bad: set[str] = set()
        self._arrays = _empty(
            self._specs, num_seasons=len(config.seasons), size_px=plan.location.grid.size_px
        )
        self._num_requests = 0

    @property
    def open_seasons(self) -> list[int]:
        """Seasons without accepted pixels."""
        return [number for number, season in enumerate(self._seasons) if season.status is not Status.KEPT]

    @property
    def exhausted(self) -> bool:
        """A season has no candidate left, so the location can't be kept."""
        return any(season.exhausted for season in self._seasons)

    def read(self, source: ImagerySource) -> None:
        """One request for all open seasons."""
        numbers = self.open_seasons
        choices = [self._seasons[number].choice for number in numbers]
        self._num_requests += 1
        try:
            arrays = source.read(self._location, choices, fallback=self._num_requests > 1)
        except SceneUnavailableError as error:
            self._lose(numbers, error)
        else:
            verdicts = judge(
                arrays,
                choices,
                specs=self._specs,
                size_px=self._location.grid.size_px,
                config=self._config,
            )
            for position, (number, verdict) in enumerate(zip(numbers, verdicts, strict=True)):
                self._decide(number, verdict, {name: a[position] for name, a in arrays.items()})
        for number in self.open_seasons:
            self._seasons[number].skip(self._bad)

    def _decide(self, number: int, verdict: Verdict, arrays: Mapping[str, np.ndarray]) -> None:
        season = self._seasons[number]
        season.verdict = verdict
        if verdict.status is not Status.KEPT:
            season.fail(verdict.status, verdict.reason)
            self._bad |= verdict.bad_indices
            return
        season.status = Status.KEPT
        for spec in self._specs:
            self._arrays[spec.name][number] = arrays[spec.name]

    def _lose(self, numbers: Sequence[int], error: SceneUnavailableError) -> None:
        """Give up the scene that can't be read, or every scene asked for if it was not named."""
        open_ = [self._seasons[number] for number in numbers]
        lost = [season for season in open_ if error.index in (season.choice.s2_index, season.choice.s1_index)]
        for season in lost or open_:
            season.fail(Status.NO_SCENE, str(error))
            self._bad.add(error.index if lost else season.choice.s2_index)

    def conclusion(self) -> tuple[Status, str]:
        """Status and reason; the first exhausted season decides the status."""
        exhausted = [season for season in self._seasons if season.exhausted]
        if not exhausted:
            return Status.KEPT, ""
        return exhausted[0].status, ". ".join(season.words() for season in exhausted)

    def end(self, status: Status, reason: str) -> Fetched:
        """Close the trial."""
        seasons: tuple[SeasonOutcome, ...] = tuple(
            season.verdict.outcome for season in self._seasons if season.verdict is not None
        )
        return Fetched(
            outcome=LocationOutcome(self._location.id, status, reason, seasons),
            arrays=self._arrays if status is Status.KEPT else {},
            num_requests=self._num_requests,
        )


def _empty(specs: Sequence[ArraySpec], *, num_seasons: int, size_px: int) -> dict[str, np.ndarray]:
    shapes = {spec.name: spec.item_shape(num_seasons, size_px) for spec in specs}
    return {spec.name: np.empty(shapes[spec.name], dtype=spec.dtype) for spec in specs}

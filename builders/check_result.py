"""The outcome of one check of an imagery source."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Result = Literal["pass", "fail", "not observed"]

MAX_PROBLEMS = 3
"""Problems that a result spells out; the rest is counted."""


@dataclass(frozen=True)
class CheckResult:
    """One assumption, and what was seen of it."""

    name: str
    """Short and stable, e.g. `size-limit`."""
    result: Result
    expected: str
    found: str


def judged(name: str, *, expected: str, problems: Sequence[str], seen: str, is_observed: bool) -> CheckResult:
    """Fail with the first problems, pass with what was seen, or neither if there was nothing to see."""
    if problems:
        more = f" (and {len(problems) - MAX_PROBLEMS} more)" if len(problems) > MAX_PROBLEMS else ""
        return CheckResult(name, "fail", expected, "; ".join(problems[:MAX_PROBLEMS]) + more)
    if not is_observed:
        return not_observed(name, expected)
    return CheckResult(name, "pass", expected, seen)


def not_observed(name: str, expected: str) -> CheckResult:
    """The locations had nothing that tells."""
    return CheckResult(name, "not observed", expected, "nothing to look at in these locations")

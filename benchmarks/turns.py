"""Ways to do one thing, taken in turns: what else the machine does falls on all of them, and can only add to the fastest turn."""

import time
from collections.abc import Callable, Mapping


def best_seconds(
    turns: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    clock: Callable[[], float] = time.process_time,
    before: Mapping[str, Callable[[], object]] | None = None,
) -> dict[str, float]:
    """Seconds of the fastest turn of each; CPU of the process, so that threads of others don't come for free.

    Parameters
    ----------
    before
        What is done before each turn of a name, outside the time.
    """
    best = dict.fromkeys(turns, float("inf"))
    for _ in range(repeats):
        for name, turn in turns.items():
            if before is not None and name in before:
                before[name]()
            start = clock()
            turn()
            best[name] = min(best[name], clock() - start)
    return best

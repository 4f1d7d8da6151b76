"""The verb `noldo audit`. Loaded when it is asked for, by `noldo.__main__`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from noldo.errors import ConfigError
from noldo.training.commands import require_training, shown_progress


def audit(
    runs: Annotated[tuple[Path, ...], Parameter(name="RUN", consume_multiple=True)],
    /,
    *,
    out: Path,
    store: str | None = None,
    subset: str | None = None,
    label_source: str | None = None,
    label_store: str | None = None,
    split: str = "train",
    season: str | None = None,
    scores: str = "cross_entropy,cross_entropy_by_class,cleanlab",
    flips: bool = True,
    clean_source: str | None = None,
    clean_store: str | None = None,
    in_sample: Annotated[bool, Parameter(negative="")] = False,
) -> str:
    """Rank patches by how wrong their labels look to networks that did not learn from them, and draw the worst.

    Parameters
    ----------
    runs
        Folders of finished transfer runs; each judges what it did not learn from (data.hold_out).
    out
        Folder for audit.csv, audit.md and worst.png.
    store
        A results folder; default: the one that the runs learnt from, with the labels that they learnt.
    subset
        Which store of the folder; default: that of the first run.
    label_source
        Product of the labels, e.g. dynamic_world.
    label_store
        Another results folder that holds them.
    split
        Which locations: train, val or test.
    season
        Only this season; default: all of a location together.
    scores
        Which, with commas; the first one chooses the worst. cleanlab needs the extra `audit`.
    flips
        Whether each network looks at all four flips.
    clean_source
        Labels that are right, of the same classes: tells how well each score orders patches by their share of wrong labels.
    clean_store
        Another results folder that holds them.
    in_sample
        Also judge patches that all runs learnt from: a network that remembers a wrong label calls it right.
    """
    require_training()
    from noldo.audit.auditing import How, Jury, Labels
    from noldo.audit.report import write_report
    from noldo.prediction.mapper import load_mapper
    from noldo.prediction.views import Views

    if not runs:
        raise ConfigError("audit: give the folder of a run, or of several")
    how = How(tuple(scores.split(",")), Views(flips=flips), in_sample)
    what = Labels(
        split=split,
        store=store,
        subset=subset,
        label_source=label_source,
        label_store=label_store,
        season=season,
        clean_source=clean_source,
        clean_store=clean_store,
    )
    jury = Jury([load_mapper(run) for run in runs], what=what, how=how)
    with shown_progress("audit", unit="location") as progress:
        rows = jury.rows(progress=progress)
    return write_report(jury, rows, out=out, score=how.scores[0])

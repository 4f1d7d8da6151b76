"""From folders of runs to findings, and the files that tell them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import torch

from noldo.atomic import atomic_file
from noldo.errors import ConfigError
from noldo.layers.figure import write_layers_figure
from noldo.layers.findings import Finding, csv_of
from noldo.layers.looking import Progress, Scene, looks_of, resets, similarity_and_probes
from noldo.layers.parts import Part
from noldo.layers.subjects import CLEAN, Subject, groups_of, read_subjects
from noldo.layers.table import markdown
from noldo.layers.transplants import transplants

TITLE = "Which layers survive noise"


@dataclass(frozen=True)
class Asked:
    """What is to be measured, and where."""

    store: str | None = None
    """None: the one that the clean runs learnt from."""
    subset: str | None = None
    label_source: str | None = None
    """Clean labels. None: those that the clean runs learnt."""
    label_store: str | None = None
    """None: that of the clean runs, if the store is theirs; else the store itself."""
    split: str = "val"
    crop_px: int | None = None
    """None: whole patches."""
    without: tuple[Part, ...] = ()
    epochs: int = 2
    """Of each training after a transplant."""


@dataclass(frozen=True)
class Compared:
    """What came out."""

    findings: tuple[Finding, ...]
    markdown: str


def compare_layers(
    noisy: Sequence[Path],
    clean: Sequence[Path],
    *,
    asked: Asked,
    out: Path,
    progress: Progress | None = None,
) -> Compared:
    """Measure all layers of all runs, and write `layers.csv`, `layers.md` and `layers.png`.

    Parameters
    ----------
    noisy, clean
        Folders of finished runs.
    out
        Folder; it is made.

    Raises
    ------
    CheckpointError, ConfigError, StoreError
        If runs and store do not fit together, before anything is measured.
    """
    subjects = read_subjects(noisy, clean)
    scene = scene_of(subjects[0], asked)
    classes = scene.open(asked.split).legend.classes
    wanted = [part for part in get_args(Part) if part not in asked.without]
    if not wanted:
        raise ConfigError(f"--without {', '.join(asked.without)}: nothing is left to measure")
    judged = [one for one in subjects if one.learnt(classes)]
    if not any(one.group == CLEAN for one in judged):
        raise ConfigError(
            f"{subjects[0].folder}: learnt other classes than {', '.join(classes)} of the labels to judge by; give --label-source "
            "(and --label-store) of its own labels"
        )
    out.mkdir(parents=True, exist_ok=True)
    findings = _measured(subjects, judged, scene, asked=asked, wanted=wanted, out=out, progress=progress)
    text = markdown(findings, title=TITLE, notes=_notes(subjects, judged, asked, scene, wanted=wanted))
    _write(out, findings, text)
    return Compared(tuple(findings), text)


def scene_of(clean: Subject, asked: Asked) -> Scene:
    """Images and clean labels: those of a clean run, as far as nothing else is asked for."""
    data = clean.recipe.data
    changes: dict[str, object] = {"noise": None}
    if asked.store is not None and asked.store != data.store:
        changes |= {"store": asked.store, "label_store": asked.label_store}
    for key in ("subset", "label_source", "label_store"):
        if (value := getattr(asked, key)) is not None:
            changes[key] = value
    return Scene(
        data=data.model_copy(update=changes),
        split=asked.split,
        modality=clean.modality,
        batch_size=clean.recipe.batch_size,
        crop_px=asked.crop_px,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
    )


def _measured(
    subjects: Sequence[Subject],
    judged: Sequence[Subject],
    scene: Scene,
    *,
    asked: Asked,
    wanted: Sequence[str],
    out: Path,
    progress: Progress | None,
) -> list[Finding]:
    found: list[Finding] = []
    if looked := [part for part in wanted if part in ("similarity", "probe")]:
        looks = looks_of(subjects, device=scene.device)
        found += similarity_and_probes(looks, scene, wanted=looked, progress=progress)
        del looks
    if "reset" in wanted:
        for one in judged:
            found += resets(one, scene, progress=progress)
    if "transplant" in wanted:
        found += transplants(subjects, scene, epochs=asked.epochs, out=out, progress=progress)
    return found


def _notes(
    subjects: Sequence[Subject],
    judged: Sequence[Subject],
    asked: Asked,
    scene: Scene,
    *,
    wanted: Sequence[str],
) -> list[str]:
    seeds: Mapping[str, list[int]] = {
        group: [one.seed for one in subjects if one.group == group] for group in groups_of(subjects)
    }
    told = "; ".join(f"{group}: {', '.join(map(str, values))}" for group, values in seeds.items())
    looked_at = "whole patches" if scene.crop_px is None else f"the {scene.crop_px} px in the middle"
    notes = [f"Split {scene.split}, {looked_at}. Seeds of the runs: {told}."]
    if left := [group for group in seeds if group not in groups_of(judged)]:
        notes.append(f"Of {', '.join(left)} no reset is judged: those runs learnt other classes.")
    if "transplant" in wanted:
        notes.append(f"Trainings after a transplant: {asked.epochs} epochs.")
    return notes


def _write(out: Path, findings: Sequence[Finding], text: str) -> None:
    for name, content in (("layers.csv", csv_of(findings)), ("layers.md", text)):
        with atomic_file(out / name) as file:
            file.write(content.encode())
    write_layers_figure(out / "layers.png", findings, title=TITLE)

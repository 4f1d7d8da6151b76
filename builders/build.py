"""What surrounds the jobs of a build: its config, its folder, its lock, its sandbox, its first and last words.

Called from the Snakefile, so it imports nothing heavy.
"""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from builders import build_lock
from builders.config import BuildConfig, parse_config
from builders.config_sections import Subset
from builders.cut import Cut
from builders.layout import Layout
from builders.quota_state import clear_authentication
from builders.sandbox_process import start_sandbox, stop_sandbox
from noldo.errors import ConfigError, NoldoError

ERROR_PREFIX = "builders: "
"""What `python -m builders` puts before the one line in which it says why it failed."""

PLACEHOLDER_PROJECT = "your-project"
"""What config/noldo_s12.yaml says until its user writes their own."""


def read_config(tree: Mapping[str, object]) -> BuildConfig:
    """Validate what snakemake read from the config file and the command line.

    Raises
    ------
    ConfigError
        With every wrong key, in one line.
    """
    return parse_config(dict(tree), where="config")


def cut_of(config: BuildConfig) -> Cut:
    """How the locations of a build are cut."""
    jobs = config.jobs
    return Cut(
        num_locations=config.locations.count,
        per_shard=jobs.locations_per_shard,
        per_job=jobs.locations_per_job,
        per_search=jobs.locations_per_search,
    )


def check_folder(config: BuildConfig, layout: Layout) -> None:
    """Make sure that the results folder is this config's, or nobody's. Reads only.

    Raises
    ------
    ConfigError
        If it was built from a config that gives other data; names the first key that differs.
    """
    if not layout.config.exists():
        if layout.store.exists():
            raise ConfigError(
                f"{layout.results} holds a store but no config.json, so it can't be continued; "
                "give this build another `name`, or move that folder away"
            )
        return
    try:
        earlier = parse_config(
            json.loads(layout.config.read_text(encoding="utf-8")), where=str(layout.config)
        )
    except json.JSONDecodeError:
        raise ConfigError(
            f"{layout.config}: not JSON; move {layout.results} away, or restore the file"
        ) from None
    for subset in earlier.subsets:  # others may be added to the folder
        key, before, now = _difference(earlier, config, subset)
        if key:
            raise ConfigError(
                f"{layout.results} belongs to another config: {key} was {before}, now {now}; "
                "give this build another `name`, or move that folder away (nothing was changed)"
            )


def _difference(earlier: BuildConfig, config: BuildConfig, subset: Subset) -> tuple[str, object, object]:
    """The first key that decides a subset's data and differs, with both values; an empty key if none does."""
    if subset not in config.subsets:
        return subset, "a section", "left out"
    before, now = (one.of_subset(subset).identity() for one in (earlier, config))
    return ("", None, None) if before == now else _first_difference(before, now)


def _first_difference(before: object, now: object, path: str = "") -> tuple[str, object, object]:
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted(before.keys() | now.keys()):
            if before.get(key) != now.get(key):
                return _first_difference(before.get(key), now.get(key), f"{path}.{key}".lstrip("."))
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        for position, (old, new) in enumerate(zip(before, now, strict=True)):
            if old != new:
                return _first_difference(old, new, f"{path}[{position}]")
    return path, json.dumps(before), json.dumps(now)


def greeting(config: BuildConfig) -> str:
    """The first lines of a build."""
    count = f"{config.locations.count:,} locations x {len(config.seasons)} seasons"
    count += f"; {config.dw.count:,} expert tiles" if config.dw else "; no section `dw`, so no subset @DW"
    count += ", OpenStreetMap on them" if config.osm else "; no section `osm`, so no subset @OSM"
    if config.synthetic:
        return (
            f"NoLDO-S12 build '{config.name}' ({count}) from the SANDBOX: a synthetic Earth, not real imagery "
            "(synthetic: true in every output).\n"
            "For real imagery from Earth Engine: put your project into config/noldo_s12.yaml, run `earthengine "
            "authenticate`, then\n"
            "  snakemake --cores 16 build_noldo --configfile config/noldo_s12.yaml"
        )
    if config.source.is_sandbox:
        return f"NoLDO-S12 build '{config.name}' ({count}) from the scenes of {config.sandbox.catalogue}."
    return (
        f"NoLDO-S12 build '{config.name}' ({count}) from {config.source.url}, "
        f"project {config.source.project or '(none)'}."
    )


def farewell(layout: Layout) -> str:
    """The last lines of a build that ended well."""
    return (
        f"Done: {layout.results}\n"
        f"  look at it   {layout.report}\n"
        f"  summary      noldo info {layout.results}\n"
        f"  load it      NoldoS12({str(layout.results)!r})"
    )


def advice(layout: Layout, running: "Running | None") -> str:
    """The last lines of a build that stopped: why, as far as its jobs said so, and how to go on."""
    reasons = [] if running is None else failures(layout, since_s=running.started_s)
    return "\n".join(
        [
            "The build stopped:" if reasons else "The build stopped.",
            *(f"  {path}: {words}" for path, words in reasons),
            f"What was fetched is kept in {layout.work}; the same command goes on from there.",
        ]
    )


def failures(layout: Layout, *, since_s: float) -> list[tuple[Path, str]]:
    """Logs of this build whose job ended with an error, and its words.

    Parameters
    ----------
    since_s
        Start of the build in seconds since 1970-01-01: older logs are not looked at.
    """
    found = []
    for path in sorted((layout.root / "logs" / layout.name).rglob("*.log")):
        if path.stat().st_mtime < since_s:
            continue
        lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        if lines and lines[-1].startswith(ERROR_PREFIX):
            found.append((path, lines[-1].removeprefix(ERROR_PREFIX)))
        elif any(line.startswith("Traceback") for line in lines):
            found.append((path, f"{lines[-1]} (a defect of ours: please report it with this log)"))
    return found


def require_project(config: BuildConfig) -> None:
    """Refuse the placeholder of the example config, before anything is asked for.

    Raises
    ------
    ConfigError
        If `source.project` still is `your-project`.
    """
    if config.source.project == PLACEHOLDER_PROJECT and not config.source.is_loopback:
        raise ConfigError(
            f"source.project is still the example's {PLACEHOLDER_PROJECT!r}: name your own Google Cloud project "
            "that is registered for Earth Engine, in a copy of the config or with `--config`"
        )


@dataclass(frozen=True)
class Running:
    """A build in progress."""

    lock: IO[str]
    sandbox: subprocess.Popen[bytes] | None
    started_s: float
    """Seconds since 1970-01-01."""


def start(config: BuildConfig, layout: Layout, *, basedir: Path) -> Running:
    """Own the folder, write down the config, start the sandbox if the build uses it.

    Raises
    ------
    ConfigError
        If the folder is another config's, or no project is named.
    BuildInUseError
        If another build is writing to the folder.
    NoldoError
        If the folder can't be written to.
    """
    require_project(config)
    started_s = time.time()
    try:
        lock = build_lock.take_ownership(layout.work)
        check_folder(config, layout)
        write_config(config, layout)
        clear_authentication(layout, config.source)  # whoever starts again may have logged in meanwhile
    except OSError as error:
        raise NoldoError(
            f"{error.filename or layout.results}: can't be written ({error.strerror}); "
            "free the disk, or start the build in a folder you may write to (--directory)"
        ) from None
    os.environ[build_lock.OWNER_VARIABLE] = build_lock.owner_value(layout.work)
    sandbox = None
    if config.source.is_sandbox:
        log = layout.root / "logs" / layout.name / "sandbox.log"
        sandbox = start_sandbox(config, layout, basedir=basedir, log=log)
    return Running(lock=lock, sandbox=sandbox, started_s=started_s)


def write_config(config: BuildConfig, layout: Layout) -> None:
    """Write the resolved config, unless it is there already: its age means nothing to snakemake."""
    text = config.model_dump_json(indent=2) + "\n"
    if layout.config.exists() and layout.config.read_text(encoding="utf-8") == text:
        return
    layout.config.parent.mkdir(parents=True, exist_ok=True)
    temporary = layout.config.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(layout.config)


def finish(running: Running | None) -> None:
    """Stop the sandbox and give up the folder."""
    if running is None:
        return
    if running.sandbox is not None:
        stop_sandbox(running.sandbox)
    running.lock.close()

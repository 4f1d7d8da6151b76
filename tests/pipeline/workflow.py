"""Snakemake as users run it, for tests."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]


def tiny_config(name: str = "tiny", **changes: object) -> dict[str, object]:
    """Eight places, two seasons, patches of 600 m: everything the big build does, in seconds."""
    tree: dict[str, object] = {
        "name": name,
        "source": {"url": "sandbox", "credentials": "anonymous"},
        "locations": {"count": 8, "seed": 3},
        "patch_size_px": 60,
        "seasons": [
            {"name": "spring", "date": "2021-03-20"},
            {"name": "summer", "date": "2021-06-21"},
        ],
        "jobs": {"locations_per_shard": 2, "locations_per_job": 4, "locations_per_search": 8},
    }
    return tree | changes


MEASURE = """
import json, resource, subprocess, sys
status = subprocess.run(sys.argv[2:]).returncode
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
json.dump({"cpu_s": usage.ru_utime + usage.ru_stime, "peak_kb": usage.ru_maxrss}, open(sys.argv[1], "w"))
sys.exit(status)
"""


@dataclass(frozen=True)
class Workflow:
    """Snakemake in a folder of its own, as users run it."""

    folder: Path
    snakefile: Path = ROOT / "Snakefile"

    def write_config(self, tree: dict[str, object]) -> Path:
        path = self.folder / "config.yaml"
        path.write_text(yaml.safe_dump(tree), encoding="utf-8")
        return path

    def command(self, *arguments: str, cores: int = 2) -> list[str]:
        return [
            *(sys.executable, "-m", "snakemake", "-s", str(self.snakefile)),
            *("--directory", str(self.folder), "--cores", str(cores), *arguments),
        ]

    def run(
        self, *arguments: str, cores: int = 2, timeout: float = 600, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments, cores=cores),
            capture_output=True,
            text=True,
            timeout=timeout,
            cwd=self.folder,
            env=os.environ | environment,
            check=False,
        )

    def run_measured(self, *arguments: str, cores: int = 2) -> tuple[int, str, dict[str, float]]:
        """(exit status, what was printed, `cpu_s` of the run and `peak_kb` of its largest process).

        A small process in between starts it: a child's peak begins with that of whoever forked it.
        """
        usage = self.folder / "usage.json"
        measured = [sys.executable, "-c", MEASURE, str(usage), *self.command(*arguments, cores=cores)]
        done = subprocess.run(
            measured, capture_output=True, text=True, cwd=self.folder, check=False, timeout=1100
        )
        return done.returncode, done.stdout + done.stderr, json.loads(usage.read_text())

    def build(self, tree: dict[str, object], *arguments: str, cores: int = 2, timeout: float = 600) -> str:
        """Build, insist that it worked, and return what was printed."""
        config = self.write_config(tree)
        done = self.run(*arguments, "--configfile", str(config), cores=cores, timeout=timeout)
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
        return done.stdout + done.stderr

    def noldo(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._python("noldo", *arguments)

    def _python(self, module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", module, *arguments],
            capture_output=True,
            text=True,
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            check=False,
            timeout=600,
        )

    def builders(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._python("builders", *arguments)

    def digest(self, name: str = "tiny") -> str:
        done = self.noldo("digest", f"results/{name}")
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def info(self, name: str = "tiny", *, subset: str = "nol") -> dict[str, object]:
        done = self.noldo("info", f"results/{name}", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)[subset]


def copy_checkout(folder: Path) -> Path:
    """The workflow's own files in another folder, which is returned."""
    folder.mkdir()
    for name in ("Snakefile", "pipeline", "builders", "sandbox", "noldo", "config", "profiles"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, folder / name)
    return folder

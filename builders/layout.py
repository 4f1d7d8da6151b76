"""Where each file of a build lies. Relative to the working directory; standard library only."""

from dataclasses import dataclass
from pathlib import Path

SUBSET = "nol"


@dataclass(frozen=True)
class Layout:
    """Paths of one build."""

    name: str
    """`BuildConfig.name`."""
    root: Path = Path()
    """Working directory of the build."""

    @property
    def results(self) -> Path:
        """What users keep."""
        return self.root / "results" / self.name

    @property
    def work(self) -> Path:
        """What is needed to go on, and may be deleted once the build is done."""
        return self.root / "work" / self.name

    @property
    def config(self) -> Path:
        """The resolved config that this folder belongs to."""
        return self.results / "config.json"

    @property
    def store(self) -> Path:
        """The Zarr group."""
        return self.results / f"{SUBSET}.zarr"

    @property
    def index(self) -> Path:
        """GeoParquet: one row a location tried."""
        return self.results / f"{SUBSET}.parquet"

    @property
    def manifest(self) -> Path:
        """What the data is; part of the digest."""
        return self.results / f"{SUBSET}.json"

    @property
    def run(self) -> Path:
        """What the build did: counters, times, versions; in no digest."""
        return self.results / f"{SUBSET}.run.json"

    @property
    def report(self) -> Path:
        """Self-contained HTML."""
        return self.results / "report.html"

    @property
    def locations(self) -> Path:
        """All locations: parquet."""
        return self.work / "locations.parquet"

    def candidates(self, search: int) -> Path:
        """Every scene the provider named, for one search job: parquet."""
        return self.work / "candidates" / f"{search}.parquet"

    def scenes(self, search: int) -> Path:
        """Every choice and its reason, for one search job: parquet."""
        return self.work / "scenes" / f"{search}.parquet"

    def outcomes(self, job: int) -> Path:
        """What became of each location of a fetch job: parquet."""
        return self.work / "outcomes" / f"{job}.parquet"

    def ready(self, job: int) -> Path:
        """Empty file: the pixels of this fetch job are staged. Snakemake deletes it (temp)."""
        return self.work / "pixels" / f"{job}.ready"

    def spool(self, job: int) -> Path:
        """Staged pixels, a file a location. Not a declared output: it survives a kill."""
        return self.work / "spool" / str(job)

    def swept(self, job: int) -> Path:
        """Receipt: all shards of this fetch job are packed and its spool is gone."""
        return self.work / "swept" / f"{job}.json"

    @property
    def created(self) -> Path:
        """Receipt: the metadata of the store was written."""
        return self.work / "created"

    @property
    def statistics(self) -> Path:
        """Per-band statistics and class counts: JSON."""
        return self.work / "statistics.json"

    @property
    def requests(self) -> Path:
        """Folder of request logs: a JSON-lines file a process, appended as requests end."""
        return self.work / "requests"

    @property
    def sandbox(self) -> Path:
        """Address of the running sandbox: JSON with `url`."""
        return self.work / "sandbox.json"

    @property
    def quota(self) -> Path:
        """Folder of the quota states, a JSON file a project: shared by all builds of this directory."""
        return self.root / "work" / "quota"

"""Where each file of a build lies. Relative to the working directory."""

from dataclasses import dataclass, replace
from pathlib import Path

from builders.config_sections import Subset


@dataclass(frozen=True)
class Layout:
    """Paths of one build, and of one of its subsets."""

    name: str
    """`BuildConfig.name`."""
    root: Path = Path()
    """Working directory of the build."""
    subset: Subset = "nol"
    """Whose tables, spool, store and index these are."""

    def of(self, subset: Subset) -> "Layout":
        """The same build, another subset."""
        return replace(self, subset=subset)

    @property
    def results(self) -> Path:
        """What users keep."""
        return self.root / "results" / self.name

    @property
    def work(self) -> Path:
        """What is needed to go on, and may be deleted once the build is done."""
        return self.root / "work" / self.name

    @property
    def steps(self) -> Path:
        """What the steps of the subset hand on."""
        return self.work / self.subset

    @property
    def config(self) -> Path:
        """The resolved config that this folder belongs to."""
        return self.results / "config.json"

    @property
    def store(self) -> Path:
        """The Zarr group."""
        return self.results / f"{self.subset}.zarr"

    @property
    def index(self) -> Path:
        """GeoParquet: one row a location tried."""
        return self.results / f"{self.subset}.parquet"

    @property
    def manifest(self) -> Path:
        """What the data is; part of the digest."""
        return self.results / f"{self.subset}.json"

    @property
    def run(self) -> Path:
        """What the build did: counters, times, versions; in no digest."""
        return self.results / f"{self.subset}.run.json"

    @property
    def report(self) -> Path:
        """Self-contained HTML."""
        return self.results / "report.html"

    @property
    def _places(self) -> Path:
        """@OSM lies on the tiles of @DW."""
        return self.of("dw").steps if self.subset == "osm" else self.steps

    @property
    def locations(self) -> Path:
        """All locations: parquet."""
        return self._places / "locations.parquet"

    @property
    def tiles(self) -> Path:
        """@DW and @OSM: what is known of each tile and its label: parquet."""
        return self._places / "tiles.parquet"

    @property
    def expert_files(self) -> Path:
        """@DW of the sandbox: folder of its tile tables and labels."""
        return self.steps / "experts"

    @property
    def areas(self) -> Path:
        """@OSM: folder of the areas that were found in extracts: a folder an extract, a file a job."""
        return self.steps / "areas"

    @property
    def overpass(self) -> Path:
        """@OSM: areas as Overpass answered, a file a location. Not a declared output: it survives a kill."""
        return self.steps / "overpass"

    def extract_report(self, extract: int) -> Path:
        """@OSM: what was found in one extract: JSON. It is written last, when its areas are complete."""
        return self.steps / "extracts" / f"{extract}.json"

    def osm_labels(self, job: int) -> Path:
        """@OSM: class maps of the locations of a job, and how they were screened: parquet."""
        return self.steps / "labels" / f"{job}.parquet"

    def candidates(self, search: int) -> Path:
        """Every scene the provider named, for one search job: parquet."""
        return self.steps / "candidates" / f"{search}.parquet"

    def scenes(self, search: int) -> Path:
        """Every choice and its reason, for one search job: parquet."""
        return self.steps / "scenes" / f"{search}.parquet"

    def outcomes(self, job: int) -> Path:
        """What became of each location of a fetch job: parquet."""
        return self.steps / "outcomes" / f"{job}.parquet"

    def ready(self, job: int) -> Path:
        """Empty file: the pixels of this fetch job are staged. Snakemake deletes it (temp)."""
        return self.steps / "pixels" / f"{job}.ready"

    def spool(self, job: int) -> Path:
        """Staged pixels, a file a location. Not a declared output: it survives a kill."""
        return self.steps / "spool" / str(job)

    def swept(self, job: int) -> Path:
        """Receipt: all shards of this fetch job are packed and its spool is gone."""
        return self.steps / "swept" / f"{job}.json"

    @property
    def created(self) -> Path:
        """Receipt: the metadata of the store was written."""
        return self.steps / "created"

    @property
    def statistics(self) -> Path:
        """Per-band statistics and class counts: JSON."""
        return self.steps / "statistics.json"

    @property
    def requests(self) -> Path:
        """Folder of request logs: a JSON-lines file a process, appended as requests end."""
        return self.steps / "requests"

    @property
    def sandbox(self) -> Path:
        """Address of the running sandbox: JSON with `url`."""
        return self.work / "sandbox.json"

    @property
    def quota(self) -> Path:
        """Folder of the quota states, a JSON file a project: shared by all builds of this directory."""
        return self.root / "work" / "quota"

"""How the locations are cut into searches, jobs and shards. Pure arithmetic; standard library only."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Cut:
    """Rows 0..num_locations-1 of the store, in three sizes of pieces that nest."""

    num_locations: int
    per_shard: int
    """Locations in a shard file."""
    per_job: int
    """Locations in a fetch job; a multiple of `per_shard`."""
    per_search: int
    """Locations in a search job; a multiple of `per_job`."""

    @property
    def shards(self) -> range:
        """Numbers of all shards."""
        return range(-(-self.num_locations // self.per_shard))

    @property
    def jobs(self) -> range:
        """Numbers of all fetch jobs."""
        return range(-(-self.num_locations // self.per_job))

    @property
    def searches(self) -> range:
        """Numbers of all search jobs."""
        return range(-(-self.num_locations // self.per_search))

    def rows_of_shard(self, shard: int) -> range:
        """Rows of the store in one shard."""
        return self._rows(shard, self.per_shard)

    def rows_of_job(self, job: int) -> range:
        """Rows of the store in one fetch job."""
        return self._rows(job, self.per_job)

    def rows_of_search(self, search: int) -> range:
        """Rows of the store in one search job."""
        return self._rows(search, self.per_search)

    def shards_of_job(self, job: int) -> range:
        """Shards packed from one fetch job."""
        rows = self.rows_of_job(job)
        return range(rows.start // self.per_shard, -(-rows.stop // self.per_shard))

    def job_of_shard(self, shard: int) -> int:
        """The fetch job a shard is packed from."""
        return shard * self.per_shard // self.per_job

    def search_of_job(self, job: int) -> int:
        """The search job whose scenes a fetch job reads."""
        return job * self.per_job // self.per_search

    def _rows(self, piece: int, size: int) -> range:
        start = piece * size
        if not 0 <= start < self.num_locations:
            raise IndexError(f"piece {piece} of {size} locations: there are {self.num_locations} locations")
        return range(start, min(start + size, self.num_locations))

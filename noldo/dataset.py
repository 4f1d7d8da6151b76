"""`NoldoS12`: a map-style torch Dataset over the kept locations of a store.

Needs numpy and torch (and obstore for object stores); no parquet, no rasterio, no Earth Engine.

Axes: S season, B band, Y row (north first), X column.
"""

import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

import numpy as np
import torch
from torch.utils.data import Dataset

from noldo.bands import BandChoice
from noldo.common_legend import lookup_into
from noldo.crops import Box, Crop, imagery_sides_px
from noldo.dataset_choices import Season, chosen_images, chosen_season, kept_rows, label_rows, label_spec
from noldo.draws import first_words
from noldo.errors import ConfigError
from noldo.files import Cache
from noldo.legend import LEGEND_OF_PRODUCT, LEGENDS, Legend, Lookup
from noldo.paths import find_subset
from noldo.pixel_reads import PixelRead
from noldo.products import UNLABELLED, ArraySpec
from noldo.reader import StoreReader

Sample = dict[str, Any]
_CROPS = 1
"""Stream of random numbers that places crops; seasons have the one without a number."""


class NoldoS12(Dataset[Sample]):
    """One sample a kept location: images at native resolution, and labels.

    A sample is a dict:

    * one tensor an array of the chosen modalities, e.g. `s2_l1c_10m` (B, Y, X) uint16 reflectance x 10,000 with no
      data 65535, `s1_grd_10m` (B, Y, X) int16 hundredths of a dB with no data -32768; with `season="all"`
      (S, B, Y, X). `noldo.on_one_grid` makes float tensors of one size from them;
    * `mask` (Y, X) uint8, class ids of `noldo.legend`, 255 = unlabelled (`ignore_index`); (S, Y, X) with
      `labels="all"` or `season="all"`;
    * `id` int, `season` int (position on the season axis; -1 for all), `crs` EPSG code (0: not known), `bounds` (4,)
      float64 x_min, y_min, x_max, y_max in metres of what was loaded (NaN without a CRS).

    Tiles of different size may live in one store (@DW, @OSM), padded to one. Padding is never handed out unless asked for:
    a sample is the whole imagery of its tile, so samples differ in size, or a crop of `crop_px`. Imagery reaches up to 5 px
    beyond a tile, where there is no label.

    The constructor reads the small arrays only. Some shards stay open, and are read at positions: the data set can be
    pickled, and works with threads and with forked and spawned DataLoader workers (spawned ones only behind a URL).

    Parameters
    ----------
    root
        A results folder, the path of its `nol.zarr`, or the URL of either (`s3://`, `gs://`).
    modalities
        Products to load: `s2_l1c`, `s2_l2a`, `s2_scl`, `s1_grd`, `dynamic_world_probability`. None: L1C (or L2A, if
        there is no L1C) and Sentinel-1, as far as they are stored.
    bands
        Bands of Sentinel-2: 13, 12, 9 or 3 (as in CromSS), names, or None for all that are stored.
    season
        `random`: one a location and epoch, decided by `seed`, epoch and id alone; `all`; or a season's name or
        position.
    split
        `train`, `val`, `test`, or None for all kept locations.
    only
        Ids of the locations to hand out; None: all of the split.
    labels
        `season`: of the season that is loaded; `all`: of every season; None: no labels.
    label_source
        Product of the labels: `truth`, `osm`, `expert`, `dfc2020`, `dynamic_world`, or one that networks predicted
        (`noldo.products.PREDICTED_LABELS`). None: the first of these that is stored.
    label_store
        Another results folder (or store, or URL) whose subset of the same name holds the labels of these locations, e.g. by
        `noldo.label_store`. None: they are in this one.
    legend
        Name of another legend that labels are read in (`noldo.legend.LEGENDS`), e.g. one of fewer classes; a class without a
        counterpart becomes 255. None: their own.
    crop_px
        Side of a square crop in pixels of 10 m; a multiple of 6, so that 20 and 60 m bands have whole pixels. None: whole.
    crop_at
        `random`: decided by `seed`, epoch and id alone; or `centre`.
    pad
        Hand out the store's whole patch, with no data and 255 beyond the tile: a batch of tiles of different size.
    seed
        Of seasons and crops; at least 0.
    cache
        Folder and bound of whole copies of shards, which are read instead of the shards themselves: for object stores, and disks that
        are slow at random reads. None: shards are read where they are.
    transform
        Called with each sample; what it returns is the sample.

    Raises
    ------
    ConfigError
        If an argument names what the store does not hold.
    StoreError
        If there is no store, or the cache can't be written to.
    StoreFormatError
        If it is of another format.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        subset: str = "nol",
        modalities: Sequence[str] | None = None,
        bands: BandChoice = None,
        season: Season = "random",
        split: str | None = "train",
        only: Collection[int] | None = None,
        labels: Literal["season", "all"] | None = "season",
        label_source: str | None = None,
        label_store: str | Path | None = None,
        legend: str | None = None,
        crop_px: int | None = None,
        crop_at: Literal["random", "centre"] = "random",
        pad: bool = False,
        seed: int = 0,
        cache: Cache | None = None,
        transform: Callable[[Sample], Sample] | None = None,
    ) -> None:
        if seed < 0:
            raise ConfigError(f"seed {seed}: expected 0 or more")
        images = find_subset(root, subset=subset)
        self._reader = StoreReader.open(images.store, cache=cache)
        self._images = chosen_images(self._reader, modalities, bands)
        self._season = chosen_season(self._reader, season)
        self._seed = seed
        self.set_transform(transform)
        self._rows = kept_rows(self._reader, split, only)
        self._beside = label_rows(
            self._reader, self._rows["row"], label_store, subset=images.subset, cache=cache
        )
        self._label = label_spec(self._beside.reader, labels, label_source)
        self._labels = labels
        self._read_as = legend
        self._lookup: Lookup | None = None
        if legend is not None and self._label is not None:
            own = LEGEND_OF_PRODUCT[self._label.product]
            self._lookup = lookup_into(own, legend, where=self._beside.reader.files.where)
        self._crop = Crop.of(self._reader.layout, crop_px=crop_px, at=crop_at, pad=pad)
        windows = self._reader.row_values("window")[self._rows["row"]]
        self._sides_px = imagery_sides_px(self._reader.layout, windows)
        self._crop.check(self._sides_px, ids=self._rows["id"])
        # Shared memory: workers that outlive an epoch see the new number too.
        self._epoch = torch.zeros(1, dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # torch does not type it
        self._seasons: tuple[int, np.ndarray] | None = None

    @property
    def season_names(self) -> tuple[str, ...]:
        """Names along the season axis."""
        return self._reader.layout.season_names

    @property
    def bands(self) -> dict[str, tuple[str, ...]]:
        """Names along the band axis of each image array of a sample; empty where it has no such axis."""
        return {
            spec.name: spec.bands if positions is None else tuple(spec.bands[one] for one in positions)
            for spec, positions in self._images
        }

    @property
    def ids(self) -> np.ndarray:
        """Ids of the locations in sample order, (sample,) int64."""
        return self._rows["id"]

    @property
    def store_rows(self) -> np.ndarray:
        """Row of the store of each sample, (sample,) int64."""
        return self._rows["row"]

    @property
    def shards(self) -> np.ndarray:
        """Shard of the store that each sample's images lie in, (sample,) int64."""
        return self._rows["row"] // self._reader.layout.locations_per_shard

    @property
    def places(self) -> np.ndarray:
        """Where each sample's patch lies, (sample, 3) int64: EPSG code (0: not known), easting and northing of its upper left corner in m."""
        return np.stack([self._rows[name].astype(np.int64) for name in ("crs_epsg", "x_ul", "y_ul")], axis=1)

    def digest(self) -> str:
        """SHA-256 of the store's metadata and small arrays: of the same build, the same."""
        return self._reader.digest()

    @property
    def patch_size_px(self) -> int:
        """Side of the store's patches in pixels of 10 m; samples of smaller tiles are smaller."""
        return self._reader.layout.patch_size_px

    @property
    def sides_px(self) -> np.ndarray:
        """Side of each sample in pixels of 10 m, (sample,) int64, in sample order."""
        return np.array([self._crop.box_side_px(int(side)) for side in self._sides_px], np.int64)

    @property
    def crop_step_px(self) -> int:
        """Crops begin and end at multiples of it: the coarsest pixel that is stored, in pixels of 10 m."""
        return self._crop.step_px

    @property
    def has_labels(self) -> bool:
        """Whether samples have a `mask`."""
        return self._label is not None

    @property
    def legend(self) -> Legend:
        """Classes of `mask`.

        Raises
        ------
        ConfigError
            If the data set was made without labels.
        """
        if self._label is None:
            raise ConfigError(f"{self._reader.files.where}: loaded without labels")
        return LEGENDS[self._read_as] if self._read_as is not None else self._stored_legend

    @property
    def _stored_legend(self) -> Legend:
        """Classes of the labels as stored."""
        return LEGEND_OF_PRODUCT[cast(ArraySpec, self._label).product]

    @property
    def classes_left_out(self) -> tuple[str, ...]:
        """Classes of the stored labels that have no counterpart in the legend that they are read in."""
        if self._lookup is None:
            return ()
        names = self._stored_legend.classes
        return tuple(name for position, name in enumerate(names) if self._lookup[position] == UNLABELLED)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that `season="random"` draws for; call it before each epoch, as with samplers.

        Raises
        ------
        ConfigError
            If it is below 0.
        """
        if epoch < 0:
            raise ConfigError(f"epoch {epoch}: expected 0 or more")
        self._epoch[0] = epoch

    def set_transform(
        self, transform: Callable[[Sample], Sample] | None, *, keeps_nothing: bool = False
    ) -> None:
        """Choose what each sample goes through, where that depends on the data set (its legend).

        Parameters
        ----------
        keeps_nothing
            It keeps no sample, and hands tensors on under their own keys only: so it may be given memory that is used again.
        """
        self._transform, self._keeps_nothing = transform, keeps_nothing

    def __repr__(self) -> str:
        arrays = ", ".join(spec.name for spec, _ in self._images)
        return f"NoldoS12({self._reader.files.where!r}, {len(self)} locations, season={self._season!r}, {arrays})"

    def __len__(self) -> int:
        """Kept locations of the split."""
        return len(self._rows["id"])

    def __getitem__(self, index: int) -> Sample:
        """One sample; see the class."""
        return self.samples_into([{}], [index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Sample]:
        """Samples of one batch, in the order asked for."""
        return self.samples_into([{}] * len(indices), indices)

    def samples_into(self, outs: Sequence[Mapping[str, np.ndarray]], indices: Sequence[int]) -> list[Sample]:
        """Samples, whose pixels go straight into memory that is there already. Several at once cost less than one at a time.

        Parameters
        ----------
        outs
            For each sample, key to a contiguous array of the shape and dtype that it has under this key; others are not used. None
            is used where a transform might keep it.

        Returns
        -------
        The samples, in the order asked for; their tensors are views of `outs`, but for those that a legend or a transform made anew.
        """
        positions = [operator.index(one) for one in indices]
        for index in positions:
            if not -len(self) <= index < len(self):
                raise IndexError(f"sample {index} of {len(self)}")
        if self._transform is not None and not self._keeps_nothing:
            outs = [{}] * len(positions)
        places = self._places_of(np.array(positions, np.int64))
        images: list[PixelRead] = []
        labels: list[PixelRead] = []
        samples = [self._planned(place, out, images, labels) for place, out in zip(places, outs, strict=True)]
        self._reader.read_all(images)
        self._beside.reader.read_all(labels)
        return [self._finished(sample) for sample in samples]

    def _places_of(self, indices: np.ndarray) -> "list[_Place]":
        """Where each sample is, and what of it is loaded."""
        columns = [self._rows[name][indices].tolist() for name in ("id", "row", "crs_epsg", "x_ul", "y_ul")]
        seasons = self._seasons_of(indices)
        rows_beside, sides_px = self._beside.rows[indices].tolist(), self._sides_px[indices].tolist()
        return [_Place(*one) for one in zip(*columns, rows_beside, sides_px, seasons, strict=True)]

    def _planned(
        self,
        place: "_Place",
        out: Mapping[str, np.ndarray],
        images: list[PixelRead],
        labels: list[PixelRead],
    ) -> Sample:
        """A sample whose pixels are still to be read; what is read for it is added to the lists."""
        box = self._crop.box(place.side_px, partial(self._rng, place.id, _CROPS))
        sample: Sample = {}
        for spec, bands in self._images:
            read = self._read_of(spec, place.row, place.season, box, bands=bands, out=out.get(spec.name))
            images.append(read)
            sample[spec.name] = torch.from_numpy(read.out if place.season is None else read.out[0])
        if self._label is not None:
            season = place.season if self._labels == "season" else None
            read = self._read_of(self._label, place.label_row, season, box, out=out.get("mask"))
            labels.append(read)
            sample["mask"] = torch.from_numpy(read.out if season is None else read.out[0])
        sample["id"] = place.id
        sample["season"] = -1 if place.season is None else place.season
        sample["crs"] = place.crs_epsg
        sample["bounds"] = _bounds(place, box)
        return sample

    def _read_of(
        self,
        spec: ArraySpec,
        row: int,
        season: int | None,
        box: Box,
        *,
        bands: list[int] | None = None,
        out: np.ndarray | None,
    ) -> PixelRead:
        """Into (S, B?, Y, X), that was given if it fits; without S of one season."""
        side = spec.side_px(box.side_px)
        shape: tuple[int, ...] = (side, side)
        if spec.bands:
            shape = (len(spec.bands if bands is None else bands), side, side)
        place = None if box.side_px == self.patch_size_px else box.slices(spec.resolution_m)
        if season is None:
            seasons = range(len(self.season_names))
            pixels = _array_like(out, (len(seasons), *shape), spec.dtype)
            return PixelRead(pixels, spec, row, seasons, bands, place)
        return PixelRead(_array_like(out, shape, spec.dtype)[None], spec, row, (season,), bands, place)

    def _finished(self, sample: Sample) -> Sample:
        """The sample, when its pixels are there."""
        if self._lookup is not None and "mask" in sample:
            sample["mask"] = torch.from_numpy(self._lookup[sample["mask"].numpy()])
        return sample if self._transform is None else self._transform(sample)

    def _seasons_of(self, indices: np.ndarray) -> list[Any]:
        """Position of the season to load of each; None for all."""
        if self._season == "random":
            found: list[Any] = self._drawn_seasons()[indices].tolist()
            return found
        return [None if self._season == "all" else self._season] * len(indices)

    def _drawn_seasons(self) -> np.ndarray:
        """(sample,) seasons of this epoch, drawn for all at once when the first is asked for."""
        epoch = int(self._epoch.item())
        drawn = self._seasons
        if drawn is None or drawn[0] != epoch:
            words = first_words([self._seed, epoch], self._rows["id"])
            drawn = self._seasons = epoch, words % np.uint32(len(self.season_names))
        return drawn[1]

    def _rng(self, location_id: int, *stream: int) -> np.random.SeedSequence:
        return np.random.SeedSequence([self._seed, int(self._epoch[0]), location_id, *stream])


class _Place(NamedTuple):
    """Where one sample is, and what of it is loaded."""

    id: int
    row: int
    crs_epsg: int
    x_ul: int
    y_ul: int
    label_row: int
    side_px: int
    season: int | None
    """None: all."""


def _array_like(out: np.ndarray | None, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """The array that was given, if it fits; or a new one."""
    fits = out is not None and out.shape == shape and out.dtype == dtype and out.flags.c_contiguous
    return cast(np.ndarray, out) if fits else np.empty(shape, dtype)


def _bounds(place: _Place, box: Box) -> torch.Tensor:
    """(4,) x_min, y_min, x_max, y_max in metres."""
    if not place.crs_epsg:
        return torch.full((4,), torch.nan, dtype=torch.float64)
    left, top = place.x_ul + 10 * box.left, place.y_ul - 10 * box.top
    side_m = 10 * box.side_px
    return torch.from_numpy(np.array([left, top - side_m, left + side_m, top], np.float64))

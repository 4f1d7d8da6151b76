"""`PublishedTiles`: a torch Dataset over folders of GeoTIFFs, with the samples that the trainer takes.

Axes: B band, Y row (first row first), X column. Pixels are those of the files.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from noldo.byte_images import BYTE_IMAGES, observed, observed_key
from noldo.errors import ConfigError, RasterError
from noldo.legend import Legend
from noldo.prediction.windows import Window
from noldo.products import UNLABELLED
from noldo.published.layouts import NOT_A_NUMBER, Numbers
from noldo.published.listing import Tile
from noldo.published.places import require_same_place

if TYPE_CHECKING:  # it imports rasterio
    from noldo.prediction.geotiff import Place

Sample = dict[str, Any]

_CROPS = 1
"""Stream of random numbers that places crops, as in `noldo.dataset`."""


class PublishedTiles(Dataset[Sample]):
    """One sample a tile, all of one size.

    A sample is a dict:

    * of each modality a tensor (B, Y, X) uint8, e.g. `rgb`, and `rgb_observed` (Y, X) bool: where it has data
      (`noldo.byte_images.observed`);
    * `mask` (Y, X) uint8, class ids of `legend`, 255 unlabelled: beyond the tile, where the labels are not there, and where radar sees
      nothing;
    * `id` int, position in the list of the split; `season` int, always 0; `crs` EPSG code of the image (0: not known) and
      `bounds` (4,) float64 x_min, y_min, x_max, y_max in its unit (NaN without a CRS, or if its rows are not east-west).

    Whole tiles are padded, to the right and below, to the square of the largest side of the split; crops to the crop. Files are opened
    when a sample is asked for.

    Parameters
    ----------
    modalities
        Of `noldo.byte_images`, in each tile.
    numbers
        What the numbers in label files mean.
    crop_px
        Side of a square crop in pixels; None: whole tiles. Where it lies is decided by `seed`, epoch and id alone.
    where
        The data set and split, for messages.

    Raises
    ------
    ConfigError
        If the crop or seed is none.
    """

    def __init__(
        self,
        tiles: Sequence[Tile],
        *,
        modalities: Sequence[str],
        legend: Legend,
        numbers: Numbers,
        where: str,
        crop_px: int | None = None,
        seed: int = 0,
        transform: Callable[[Sample], Sample] | None = None,
    ) -> None:
        if seed < 0 or (crop_px is not None and crop_px < 1):
            raise ConfigError(f"seed {seed}, crop_px {crop_px}: expected a seed from 0, and a crop from 1")
        self.tiles = tuple(tiles)
        self.legend = legend
        self._modalities = tuple(modalities)
        self._numbers = numbers
        self._where = where
        self._crop_px = crop_px
        self._seed = seed
        self._transform = transform
        self._largest_px: int | None = None
        # Shared memory: workers that outlive an epoch see the new number too.
        self._epoch = torch.zeros(1, dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]  # torch does not type it

    @property
    def season_names(self) -> tuple[str, ...]:
        """Names along the season axis: these images have one time."""
        return ("undated",)

    @property
    def ids(self) -> NDArray[np.int64]:
        """(sample,) ids."""
        return np.array([tile.id for tile in self.tiles], np.int64)

    @property
    def sides_px(self) -> NDArray[np.int64]:
        """(sample,) side of each sample in pixels. The first look at whole tiles opens all files."""
        if self._crop_px is not None:
            return np.full(len(self), self._crop_px, np.int64)
        if self._largest_px is None:
            self._largest_px = max((max(self.size_of(index)) for index in range(len(self))), default=0)
        return np.full(len(self), self._largest_px, np.int64)

    @property
    def crop_step_px(self) -> int:
        """Crops begin at any pixel."""
        return 1

    @property
    def has_labels(self) -> bool:
        """Whether the labels of the split are there."""
        return bool(self.tiles) and all(tile.label is not None for tile in self.tiles)

    def first_image(self, index: int) -> Path:
        """The file that tells where and how large a tile is: labels may lack a CRS."""
        return self.tiles[index].images[self._modalities[0]]

    def size_of(self, index: int) -> tuple[int, int]:
        """Rows and columns of a tile, without padding."""
        from noldo.prediction.geotiff import open_image

        with open_image(self.first_image(index)) as image:
            return image.place.height, image.place.width

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that crops are drawn for."""
        self._epoch[0] = epoch

    def set_transform(
        self, transform: Callable[[Sample], Sample] | None, *, keeps_nothing: bool = False
    ) -> None:
        """Choose what each sample goes through; samples are in memory of their own, whatever it keeps."""
        self._transform = transform

    def __repr__(self) -> str:
        return f"PublishedTiles({self._where!r}, {len(self)} tiles, {', '.join(self._modalities)})"

    def __len__(self) -> int:
        """Tiles of the split."""
        return len(self.tiles)

    def __getitem__(self, index: int) -> Sample:
        """One sample; see the class.

        Raises
        ------
        RasterError
            If a file can't be read, is of another size or type, or holds numbers that are no class, or a label lies elsewhere
            than its image.
        """
        from noldo.prediction.geotiff import open_image

        if not -len(self) <= index < len(self):
            raise IndexError(f"tile {index} of {len(self)}")
        index %= len(self)
        tile = self.tiles[index]
        with open_image(self.first_image(index)) as image:
            place = image.place
        size = (place.height, place.width)
        window = self._window(size, tile.id)
        side_px = self._crop_px or int(self.sides_px[0])
        sample: Sample = {}
        mask = np.full((window.height, window.width), UNLABELLED, np.uint8)
        if tile.label is not None:
            mask = self._labels(tile.label, window, image=(self.first_image(index), place))
        for modality in self._modalities:
            bands = BYTE_IMAGES[modality].bands
            planes = _planes(tile.images[modality], len(bands), size, window, what=modality)
            has_data = observed(planes)
            if modality == "sar_amplitude":
                mask[~has_data] = UNLABELLED
            sample[modality] = _padded(planes, side_px, fill=0)
            sample[observed_key(modality)] = _padded(has_data, side_px, fill=False)
        sample["mask"] = _padded(mask, side_px, fill=UNLABELLED)
        crs, bounds = _georeference(place.crs, place.transform, window)
        sample |= {"id": tile.id, "season": 0, "crs": crs, "bounds": bounds}
        return sample if self._transform is None else self._transform(sample)

    def _window(self, size: tuple[int, int], tile_id: int) -> Window:
        if self._crop_px is None:
            return Window(0, 0, *size)
        height, width = (min(length, self._crop_px) for length in size)
        seed = np.random.SeedSequence([self._seed, int(self._epoch[0]), tile_id, _CROPS])
        down, right = (int(word) for word in seed.generate_state(2))
        return Window(down % (size[0] - height + 1), right % (size[1] - width + 1), height, width)

    def _labels(self, path: Path, window: Window, *, image: tuple[Path, "Place"]) -> NDArray[np.uint8]:
        """(Y, X) class ids."""
        size = (image[1].height, image[1].width)
        stored = _planes(path, 1, size, window, what="labels", label_of=image)[0]
        found = self._numbers[stored]
        if (odd := found == NOT_A_NUMBER).any():
            known = [number for number in range(255) if self._numbers[number] != NOT_A_NUMBER]
            raise RasterError(
                f"{path}: numbers {', '.join(map(str, np.unique(stored[odd])[:5]))}, but the classes of {self.legend.name} have "
                f"{', '.join(map(str, known))}, and 255 is no label; mend the file, or name its numbers in data.class_numbers"
            )
        ids: NDArray[np.uint8] = found.astype(np.uint8)
        return ids


def _planes(
    path: Path,
    num_bands: int,
    size: tuple[int, int],
    window: Window,
    *,
    what: str,
    label_of: tuple[Path, "Place"] | None = None,
) -> NDArray[np.uint8]:
    """(B, Y, X) of a window of a file, all of whose bands are asked for.

    Parameters
    ----------
    label_of
        The image where it has to lie, if it says where it lies.
    """
    from noldo.prediction.geotiff import open_image

    with open_image(path) as image:
        facts = image.facts
        found = (facts.height, facts.width)
        if found != size:
            raise RasterError(
                f"{path}: {found[0]} x {found[1]} px, but its image has {size[0]} x {size[1]}; they have to be of one grid"
            )
        if label_of is not None:
            require_same_place(image.place, label_of[1], label_path=path, image_path=label_of[0])
        if len(facts.bands) != num_bands or facts.dtype != "uint8":
            raise RasterError(
                f"{path}: {len(facts.bands)} bands of {facts.dtype}, but {what} has {num_bands} of uint8; give the published file"
            )
        planes, _ = image.read(range(1, num_bands + 1), window)
    found_planes: NDArray[np.uint8] = planes.astype(np.uint8, copy=False)
    return found_planes


def _padded(values: NDArray[Any], side_px: int, *, fill: int | bool) -> torch.Tensor:
    """The same with rows below and columns to the right, (..., side, side)."""
    height, width = values.shape[-2:]
    if (height, width) == (side_px, side_px):
        return torch.from_numpy(np.ascontiguousarray(values))
    found = np.full((*values.shape[:-2], side_px, side_px), fill, values.dtype)
    found[..., :height, :width] = values
    return torch.from_numpy(found)


def _georeference(crs: Any, transform: Sequence[float] | None, window: Window) -> tuple[int, torch.Tensor]:
    """EPSG code and (4,) x_min, y_min, x_max, y_max of a window."""
    nowhere = torch.full((4,), torch.nan, dtype=torch.float64)
    epsg = 0 if crs is None else int(crs.to_epsg() or 0)
    if crs is None or transform is None or transform[1] or transform[3]:
        return epsg, nowhere
    a, _, c, _, e, f = transform
    x = sorted((c + a * window.left, c + a * (window.left + window.width)))
    y = sorted((f + e * window.top, f + e * (window.top + window.height)))
    return epsg, torch.tensor([x[0], y[0], x[1], y[1]], dtype=torch.float64)

"""The verbs `noldo predict` and `noldo pseudo-label`. Loaded when one is asked for, by `noldo.__main__`."""

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from noldo.errors import ConfigError, MissingExtraError
from noldo.training.commands import require_training, shown_progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from noldo.legend import Legend
    from noldo.prediction.fusion import Fusion
    from noldo.prediction.mapper import Mapper, Sweep
    from noldo.prediction.views import Views


def predict(
    run: Path,
    image: Annotated[str, Parameter(name="INPUT")],
    /,
    *,
    out: Path,
    bands: str | None = None,
    probabilities: Path | None = None,
    subset: str | None = None,
    split: str | None = None,
    season: str | None = None,
    window: int = 256,
    overlap: int = 64,
    batch_size: int = 8,
) -> str:
    """Map a GeoTIFF, or the locations of a store, by the network of a transfer or self_train run.

    Parameters
    ----------
    run
        Folder of the run.
    image
        A GeoTIFF of 10 m pixels; or a results folder, a store in it, or the URL of either; or, of a run that learnt from published
        tiles, a folder of such tiles.
    out
        GeoTIFF to write, .tif; of a store: folder of ID.tif, where those that are there are not made again; of tiles: such a folder, or
        a .zip of PNGs as DFC2025 takes it.
    bands
        Names of the GeoTIFF's bands in its order, e.g. B2,B3,B4; default: its band descriptions.
    probabilities
        Also write the probability of each class to this GeoTIFF, .tif.
    subset
        Which store of the folder; default: the one that the run learnt from.
    split
        Which locations of the store: train, val or test; default: test.
    season
        Which season of the store; default: its first.
    window
        Side of the windows that the network sees, in pixels.
    overlap
        Pixels that neighbouring windows share.
    batch_size
        Windows that the network takes at once.
    """
    require_training()
    _require_rasterio()
    from noldo.prediction.mapper import MapFiles, Sweep, load_mapper
    from noldo.prediction.scene_map import map_geotiff
    from noldo.prediction.store_maps import map_store
    from noldo.prediction.windows import Tiling

    sweep = Sweep(Tiling(window, overlap), batch_size)
    if _is_store(image):
        _refuse(image, "a store", {"--bands": bands, "--probabilities": probabilities})
        mapper = load_mapper(run)
        if mapper.recipe.data.layout != "noldo":
            _refuse(image, "tiles", {"--subset": subset, "--season": season})
            return _of_tiles(mapper, image, out=out, split=split or "test", sweep=sweep)
        with shown_progress("predict", unit="location") as progress:
            made, there = map_store(
                mapper,
                image,
                out=out,
                subset=subset,
                split=split or "test",
                season=season,
                sweep=sweep,
                progress=progress,
            )
        return f"{out}: {there} maps, {made} made now, the others were there"
    _refuse(image, "no store", {"--subset": subset, "--split": split, "--season": season})
    mapper = load_mapper(run)
    if mapper.recipe.data.layout != "noldo":
        raise ConfigError(
            f"{image}: a run on {mapper.recipe.data.layout} maps tiles; give the folder that holds them"
        )
    with shown_progress("predict", unit="row") as progress:
        counts = map_geotiff(
            mapper,
            Path(image),
            files=MapFiles(out, probabilities),
            bands=None if bands is None else bands.split(","),
            sweep=sweep,
            progress=progress,
        )
    return f"{out}: {_shares_text(counts, mapper.legend)}"


def _of_tiles(mapper: "Mapper", root: str, *, out: Path, split: str, sweep: "Sweep") -> str:
    """Maps of published tiles, and what is to be said of them."""
    from noldo.prediction.tile_maps import hand_in, map_tiles

    with shown_progress("predict", unit="tile") as progress:
        if out.suffix == ".zip":
            count = hand_in(mapper, root, out=out, split=split, sweep=sweep, progress=progress)
            return f"{out}: {count} maps"
        made, there = map_tiles(mapper, root, out=out, split=split, sweep=sweep, progress=progress)
    return f"{out}: {there} maps, {made} made now, the others were there"


def pseudo_label(
    runs: Annotated[tuple[Path, ...], Parameter(name="RUN", consume_multiple=True)],
    /,
    *,
    store: str,
    out: Path,
    subset: str | None = None,
    layout: str | None = None,
    split: str | None = None,
    scales: str = "1",
    flips: bool = True,
    fusion: Literal["mean", "agreement"] = "mean",
    min_confidence: float = 0.0,
    soft: Annotated[bool, Parameter(negative="")] = False,
    window: int | None = None,
    overlap: int | None = None,
    batch_size: int | None = None,
) -> str:
    """Label the locations of a store, or published tiles, by the networks of transfer or self_train runs, as labels beside them.

    Parameters
    ----------
    runs
        Folders of finished runs of one legend; they may see different modalities.
    store
        A results folder; or, of runs that learnt from published tiles, a folder of such tiles.
    out
        Another folder; recipes read it with data.label_store. The same command goes on after a kill.
    subset
        Which store of the folder; default: nol.
    layout
        That the tiles were published in: openearthmap, dfc2025 or nyc; default: that of the data that the first run learnt from.
    split
        Which tiles: train, val or test; default: train. Of a store, all locations are labelled.
    scales
        Sizes at which each network looks, e.g. 0.75,1,1.25; probabilities are averaged.
    flips
        Whether it looks at all four flips.
    fusion
        mean: of the networks' probabilities; agreement: no label where they disagree.
    min_confidence
        Pixels whose highest mean probability is lower have no label.
    soft
        Also keep the mean probability of each class, round(p x 254), 255 no data: of a store as an array beside its labels, of tiles as
        a folder soft beside that of the labels, a band a class.
    window
        Side of the windows of a tile that the networks see, in pixels; default: 256. Locations of a store are seen whole.
    overlap
        Pixels that neighbouring windows share; default: 64.
    batch_size
        Windows that a network takes at once; default: 8.
    """
    require_training()
    _require_rasterio()
    from noldo.prediction.fusion import Fusion
    from noldo.prediction.mapper import load_mapper
    from noldo.prediction.pseudo_labels import write_pseudo_labels
    from noldo.prediction.views import Views

    views, fused = Views(_numbers(scales), flips), Fusion(fusion, min_confidence)
    if not runs:
        raise ConfigError("pseudo-label: give the folder of a run, or of several")
    mappers = [load_mapper(run) for run in runs]
    layout = layout or mappers[0].recipe.data.layout
    of_tiles: dict[str, object] = {
        "--split": split,
        "--window": window,
        "--overlap": overlap,
        "--batch-size": batch_size,
    }
    if layout != "noldo":
        _refuse(store, "tiles", {"--subset": subset})
        sweep = _sweep(window, overlap, batch_size)
        return _labels_of_tiles(
            mappers,
            store,
            out=out,
            split=split or "train",
            layout=layout,
            views=views,
            fusion=fused,
            sweep=sweep,
            soft=soft,
        )
    _refuse(store, "a store", of_tiles)
    with shown_progress("pseudo-label", unit="shard") as progress:
        told = write_pseudo_labels(
            mappers,
            store,
            out=out,
            subset=subset or "nol",
            views=views,
            fusion=fused,
            soft=soft,
            progress=lambda done, total: progress(done, total, out.name),
        )
    shares = sorted(told.class_shares.items(), key=lambda item: -item[1])
    classes = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares if share)
    return f"{out}: {next(iter(told.products))} of {told.locations_kept} locations; {classes or 'nothing labelled'}"


def _labels_of_tiles(
    mappers: "list[Mapper]",
    root: str,
    *,
    out: Path,
    split: str,
    layout: str,
    views: "Views",
    fusion: "Fusion",
    sweep: "Sweep",
    soft: bool,
) -> str:
    """Labels of published tiles, and what is to be said of them."""
    from noldo.prediction.tile_labels import write_tile_labels

    with shown_progress("pseudo-label", unit="tile") as progress:
        told = write_tile_labels(
            mappers,
            root,
            out=out,
            split=split,
            layout=layout,
            views=views,
            fusion=fusion,
            sweep=sweep,
            soft=soft,
            progress=progress,
        )
    shares = _shares_text(told.counts, mappers[0].legend, rest="no label")
    return f"{out}: {told.num_tiles} tiles, {told.num_made} labelled now; {shares}"


def _sweep(window: int | None, overlap: int | None, batch_size: int | None) -> "Sweep":
    """What is asked for, and the defaults of maps."""
    from noldo.prediction.mapper import Sweep
    from noldo.prediction.windows import Tiling

    plain = Sweep()
    return Sweep(
        Tiling(
            plain.tiling.window_px if window is None else window,
            plain.tiling.overlap_px if overlap is None else overlap,
        ),
        plain.batch_size if batch_size is None else batch_size,
    )


def _numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(one) for one in text.split(","))
    except ValueError:
        raise ConfigError(f"--scales {text}: expected numbers, e.g. 0.75,1,1.25") from None


def _is_store(image: str) -> bool:
    return "://" in image or image.rstrip("/").endswith(".zarr") or Path(image).is_dir()


def _refuse(image: str, kind: str, options: dict[str, object]) -> None:
    """What would be ignored was meant for something else."""
    if given := [name for name, value in options.items() if value is not None]:
        raise ConfigError(f"{image}: {kind}, for which {', '.join(given)} means nothing; leave it out")


def _require_rasterio() -> None:
    if not find_spec("rasterio"):
        raise MissingExtraError(
            "maps need rasterio; run `pip install -e '.[train]'` in the checkout of this project"
        )


def _shares_text(counts: "NDArray[np.int64]", legend: "Legend", *, rest: str = "not observed") -> str:
    """Classes that occur, most first."""
    num_pixels, labelled = int(counts.sum()), counts[: len(legend.classes)]
    order = sorted(range(len(labelled)), key=lambda value: -int(labelled[value]))
    told = [
        f"{legend.classes[one]} {100 * labelled[one] / num_pixels:.1f} %" for one in order if labelled[one]
    ]
    if counts[-1]:
        told.append(f"{rest} {100 * counts[-1] / num_pixels:.1f} %")
    return f"{num_pixels} pixels, {', '.join(told)}"

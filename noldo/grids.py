"""Patch grids: UTM, snapped to the 60 m lattice of Sentinel-2, so that every band is a copy.

Pure arithmetic; nothing here needs pyproj.
"""

from dataclasses import dataclass

from noldo.errors import InputError

LATTICE_M = 60
"""Least common multiple of 10, 20 and 60 m: the coarsest Sentinel-2 pixel."""

SOUTHERN_OFFSET_M = 40
"""False northing 10,000,000 m is 40 mod 60, and so is every southern tile corner."""

MAX_LATITUDE = 84.0
MIN_LATITUDE = -80.0
"""Limits of UTM and of the MGRS tiles of Sentinel-2, in degrees."""


@dataclass(frozen=True)
class Grid:
    """A square patch of 10 m pixels in a UTM zone, north up."""

    crs_epsg: int
    """EPSG code of the UTM zone: 326xx north, 327xx south."""
    x_ul: int
    """Easting of the upper-left corner (outer edge) in metres."""
    y_ul: int
    """Northing of the upper-left corner (outer edge) in metres."""
    size_px: int
    """Pixels of 10 m along one side; a multiple of 6."""

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """(x_min, y_min, x_max, y_max) in metres."""
        side_m = self.size_px * 10
        return self.x_ul, self.y_ul - side_m, self.x_ul + side_m, self.y_ul

    @property
    def centre(self) -> tuple[float, float]:
        """(x, y) of the middle in metres."""
        return self.x_ul + self.size_px * 5.0, self.y_ul - self.size_px * 5.0

    def transform(self, resolution_m: int = 10) -> tuple[int, int, int, int, int, int]:
        """Affine (a, b, c, d, e, f): x = a col + b row + c, y = d col + e row + f (metres)."""
        return resolution_m, 0, self.x_ul, 0, -resolution_m, self.y_ul

    def shape(self, resolution_m: int = 10) -> tuple[int, int]:
        """(rows, columns) at the resolution."""
        side = self.size_px * 10 // resolution_m
        return side, side


def utm_epsg(lon: float, lat: float) -> int:
    """EPSG code of the UTM zone at a place, with the exceptions of Norway and Svalbard.

    Sentinel-2 follows MGRS, which has these exceptions (NGA.SIG.0012, section 7).

    Raises
    ------
    InputError
        If the place lies outside -80..84 degrees north or -180..180 degrees east.
    """
    if not (MIN_LATITUDE <= lat <= MAX_LATITUDE and -180.0 <= lon <= 180.0):
        raise InputError(
            f"lon {lon}, lat {lat}: outside UTM; expected -180..180 and "
            f"{MIN_LATITUDE:g}..{MAX_LATITUDE:g} degrees; move or remove this point"
        )
    zone = min(int((lon + 180.0) // 6) + 1, 60)
    if 56.0 <= lat < 64.0 and 3.0 <= lon < 12.0:
        zone = 32
    elif lat >= 72.0 and 0.0 <= lon < 42.0:
        zone = 31 if lon < 9.0 else 33 if lon < 21.0 else 35 if lon < 33.0 else 37
    return (32600 if lat >= 0.0 else 32700) + zone


def snapped_grid(centre_x: float, centre_y: float, *, crs_epsg: int, size_px: int) -> Grid:
    """Grid whose corner lies on the 60 m lattice nearest to a wanted centre.

    Parameters
    ----------
    centre_x, centre_y
        Wanted centre in metres of the zone.
    crs_epsg
        UTM zone, 326xx or 327xx.
    size_px
        Pixels of 10 m along one side; a multiple of 6.

    Returns
    -------
    A grid whose centre is at most 30 m from the wanted one in x and in y.
    """
    if size_px <= 0 or size_px % 6:
        raise InputError(
            f"patch size {size_px} px: expected a positive multiple of 6, so that 20 and 60 m "
            "bands have whole pixels; 264 is the published size"
        )
    half_m = size_px * 5
    offset = SOUTHERN_OFFSET_M if crs_epsg // 100 == 327 else 0
    x_ul = LATTICE_M * round((centre_x - half_m) / LATTICE_M)
    y_ul = LATTICE_M * round((centre_y + half_m - offset) / LATTICE_M) + offset
    return Grid(crs_epsg=crs_epsg, x_ul=x_ul, y_ul=y_ul, size_px=size_px)

"""Which bands of Sentinel-2 a user means: a number as in CromSS, or names."""

from collections.abc import Sequence

from noldo.errors import ConfigError
from noldo.products import S2_L1C_BANDS, S2_L2A_BANDS, S2_NINE_BANDS, S2_RGB_BANDS

BandChoice = int | Sequence[str] | None

BY_NUMBER = {13: S2_L1C_BANDS, 12: S2_L2A_BANDS, 9: S2_NINE_BANDS, 3: S2_RGB_BANDS}
"""Band choices of CromSS (dataset code, `--bands`)."""


def chosen_bands(choice: BandChoice, *, product: str, stored: Sequence[str]) -> tuple[str, ...]:
    """Names of the chosen bands, in the order asked for.

    Parameters
    ----------
    choice
        13, 12, 9, 3, names, or None for all that are stored. 13 of a product without B10 gives its 12.

    Raises
    ------
    ConfigError
        If a band is unknown, named twice, or not stored.
    """
    if choice is None:
        return tuple(band for band in S2_L1C_BANDS if band in stored)
    if isinstance(choice, int):
        if choice not in BY_NUMBER:
            raise ConfigError(f"bands {choice}: expected 13, 12, 9, 3, or names such as {S2_RGB_BANDS}")
        bands = BY_NUMBER[choice]
        if product == "s2_l2a":
            bands = tuple(band for band in bands if band != "B10")
    else:
        bands = (choice,) if isinstance(choice, str) else tuple(choice)
    if not bands or len(set(bands)) != len(bands):
        raise ConfigError(f"bands {list(bands)} of {product}: expected at least one, each once")
    if missing := [band for band in bands if band not in stored]:
        raise ConfigError(
            f"bands {', '.join(missing)} of {product}: not stored; stored are {', '.join(stored)}"
        )
    return bands

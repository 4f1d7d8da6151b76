"""What became of a location: one small code in the store, one word for people."""

from enum import IntEnum


class Status(IntEnum):
    """State of one row of the store. Values are part of the format: never renumber."""

    KEPT = 0
    """All seasons, all products, enough labels."""
    NO_SCENE = 1
    """The provider has no usable set of scenes for at least one season."""
    NO_COVERAGE = 2
    """Scenes exist, but their pixels do not cover the patch."""
    NO_LABELS = 3
    """Covered, but too few pixels carry a label in at least one season."""
    REFUSED = 4
    """The provider refused our request; the message is in the index. Not 'no data'."""
    DISAGREES = 5
    """Two label sources of the location disagree too much to be trusted (screening of @OSM)."""
    BAD_LABELS = 6
    """The location's label file can't be used: missing, unreadable, of another grid or with other classes."""
    BAD_SOURCE = 7
    """Imports: the published files of the location are incomplete or not as they should be."""

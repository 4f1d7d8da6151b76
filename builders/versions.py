"""One number a step. Raising it reruns that step and all that follows; editing a rule's text reruns nothing.

Standard library only: the Snakefile imports it while planning.
"""

LOCATIONS = 1
TILES = 1
SEARCH = 1
CHOICE = 1
PIXELS = 1
OSM_LABELS = 1
PACK = 1
STATISTICS = 1
INDEX = 1
REPORT = 1

OSM_SPOOL = 1
"""Raised when areas collected from an extract would be others; extracts are then read again."""

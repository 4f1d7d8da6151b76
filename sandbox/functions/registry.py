"""All server functions of the sandbox."""

from collections.abc import Mapping
from types import MappingProxyType

from sandbox.functions import (
    arithmetic,
    bands,
    collections,
    filters,
    geometry,
    images,
    lists,
    masks,
    pictures,
    regions,
    values,
)
from sandbox.functions.binding import ServerFunction

FUNCTIONS: Mapping[str, ServerFunction] = MappingProxyType(
    {
        name: function
        for module in (
            arithmetic,
            bands,
            collections,
            filters,
            geometry,
            images,
            lists,
            masks,
            pictures,
            regions,
            values,
        )
        for name, function in module.registry.functions.items()
    }
)
"""By Earth Engine's name."""

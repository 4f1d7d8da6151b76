"""How an Overpass server is asked: through osmnx, one request at a time, and never longer than our patience.

osmnx as it comes waits by itself: a minute where a status can't be read, 55 seconds after each 429 or 504, and
then again without limit; and it takes a part of an answer for the whole. It is left unmodified, but it never meets
anything but whole answers (`builders.overpass_exchange`); when and how often to ask again is decided here.

osmnx keeps its settings in a module, and replaces `socket.getaddrinfo` to hold on to one of several servers behind
a name. Both are put back after each request, which is why requests of one process follow one another, whatever
server they go to. Overpass gives a user two slots, so more would gain little.
"""

import contextlib
import http.client
import logging
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from shapely import Polygon
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from builders.overpass_exchange import Exchange, NotNowError
from builders.overpass_server import OverpassServer
from builders.retries import back_off_s
from noldo.errors import SourceError, SourceUnavailableError

logger = logging.getLogger(__name__)

_RUNNING = threading.Lock()
"""osmnx's settings belong to the process: whoever sets them waits until the last one is done."""


@dataclass(frozen=True)
class Feature:
    """An element as osmnx makes it."""

    osm_type: str
    """`node`, `way` or `relation`."""
    osm_id: int
    tags: Mapping[str, str]
    geometry: BaseGeometry
    """Longitude and latitude in degrees; osmnx repaired it (`make_valid`) where rings cross."""


@dataclass(frozen=True)
class Found:
    """What was found in one polygon."""

    features: tuple[Feature, ...] = ()
    """Those that intersect the polygon, in no particular order; the same element may come twice."""
    relations: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    """Tags by id of all relations in the answer, also those that osmnx can't make an area of."""


class OverpassAccess:
    """Asks one server. Thread-safe; requests of a process follow one another.

    Parameters
    ----------
    rng
        Draws the waits between attempts; decides nothing else.
    """

    def __init__(
        self,
        server: OverpassServer,
        *,
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.server = server
        self.requests: Counter[str] = Counter()
        """Sent so far: `query` and `status`; `failed` counts attempts that delivered nothing."""
        self._rng = random.Random() if rng is None else rng
        self._clock, self._sleep = clock, sleep

    def find(self, polygon: Polygon, tags: Mapping[str, Sequence[str]]) -> Found:
        """Elements that have any of these tags and intersect a polygon; attempts until there is an answer.

        Parameters
        ----------
        polygon
            In degrees (lon, lat). Beyond 2,500 km2, osmnx asks in parts.
        tags
            Values by key.

        Raises
        ------
        SourceUnavailableError
            If transient faults outlast the patience.
        RequestRefusedError
            If the server refuses the query, or us.
        SourceError
            If osmnx can't read the answer.
        """
        number, give_up_at = 0, float("inf")
        while True:
            number += 1
            try:
                return self._attempt(polygon, tags)
            except NotNowError as error:
                failure = error
            self.requests["failed"] += 1
            give_up_at = min(give_up_at, self._clock() + self.server.patience_s)
            left_s = give_up_at - self._clock()
            if left_s <= 0:
                raise SourceUnavailableError(
                    f"{self.server.url}: failed {number} times in {self.server.patience_s:.0f} s, last with: {failure}; "
                    "what was fetched is kept: run the same command again later"
                ) from failure
            wait_s = min(left_s, max(failure.wait_s, back_off_s(number, rng=self._rng)))
            logger.info("%s: attempt %d: %s; next in %.1f s", self.server.url, number, failure, wait_s)
            self._sleep(wait_s)

    def _attempt(self, polygon: Polygon, tags: Mapping[str, Sequence[str]]) -> Found:
        import osmnx
        import requests
        from osmnx._errors import InsufficientResponseError
        from urllib3.exceptions import HTTPError

        asked: dict[str, bool | str | list[str]] = {key: list(values) for key, values in tags.items()}
        exchange = Exchange(self.server, self.requests)
        try:
            with _osmnx_set_to(self.server.settings() | {"requests_kwargs": exchange.arguments}):
                frame = osmnx.features_from_polygon(polygon, asked)
        except InsufficientResponseError:  # the answer is whole, so this means that it holds nothing
            return Found((), exchange.relations)
        except (requests.RequestException, HTTPError, http.client.HTTPException, OSError) as error:
            raise NotNowError(_root_cause(error)) from error
        except (ValueError, TypeError, LookupError, AttributeError, ShapelyError) as error:
            raise SourceError(
                f"{self.server.url}: osmnx can't make geometries of its answer ({type(error).__name__}: {error}); "
                "leave this patch out, or take its areas from an extract (.osm.pbf)"
            ) from error
        return Found(tuple(_features(frame)), exchange.relations)


def _features(frame: Any) -> Iterator[Feature]:
    """Rows of osmnx's frame; what a row lacks is NaN there."""
    columns = frame.drop(columns="geometry").to_dict("records")
    for (kind, ref), geometry, row in zip(frame.index, frame["geometry"], columns, strict=True):
        tags = {str(key): value for key, value in row.items() if isinstance(value, str)}
        yield Feature(str(kind), int(ref), tags, geometry)


def _root_cause(error: BaseException) -> str:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}"


@contextlib.contextmanager
def _osmnx_set_to(settings: Mapping[str, Any]) -> Iterator[None]:
    """Settings of osmnx for one request, and everything as it was afterwards."""
    import osmnx

    with _RUNNING:
        before = {name: getattr(osmnx.settings, name) for name in settings}
        resolve = socket.getaddrinfo
        try:
            for name, value in settings.items():
                setattr(osmnx.settings, name, value)
            yield
        finally:
            socket.getaddrinfo = resolve
            for name, value in before.items():
                setattr(osmnx.settings, name, value)

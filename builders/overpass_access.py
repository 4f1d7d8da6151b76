"""How an Overpass server is asked: through osmnx, one request at a time, and never longer than our patience.

osmnx as it comes waits by itself: a minute where a status can't be read, 55 seconds after each 429 or 504, and
then again without limit; and it takes a part of an answer for the whole. It is left unmodified. Instead, requests,
which it talks through, calls us before a request is sent and before osmnx sees the answer: both are arguments of
requests, and osmnx passes them on by its documented setting `requests_kwargs`. So osmnx never meets anything but
whole answers, and what else happens is decided here.

osmnx keeps its settings in a module, and replaces `socket.getaddrinfo` to hold on to one of several servers behind
a name. Both are put back after each request, which is why requests of one process follow one another, whatever
server they go to. Overpass gives a user two slots, so more would gain little.
"""

import contextlib
import datetime as dt
import html
import http.client
import io
import json
import logging
import random
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from importlib import metadata
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from shapely import Polygon
from shapely.errors import ShapelyError
from shapely.geometry.base import BaseGeometry

from builders.retries import back_off_s
from noldo.errors import ConfigError, RequestRefusedError, SourceError, SourceUnavailableError

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

PUBLIC_URL = "https://overpass-api.de/api"
"""The server that osmnx asks by default; its rules are https://dev.overpass-api.de/overpass-doc/en/preface/commons.html."""

POLITE_S = 5.0
"""Least pause where the server says that it is busy, in seconds: as long as osmnx waits for a running query."""

TRANSIENT = frozenset({408, 429})
"""Statuses below 500 that may pass; 504 and its neighbours do anyway."""

OWN_COLUMNS = frozenset({"element", "id", "members"})
"""Tags of these names would overwrite what osmnx itself keeps of an element, so it does not get to see them."""

PIECE_BYTES = 1 << 16

_RUNNING = threading.Lock()
"""osmnx's settings belong to the process: whoever sets them waits until the last one is done."""


@dataclass(frozen=True)
class OverpassServer:
    """Which server is asked, and how.

    Raises
    ------
    ConfigError
        If the URL is none, or the date has no time zone.
    """

    url: str = PUBLIC_URL
    """Base URL, without `/interpreter`."""
    origin: str = ""
    """Names the data behind the URL where the URL does not: a sandbox has another port each time. Empty: the URL."""
    date: dt.datetime | None = None
    """Ask for the state of this moment; None: the present one. Public servers keep the past since September 2012."""
    timeout_s: int = 180
    """The server gives up a query after this time, and we a connection that is silent for so long."""
    deadline_s: float = 300.0
    """Longest time from a request to the last byte of its answer; one silence of `timeout_s` may be added."""
    memory_bytes: int | None = None
    """What a query may take of the server's memory; None: its default."""
    patience_s: float = 1800.0
    """How long transient faults of one request are met with another attempt, counted from the first fault."""
    rate_limit: bool = True
    """Ask for a free slot before each query, as the public servers' rules want it; some servers of one's own have none."""

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in {"http", "https"} or not urlsplit(self.url).hostname:
            raise ConfigError(f"Overpass URL {self.url!r}: expected one like {PUBLIC_URL}")
        if self.date is not None and self.date.tzinfo is None:
            raise ConfigError(
                f"Overpass date {self.date.isoformat()}: expected one with a time zone, e.g. UTC"
            )

    @property
    def data(self) -> str:
        """What is behind the URL."""
        return self.origin or self.url.rstrip("/")

    @property
    def is_loopback(self) -> bool:
        """It runs on this machine."""
        host = urlsplit(self.url).hostname or ""
        try:
            return host == "localhost" or ip_address(host).is_loopback
        except ValueError:
            return False

    def settings(self) -> dict[str, Any]:
        """Settings of osmnx by name, all that matter here."""
        date = "" if self.date is None else f'[date:"{self.date.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"]'
        us = f"noldo-s12/{metadata.version('noldo-s12')} (land-cover labels for NoLDO-S12; osmnx)"
        return {
            "overpass_url": self.url,
            "overpass_settings": "[out:json][timeout:{timeout}]{maxsize}" + date,
            "overpass_memory": self.memory_bytes,
            "overpass_rate_limit": False,  # asked before each query, see `_Door.knock`
            "requests_timeout": self.timeout_s,
            "use_cache": False,  # the spool keeps answers
            "cache_only_mode": False,
            "http_user_agent": us,
            "http_referer": us,
            "doh_url_template": None,  # no other server is asked for the address of this one
        }


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


class _NotNowError(Exception):
    """An attempt delivered nothing, but another may."""

    def __init__(self, message: str, *, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        """Least time until the next attempt, in seconds."""


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
            except _NotNowError as error:
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
        door = _Door(self.server, self.requests)
        try:
            with _osmnx_set_to(self.server.settings() | {"requests_kwargs": door.arguments}):
                frame = osmnx.features_from_polygon(polygon, asked)
        except InsufficientResponseError:  # the answer is whole, so this means that it holds nothing
            return Found((), door.relations)
        except (requests.RequestException, HTTPError, http.client.HTTPException, OSError) as error:
            raise _NotNowError(_root_cause(error)) from error
        except (ValueError, TypeError, LookupError, AttributeError, ShapelyError) as error:
            raise SourceError(
                f"{self.server.url}: osmnx can't make geometries of its answer ({type(error).__name__}: {error}); "
                "leave this patch out, or take its areas from an extract (.osm.pbf)"
            ) from error
        return Found(tuple(_features(frame)), door.relations)


class _Door:
    """What requests calls on the way to the server and back, during one call of osmnx."""

    def __init__(self, server: OverpassServer, count: Counter[str]) -> None:
        self._server = server
        self._count = count
        self._deadline_at = 0.0
        self.relations: dict[int, Mapping[str, str]] = {}
        """Tags of the relations in the answers so far, by id."""

    @cached_property
    def arguments(self) -> dict[str, Any]:
        """For `osmnx.settings.requests_kwargs`. With an authentication of ours, requests sends nothing of ~/.netrc."""
        return {"auth": self.knock, "hooks": {"response": self.inspect}, **self._transfer()}

    def _transfer(self) -> dict[str, Any]:
        # Proxies named by the environment are not for servers on this machine.
        bypass = (
            {"proxies": {"no_proxy": urlsplit(self._server.url).hostname}} if self._server.is_loopback else {}
        )
        return {"stream": True, **bypass}

    def knock(self, request: "requests.PreparedRequest") -> "requests.PreparedRequest":
        """Before a query: make sure that the server has a slot for us. osmnx has chosen one of its machines by now.

        Raises
        ------
        _NotNowError
            If it has none, or does not say so.
        """
        if self._server.rate_limit:
            self._ask_for_slot()
        self._count["query"] += 1
        self._deadline_at = time.monotonic() + self._server.deadline_s
        return request

    def _ask_for_slot(self) -> None:
        import requests

        self._count["status"] += 1
        deadline_at = time.monotonic() + self._server.deadline_s
        settings = self._server.settings()
        response = requests.get(
            self._server.url.rstrip("/") + "/status",
            headers={"User-Agent": settings["http_user_agent"], "Referer": settings["http_referer"]},
            timeout=self._server.timeout_s,
            auth=_as_it_is,
            **self._transfer(),
        )
        body = _read(response, deadline_at)
        if response.status_code == 404:
            raise RequestRefusedError(
                f"{response.url}: HTTP 404: {_words(body)}; check the URL, or switch `rate_limit` off "
                "for a server of your own that has no status"
            )
        _check(response, body)
        if (wait_s := slot_wait_s(body.decode(errors="replace"))) is not None:
            raise _NotNowError(f"no free slot for {wait_s:g} s", wait_s=wait_s)

    def inspect(self, response: "requests.Response", *args: object, **options: object) -> None:
        """Before osmnx sees an answer: read it whole, and make sure that it is one.

        Raises
        ------
        _NotNowError
            If another attempt may bring what this one did not.
        RequestRefusedError
            If none will.
        """
        if response.is_redirect:
            return
        body = _read(response, self._deadline_at)
        _check(response, body)
        elements = _elements(body)
        for element in elements:
            tags = element.get("tags", {})
            if element.get("type") == "relation":
                self.relations[element["id"]] = dict(tags)
            for name in OWN_COLUMNS & tags.keys():
                logger.info("%s %s: osmnx can't tell its tag %r", element["type"], element["id"], name)
                del tags[name]
        response.raw = io.BytesIO(json.dumps({"elements": elements}).encode())


def slot_wait_s(status: str) -> float | None:
    """How long to wait for a slot by what `/status` says, in seconds; None if there is one.

    Raises
    ------
    _NotNowError
        If this is no status.
    """
    # A server without a limit counts no slots.
    if re.search(r"^Rate limit: 0$", status, re.MULTILINE):
        return None
    if (free := re.search(r"^(\d+) slots? available now", status, re.MULTILINE)) and int(free[1]) > 0:
        return None
    if after := re.findall(r"^Slot available after: .*?, in (-?\d+) seconds?", status, re.MULTILINE):
        return max(1.0, min(float(seconds) for seconds in after))
    if "Currently running" in status:
        return POLITE_S
    raise _NotNowError(f"a status that can't be read: {_words(status.encode())}", wait_s=POLITE_S)


def _as_it_is(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
    return request


def _read(response: "requests.Response", deadline_at: float) -> bytes:
    """The whole body, decompressed. A timeout of requests starts anew with each byte, so an answer could trickle for ever."""
    pieces = []
    with contextlib.closing(response):
        while piece := response.raw.read1(PIECE_BYTES, decode_content=True):
            pieces.append(piece)
            if time.monotonic() > deadline_at:
                raise _NotNowError("the deadline passed while the answer was still coming")
    return b"".join(pieces)


def _check(response: "requests.Response", body: bytes) -> None:
    status = response.status_code
    if response.ok:
        return
    said = f"HTTP {status}: {_words(body)}"
    if status >= 500 or status in TRANSIENT:
        raise _NotNowError(said, wait_s=POLITE_S)
    raise RequestRefusedError(f"{response.url}: {said}")


def _elements(body: bytes) -> list[dict[str, Any]]:
    """The elements of a whole answer; a part of one is none."""
    try:
        tree = json.loads(body)
        elements: list[dict[str, Any]] = tree["elements"]
    except (ValueError, TypeError, LookupError):
        raise _NotNowError(f"an answer that is no Overpass JSON: {_words(body)}") from None
    if "remark" in tree:
        raise _NotNowError(
            f"only a part of the answer: {_words(str(tree['remark']).encode())}", wait_s=POLITE_S
        )
    return elements


def _words(body: bytes) -> str:
    """What a page says, in one line of at most 300 characters, from the word Error on if there is one."""
    text = re.sub(r"<head.*?</head>|<[^>]*>", "", body[:20_000].decode(errors="replace"), flags=re.DOTALL)
    line = " ".join(html.unescape(text).split())
    start = line.find("Error")
    return line[max(0, start) :][:300] or "(nothing)"


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

"""One exchange with an Overpass server, seen from between osmnx and the network.

requests, which osmnx talks through, lets its callers look at a request before it is sent (`auth`) and at an answer
before it is handed on (`hooks`); osmnx passes both on by its documented setting `requests_kwargs`. Here they wait for
no one: what is no whole answer becomes an error that says whether another attempt makes sense.
"""

import contextlib
import html
import io
import json
import logging
import re
import time
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from builders.overpass_server import OverpassServer
from noldo.errors import RequestRefusedError

if TYPE_CHECKING:
    import requests

logger = logging.getLogger(__name__)

POLITE_S = 5.0
"""Least pause where the server says that it is busy, in seconds: as long as osmnx waits for a running query."""

TRANSIENT = frozenset({408, 429})
"""Statuses below 500 that may pass; 504 and its neighbours do anyway."""

OWN_COLUMNS = frozenset({"element", "id", "members"})
"""Tags of these names would overwrite what osmnx itself keeps of an element, so it does not get to see them."""

PIECE_BYTES = 1 << 16


class NotNowError(Exception):
    """An attempt delivered nothing, but another may."""

    def __init__(self, message: str, *, wait_s: float = 0.0) -> None:
        super().__init__(message)
        self.wait_s = wait_s
        """Least time until the next attempt, in seconds."""


class Exchange:
    """What requests calls on the way to the server and back, during one call of osmnx: see `arguments`.

    Parameters
    ----------
    count
        Where requests are counted, as `query` and `status`.
    """

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
        NotNowError
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
            raise NotNowError(f"no free slot for {wait_s:g} s", wait_s=wait_s)

    def inspect(self, response: "requests.Response", *args: object, **options: object) -> None:
        """Before osmnx sees an answer: read it whole, and make sure that it is one.

        Raises
        ------
        NotNowError
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
    NotNowError
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
    raise NotNowError(f"a status that can't be read: {_words(status.encode())}", wait_s=POLITE_S)


def _as_it_is(request: "requests.PreparedRequest") -> "requests.PreparedRequest":
    return request


def _read(response: "requests.Response", deadline_at: float) -> bytes:
    """The whole body, decompressed. A timeout of requests starts anew with each byte, so an answer could trickle for ever."""
    pieces = []
    with contextlib.closing(response):
        while piece := response.raw.read1(PIECE_BYTES, decode_content=True):
            pieces.append(piece)
            if time.monotonic() > deadline_at:
                raise NotNowError("the deadline passed while the answer was still coming")
    return b"".join(pieces)


def _check(response: "requests.Response", body: bytes) -> None:
    status = response.status_code
    if response.ok:
        return
    said = f"HTTP {status}: {_words(body)}"
    if status >= 500 or status in TRANSIENT:
        raise NotNowError(said, wait_s=POLITE_S)
    raise RequestRefusedError(f"{response.url}: {said}")


def _elements(body: bytes) -> list[dict[str, Any]]:
    """The elements of a whole answer; a part of one is none."""
    try:
        tree = json.loads(body)
        elements: list[dict[str, Any]] = tree["elements"]
    except (ValueError, TypeError, LookupError):
        raise NotNowError(f"an answer that is no Overpass JSON: {_words(body)}") from None
    if "remark" in tree:
        raise NotNowError(
            f"only a part of the answer: {_words(str(tree['remark']).encode())}", wait_s=POLITE_S
        )
    return elements


def _words(body: bytes) -> str:
    """What a page says, in one line of at most 300 characters, from the word Error on if there is one."""
    text = re.sub(r"<head.*?</head>|<[^>]*>", "", body[:20_000].decode(errors="replace"), flags=re.DOTALL)
    line = " ".join(html.unescape(text).split())
    start = line.find("Error")
    return line[max(0, start) :][:300] or "(nothing)"

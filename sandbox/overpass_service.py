"""The endpoints of an Overpass server, without HTTP: a request in, an answer out; and how it fails on request."""

import datetime as dt
import html
import json
from collections import Counter
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl

from sandbox.faults import Fault
from sandbox.osm_elements import OsmData
from sandbox.overpass import evaluate
from sandbox.overpass_query import date_of, parse
from sandbox.refusals import SERVER_ERRORS, TOO_MANY_REQUESTS, Refusal
from sandbox.service import Answer, Endpoint, Request, json_answer

PREFIX = "/overpass/"
API = "/overpass/api"

GENERATOR = "NoLDO sandbox, not OpenStreetMap's Overpass"
COPYRIGHT = "Contains data of OpenStreetMap contributors (ODbL), or synthetic data, as the sandbox was told."
NO_DATA = "This sandbox has no OpenStreetMap data to serve; start it with `python -m sandbox serve --osm-extract FILE`."

DATA_TIME = "2026-01-01T00:00:00Z"
"""Announced as the time of the data: a constant, so that equal questions get equal bytes."""

SLOTS = 2
"""Queries that one user may run at once on overpass-api.de; announced here, and not enforced."""

FREE = f"{SLOTS} slots available now."
RUNNING = "Currently running queries (pid, space limit, time limit, start time):"
TIMED_OUT = 'runtime error: Query timed out in "query" at line 1 after 181 seconds.'

DISPATCHER = {
    429: "open64: 0 Success /osm3s_osm_base Dispatcher_Client::request_read_and_idx::rate_limited. "
    "Please check /api/status for the quota of your IP address.",
    504: "open64: 0 Success /osm3s_osm_base Dispatcher_Client::request_read_and_idx::timeout. "
    "The server is probably too busy to handle your request.",
}
"""What overpass-api.de is known to say with these statuses."""

GOOGLES_WORDS = {TOO_MANY_REQUESTS, *SERVER_ERRORS.values()}
"""What injected faults say unless they are told other words."""


@dataclass(frozen=True)
class OverpassService:
    """Answers requests below `/overpass/`. Thread-safe."""

    data: OsmData | None
    """None: every path answers 404."""
    enclosing_areas: bool = False
    """Find areas that enclose the polygon too (see `sandbox.overpass`)."""

    def endpoint(self, request: Request) -> Endpoint:
        """What a request is for; an unknown path is an endpoint that answers 404."""
        match request.method, request.path:
            case "GET", "/overpass/api/status":
                name, answer = "status", self._status
            case "GET" | "POST", "/overpass/api/interpreter":
                name, answer = "interpreter", self._interpreter
            case _:
                name, answer = "unknown", self._unknown
        return Endpoint(
            f"overpass:{name}",
            answer if self.data is not None else self._no_data,
            parts={},
            in_project=False,
            refuse=error_page,
        )

    def _no_data(self, request: Request) -> Answer:
        raise Refusal(NO_DATA, status=404)

    def _unknown(self, request: Request) -> Answer:
        raise Refusal(
            f"{request.method} {request.path} is not served; {API}/status and {API}/interpreter are.",
            status=404,
        )

    def _status(self, request: Request) -> Answer:
        return status_answer(FREE)

    def _interpreter(self, request: Request) -> Answer:
        if self.data is None:
            return self._no_data(request)
        form = dict(parse_qsl(request.body.decode("utf-8", errors="replace")))
        text = form.get("data") or request.query.get("data", "")
        query = parse(text)
        date = date_of(query)
        elements = evaluate(query, self.data, enclosing_areas=self.enclosing_areas)
        answer = json_answer(
            {
                "version": 0.6,
                "generator": GENERATOR,
                "osm3s": {
                    "timestamp_osm_base": DATA_TIME if date is None else query.settings["date"],
                    "copyright": COPYRIGHT,
                },
                "elements": elements,
            }
        )
        return replace(answer, components=Counter(search.name for search in query.searches()))


def status_answer(fifth_line: str) -> Answer:
    """The six lines of Overpass's status; only the fifth tells clients anything."""
    now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    lines = (
        "Connected as: 2130706433",  # 127.0.0.1 as a number
        f"Current time: {now}",
        "Announced endpoint: none",
        f"Rate limit: {SLOTS}",
        fifth_line,
        RUNNING,
    )
    return Answer(("\n".join(lines) + "\n").encode(), content_type="text/plain")


def error_page(refusal: Refusal) -> Answer:
    """A refusal as the page of HTML that Overpass sends, whatever format was asked for."""
    said = refusal.message
    if said in GOOGLES_WORDS and refusal.status in DISPATCHER:
        said = f"runtime error: {DISPATCHER[refusal.status]}"
    return Answer(
        _page(f'<strong style="color:#FF0000">Error</strong>: {html.escape(said, quote=False)}'),
        status=refusal.status,
        content_type="text/html; charset=utf-8",
        message=said,
    )


def altered(answer: Answer, fault: Fault) -> Answer:
    """An answer as a fault of Overpass spoils it; refusals stay as they are."""
    if answer.status != 200:
        return answer
    if fault.kind == "busy":
        return status_answer(fault.message or RUNNING)
    if fault.kind == "not_json":
        page = _page(fault.message or "The server is under maintenance.")
        return replace(answer, body=page, content_type="text/html; charset=utf-8")
    return _partial(answer, fault.message or TIMED_OUT)


def _partial(answer: Answer, remark: str) -> Answer:
    """The first half of the elements, and why there are no more: as when a query runs out of time."""
    tree = json.loads(bytes(answer.body))
    elements = tree["elements"]
    spoilt = json_answer({**tree, "elements": elements[: len(elements) // 2], "remark": remark})
    return replace(spoilt, components=answer.components)


def _page(paragraph: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE html>\n<html lang="en">\n<head><title>OSM3S Response</title></head>\n'
        f"<body>\n<p>{COPYRIGHT}</p>\n<p>{paragraph}</p>\n</body>\n</html>\n"
    ).encode()

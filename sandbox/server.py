"""The loopback Earth Engine and Overpass: HTTP/1.1 on 127.0.0.1, a thread a connection.

Order of a request: authentication, quota of the project, faults, latency, answer. Overpass lies below
`/overpass/api` and knows neither credentials nor the project. Control paths lie outside
of `/v1` and meet none of these: `GET /control/log?records=N`, `POST /control/faults` (JSON, see
`sandbox.faults.FaultSettings`; keys that are not given stay), `POST /control/reset`.
"""

import json
import logging
import select
import socket
import socketserver
import struct
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from noldo.errors import ConfigError
from sandbox.catalogue import Catalogue
from sandbox.expressions import functions_used
from sandbox.faults import KIND_ENDPOINTS, Fault, FaultPlan, FaultSettings
from sandbox.osm_elements import OsmData
from sandbox.overpass_service import API, PREFIX, OverpassService, altered
from sandbox.pixels_out import Body
from sandbox.quotas import MAX_CONCURRENT, MAX_PER_SECOND, Quota
from sandbox.refusals import TOO_MANY_REQUESTS, Refusal
from sandbox.request_log import RequestLog, RequestRecord
from sandbox.service import Answer, EarthEngineService, Endpoint, Request, error_answer, json_answer

logger = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
MAX_BODY_BYTES = 10 * 1024 * 1024
"""Largest request body (believed, not documented)."""

DISCARDED_BYTES = 1 << 28
"""So much of a larger body is read before it is refused."""

NESTING = 10_000
"""Python frames: a chain of 100 functions needs a few hundred, the default limit is 1,000."""

POLL_S = 0.25
"""How often a hanging request looks whether its client is still there."""

TOO_MANY = Fault("quota", Refusal(TOO_MANY_REQUESTS, status=429))
RESTRICTED_HEADER = "x-earth-engine-quota-status", "parallelism_restricted=true"


class SandboxServer(ThreadingHTTPServer):
    """Serves one catalogue, and OpenStreetMap if it is given some, on a loopback port."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self,
        catalogue: Catalogue,
        *,
        port: int = 0,
        faults: FaultSettings | None = None,
        max_concurrent: int = MAX_CONCURRENT,
        max_per_second: float = MAX_PER_SECOND,
        log: Path | None = None,
        canned_pixels: bool = False,
        osm: OsmData | None = None,
        enclosing_areas: bool = False,
    ) -> None:
        super().__init__((LOOPBACK, port), SandboxHandler)
        sys.setrecursionlimit(max(sys.getrecursionlimit(), NESTING))
        self.start_settings = faults or FaultSettings()
        self.plan = FaultPlan(self.start_settings)
        self.quota = Quota(max_concurrent=max_concurrent, max_per_second=max_per_second)
        self.log = RequestLog(log)
        self.stopping = threading.Event()
        self.service = EarthEngineService(
            catalogue, self.plan, base_url=self.url, canned_pixels=canned_pixels
        )
        self.overpass = OverpassService(osm, enclosing_areas=enclosing_areas)

    def server_bind(self) -> None:
        """Bind without the look-up of a host name that the base class makes."""
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = LOOPBACK, self.server_address[1]

    @property
    def url(self) -> str:
        """Base URL for `ee.Initialize`."""
        return f"http://{LOOPBACK}:{self.server_port}"

    @property
    def overpass_url(self) -> str:
        """Base URL for `osmnx.settings.overpass_url`."""
        return self.url + API

    def endpoint(self, request: Request) -> Endpoint:
        """What a request is for."""
        service = self.overpass if request.path.startswith(PREFIX) else self.service
        return service.endpoint(request)

    def server_close(self) -> None:
        """Stop listening, wake what hangs, close the log."""
        self.stopping.set()
        super().server_close()
        self.log.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is no error; anything else is logged."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            logger.exception("connection from %s failed", client_address)


@contextmanager
def serving(catalogue: Catalogue, **options: Any) -> Iterator[SandboxServer]:
    """A running server, for tests and notebooks; options as for `SandboxServer`."""
    server = SandboxServer(catalogue, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class SandboxHandler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server_version = "noldo-sandbox"
    disable_nagle_algorithm = True  # a body would wait 40 ms for the client to acknowledge the headers
    server: SandboxServer

    def do_GET(self) -> None:
        """Any GET."""
        self._serve()

    def do_POST(self) -> None:
        """Any POST, also a GET whose query is too long for a URI."""
        self._serve()

    def log_message(self, *args: Any) -> None:
        """The base class prints; the request log says more."""
        logger.debug(*args)

    def _serve(self) -> None:
        request = self._request()
        if request is None:
            return
        if request.path.startswith("/control/"):
            self._send(self._control(request))
            return
        endpoint = self.server.endpoint(request)
        metered = endpoint.in_project and not endpoint.start_up
        started = time.perf_counter()
        number, in_flight = self.server.log.arrived(counts=not endpoint.start_up)
        entered = not metered or self.server.quota.enter()
        try:
            fault = self._fault(endpoint, request, number, entered=entered)
            if fault is None or fault.refusal is None:
                self.server.stopping.wait(self.server.plan.settings.latency_s)
            answer = self._answer(endpoint, request, fault)
            seconds = round(time.perf_counter() - started, 6)
            record = replace(_record(endpoint, request, answer), number=number, in_flight=in_flight)
            fault_name = "" if fault is None else fault.name
            record = replace(record, fault=fault_name, seconds=seconds)
            self.server.log.finished(record, components=answer.components)
            self._send_with(fault, answer)
        finally:
            self.server.log.left()
            if entered and metered:
                self.server.quota.leave()

    def _request(self) -> Request | None:
        """Read the request; None if it was too large and has been answered."""
        length = int(self.headers.get("Content-Length") or 0)
        if length > MAX_BODY_BYTES:
            self.close_connection = True
            self._discard(min(length, DISCARDED_BYTES))
            self._send(
                error_answer(Refusal(f"Request payload size exceeds the limit: {MAX_BODY_BYTES} bytes."))
            )
            return None
        body = self.rfile.read(length)
        parts = urlsplit(self.path)
        query = parts.query
        method = self.headers.get("x-http-method-override", self.command)
        if method != self.command:
            query, body = body.decode(), b""
        return Request(method, unquote(parts.path), dict(parse_qsl(query)), body)

    def _discard(self, length: int) -> None:
        """Read what is not wanted: a client that still sends does not see the answer."""
        while length > 0 and (piece := self.rfile.read(min(length, 1 << 16))):
            length -= len(piece)

    def _control(self, request: Request) -> Answer:
        server = self.server
        try:
            match request.method, request.path:
                case "GET", "/control/log":
                    return json_answer(server.log.summary(records=int(request.query.get("records", 0))))
                case "POST", "/control/faults":
                    return json_answer(server.plan.update(request.json()).model_dump(mode="json"))
                case "POST", "/control/reset":
                    server.plan.reset(server.start_settings)
                    server.log.clear()
                    return json_answer({})
        except (ConfigError, ValueError) as error:
            return error_answer(Refusal(str(error)))
        except Refusal as refusal:
            return error_answer(refusal)
        return error_answer(Refusal(f"No control path {request.method} {request.path}.", status=404))

    def _fault(self, endpoint: Endpoint, request: Request, number: int, *, entered: bool) -> Fault | None:
        if endpoint.start_up:
            return None
        refused = self.server.plan.authentication(endpoint.parts.get("project", ""))
        if endpoint.in_project and refused is not None:
            return refused
        if not entered:
            return TOO_MANY
        return self.server.plan.decide(
            number=number,
            endpoint=endpoint.name,
            body=request.path.encode() + request.body,
            pixels=endpoint.pixels,
        )

    def _answer(self, endpoint: Endpoint, request: Request, fault: Fault | None) -> Answer:
        if fault is not None and fault.refusal is not None:
            answer = endpoint.refuse(fault.refusal)
            if not fault.html:
                return answer
            page = f"<html><body>{fault.refusal.message}</body></html>"
            return Answer(page.encode(), answer.status, "text/html", message=answer.message)
        if fault is not None and fault.kind in {"hang", "reset"}:
            return Answer(b"", status=0)
        answer = self.server.service.answer(endpoint, request)
        return altered(answer, fault) if fault is not None and fault.kind in KIND_ENDPOINTS else answer

    def _send_with(self, fault: Fault | None, answer: Answer) -> None:
        kind = "" if fault is None else fault.kind
        if kind == "hang":
            self._hang()
        elif kind == "reset":
            # Closing with unsent data thrown away is what sends RST.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
        else:
            self._send(answer, kind=kind)

    def _hang(self) -> None:
        """Say nothing until the client leaves, the time is up or the server stops."""
        self.close_connection = True
        give_up = time.monotonic() + self.server.plan.settings.hang_s
        while time.monotonic() < give_up and not self.server.stopping.is_set():
            readable, _, _ = select.select([self.connection], [], [], POLL_S)
            if readable and not self.connection.recv(1, socket.MSG_PEEK):
                return

    def _send(self, answer: Answer, *, kind: str = "") -> None:
        body = garbled(answer.body) if kind == "garble" else answer.body
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.content_type)
        self.send_header("Content-Length", str(len(body)))
        if self.server.plan.settings.restricted:
            self.send_header(*RESTRICTED_HEADER)
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        if kind == "truncate":
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
        elif kind == "slow":
            self._trickle(body)
        else:
            self.wfile.write(body)

    def _trickle(self, body: Body, *, parts: int = 10) -> None:
        step = max(1, -(-len(body) // parts))
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            self.server.stopping.wait(self.server.plan.settings.slow_s / parts)


def garbled(body: Body) -> bytes:
    """A body of the same length whose beginning no reader understands."""
    head = bytes(byte ^ 0x5A for byte in body[:64])
    return head + bytes(body[64:])


def _record(endpoint: Endpoint, request: Request, answer: Answer) -> RequestRecord:
    tree = _parsed(request.body)
    return RequestRecord(
        endpoint=endpoint.name,
        status=answer.status,
        start_up=endpoint.start_up,
        functions=functions_used(tree.get("expression")),
        workload_tag=str(tree.get("workloadTag") or request.query.get("workloadTag") or ""),
        counted_bytes=answer.counted_bytes,
        received_bytes=len(request.body),
        sent_bytes=len(answer.body),
        message=answer.message,
    )


def _parsed(body: bytes) -> dict[str, Any]:
    try:
        tree = json.loads(body) if body else {}
    except ValueError:
        return {}
    return tree if isinstance(tree, dict) else {}

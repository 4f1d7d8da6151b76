"""HTTP for the imagery provider's client: a pool that fits, a deadline that holds, and a record of each exchange.

The client's own transport keeps ten connections and by default waits for ever. This one is given to it at
start-up, so it sees every request and answer, and nothing of it depends on which client asks.
"""

import functools
import http.client
import io
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import httplib2
import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection

from builders.loopback import is_loopback

CONNECT_S = 30.0
"""Longest wait for a connection, in seconds; part of the deadline."""

QUOTA_HEADER = "x-earth-engine-quota-status"
RESTRICTED = "parallelism_restricted=true"
"""How Earth Engine announces restricted mode (its Python client, `ee/data.py`)."""

KEPT_ERROR_BYTES = 10_000


@dataclass(frozen=True)
class Exchange:
    """One HTTP request to the endpoint and what came back."""

    status: int
    """0 if there was no whole answer."""
    bytes_received: int
    """Bytes of the body as they came over the wire, before decompression."""
    seconds: float
    error_body: bytes
    """Begin of the body of an answer of 400 or above; empty otherwise."""


class Transport:
    """What `ee.Initialize(http_transport=...)` accepts: httplib2 semantics over a pool of connections.

    Thread-safe. Redirects are not followed, because the API has none. Headers, which carry tokens, are
    neither kept nor logged. Machines named by the environment (proxies, netrc) are left out for loopback.

    Parameters
    ----------
    endpoint
        Base URL of the API; only exchanges with it are recorded (not those that renew credentials).
    pool_size
        Connections kept open; as many as there are requests in flight.
    deadline_s
        Longest time from the start of a request to the last byte of its answer, in seconds.
    on_restricted
        Called when an answer says that the project's parallelism is restricted.
    """

    def __init__(
        self, endpoint: str, *, pool_size: int, deadline_s: float, on_restricted: Callable[[], None]
    ) -> None:
        self._endpoint = urlsplit(endpoint).netloc
        self._deadline_s = deadline_s
        self._on_restricted = on_restricted
        self.restricted = False
        """An answer said that the project's parallelism is restricted."""
        self._local = threading.local()
        self._session = requests.Session()
        self._session.trust_env = not is_loopback(endpoint)
        self._session.auth = _keep_headers
        adapter = _DeadlineAdapter(pool_connections=4, pool_maxsize=pool_size, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def request(  # noqa: PLR0917 - the client calls it so
        self,
        uri: str,
        method: str = "GET",
        body: str | bytes | None = None,
        headers: Mapping[str, str] | None = None,
        redirections: int | None = None,
        connection_type: object = None,
    ) -> tuple[httplib2.Response, bytes]:
        """Send a request and read its whole answer.

        Raises
        ------
        TimeoutError
            If the answer was not complete before the deadline, also if it kept trickling.
        ConnectionError
            If the connection failed, or the body is shorter than announced or can't be decompressed.
        """
        started = time.monotonic()
        try:
            response, received, content = self._send(uri, method, body, headers)
        except (TimeoutError, ConnectionError):
            self._record(uri, Exchange(0, 0, time.monotonic() - started, b""))
            raise
        seconds = time.monotonic() - started
        error_body = content[:KEPT_ERROR_BYTES] if response.status >= 400 else b""
        self._record(uri, Exchange(response.status, received, seconds, error_body))
        return response, content

    def close(self) -> None:
        """Close pooled connections."""
        self._session.close()

    def take_exchanges(self) -> list[Exchange]:
        """Exchanges with the endpoint in this thread since the last call, oldest first."""
        exchanges: list[Exchange] = getattr(self._local, "exchanges", [])
        self._local.exchanges = []
        return exchanges

    def last_exchange(self) -> Exchange | None:
        """The latest of those; None if there was none."""
        exchanges: list[Exchange] = getattr(self._local, "exchanges", [])
        return exchanges[-1] if exchanges else None

    def _record(self, uri: str, exchange: Exchange) -> None:
        if urlsplit(uri).netloc == self._endpoint:
            self._local.exchanges = [*getattr(self._local, "exchanges", []), exchange]

    def _send(
        self, uri: str, method: str, body: str | bytes | None, headers: Mapping[str, str] | None
    ) -> tuple[httplib2.Response, int, bytes]:
        timeout = urllib3.Timeout(connect=min(CONNECT_S, self._deadline_s), total=self._deadline_s)
        try:
            with self._session.request(
                method,
                uri,
                data=body,
                headers=dict(headers or {}),
                timeout=timeout,  # type: ignore[arg-type]  # requests passes urllib3's own type through
                stream=True,
                allow_redirects=False,
            ) as response:
                content: bytes = response.raw.read(decode_content=True)
                received: int = response.raw.tell()
        except (requests.Timeout, urllib3.exceptions.TimeoutError, TimeoutError) as error:
            raise TimeoutError(
                f"no whole answer within {self._deadline_s:g} s: {_root_cause(error)}"
            ) from error
        except (
            requests.RequestException,
            urllib3.exceptions.HTTPError,
            http.client.HTTPException,
            OSError,
        ) as error:
            raise ConnectionError(_root_cause(error)) from error
        _check_length(response.headers, received, method=method, status=response.status_code)
        return self._as_httplib2(response), received, content

    def _as_httplib2(self, response: requests.Response) -> httplib2.Response:
        info: dict[str, Any] = {name.lower(): value for name, value in response.headers.items()}
        # Kept from the client, which would issue a Python warning at every answer.
        if RESTRICTED in info.pop(QUOTA_HEADER, ""):
            self.restricted = True
            self._on_restricted()
        info["status"] = str(response.status_code)
        return httplib2.Response(info)


def _keep_headers(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No authentication of its own: without this, requests would replace the client's token from ~/.netrc."""
    return request


def _check_length(headers: Mapping[str, str], received: int, *, method: str, status: int) -> None:
    announced = headers.get("content-length", "")
    if method == "HEAD" or status in {204, 304} or not announced.isdigit():
        return
    if received != int(announced):
        raise ConnectionError(f"the answer ended after {received} of {announced} bytes")


def _root_cause(error: BaseException) -> str:
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return f"{type(error).__name__}: {error}"


class _DeadlineReader(io.RawIOBase):
    """Bytes of a socket until a point in time, however slowly they come.

    A socket's own timeout starts anew with each byte, so that an answer that trickles never ends.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, deadline_at: float) -> None:
        self._raw, self._sock, self._deadline_at = raw, sock, deadline_at

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int | None:  # Any: typeshed's buffer type is not importable here
        left = self._deadline_at - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline passed while the answer was still coming")
        self._sock.settimeout(left)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _DeadlineResponse(http.client.HTTPResponse):
    """An answer, headers included, that is read before a point in time."""

    def __init__(self, sock: socket.socket, *args: Any, deadline_at: float, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_DeadlineReader(self.fp.detach(), sock, deadline_at))


class _Deadline:
    """Mixin of a connection: its read timeout is the time for the whole answer."""

    timeout: float
    response_class: Any

    def getresponse(self) -> Any:
        deadline_at = time.monotonic() + self.timeout
        self.response_class = functools.partial(_DeadlineResponse, deadline_at=deadline_at)
        try:
            return super().getresponse()  # type: ignore[misc]  # the connection it is mixed into has it
        finally:
            del self.response_class


class _HTTPConnection(_Deadline, HTTPConnection):  # type: ignore[misc]  # the mixin narrows `timeout`
    pass


class _HTTPSConnection(_Deadline, HTTPSConnection):  # type: ignore[misc]  # the mixin narrows `timeout`
    pass


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection  # type: ignore[assignment]  # the mixin hides the protocol


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection  # type: ignore[assignment]  # the mixin hides the protocol


_POOLS = {"http": _HTTPPool, "https": _HTTPSPool}


class _DeadlineAdapter(HTTPAdapter):
    """Makes connections that keep the deadline, directly and through a proxy."""

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = _POOLS
        return manager

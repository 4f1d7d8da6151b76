"""Ways to talk to a sandbox: the unmodified client, and plain HTTP."""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


def connect(url: str, *, credentials: Any = "anonymous") -> Any:
    """Connect the unmodified client to a server."""
    import ee
    from google.auth.credentials import AnonymousCredentials

    disconnect()
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(
        5
    )  # the client asks the internet for deprecated assets, and may not get an answer
    try:
        chosen = AnonymousCredentials() if credentials == "anonymous" else credentials
        ee.Initialize(chosen, url=url, project="test-project")
    finally:
        socket.setdefaulttimeout(before)
    return ee


def disconnect() -> None:
    """Close the client's connections and forget its server."""
    import ee

    session = ee._state.get_state().requests_session
    if session is not None:
        session.close()
    ee.Reset()


@dataclass(frozen=True)
class Reply:
    """A raw HTTP answer."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    def json(self) -> Any:
        return json.loads(self.body)


def call(
    url: str, body: object = None, *, method: str | None = None, timeout: float = 10, **headers: str
) -> Reply:
    """One request without any client library's retries."""
    data = body if isinstance(body, bytes) else None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as reply:
            return Reply(reply.status, reply.read(), dict(reply.headers))
    except urllib.error.HTTPError as error:
        return Reply(error.code, error.read(), dict(error.headers))


def constant_value(value: object) -> dict[str, object]:
    """The smallest value:compute body."""
    return {"expression": {"result": "0", "values": {"0": {"constantValue": value}}}}


def grid(epsg: int, x: float, y: float, side: int, metres: float = 10) -> dict[str, object]:
    """A grid as the API takes it."""
    return {
        "crsCode": f"EPSG:{epsg}",
        "dimensions": {"width": side, "height": side},
        "affineTransform": {"scaleX": metres, "scaleY": -metres, "translateX": x, "translateY": y},
    }

"""The start of Earth Engine's client, kept from asking anyone but the endpoint that was named."""

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn
from urllib.error import URLError

TIMEOUT_S = 60.0
"""Of whatever is asked at start-up."""


@contextmanager
def nobody_else_is_asked() -> Iterator[None]:
    """Keep the client from asking a public server for its list of deprecated data sets.

    It does so at each start-up and without a timeout, which blocks where packets are dropped, and it asks the
    internet also when the endpoint is on this machine. It takes a refusal for an empty list.
    """
    opener = urllib.request.OpenerDirector()
    opener.add_handler(_Refusing())
    timeout = socket.getdefaulttimeout()
    urllib.request.install_opener(opener)
    socket.setdefaulttimeout(TIMEOUT_S)
    try:
        yield
    finally:
        socket.setdefaulttimeout(timeout)
        urllib.request.install_opener(None)  # as at import: made anew on use


class _Refusing(urllib.request.BaseHandler):
    def default_open(self, request: urllib.request.Request) -> NoReturn:
        raise URLError(f"{request.host} is not asked at start-up")

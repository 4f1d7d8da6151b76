import gzip
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from builders.transport import Transport

Reply = Callable[[socket.socket, bytes], None]


def answer(body: bytes, *, status: str = "200 OK", headers: dict[str, str] | None = None) -> bytes:
    lines = [
        f"HTTP/1.1 {status}",
        *(f"{k}: {v}" for k, v in ({"Content-Length": str(len(body))} | (headers or {})).items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


class Server:
    """A loopback server that says exactly the bytes it is told to, also wrong ones."""

    def __init__(self, reply: Reply) -> None:
        self.requests: list[bytes] = []
        self.num_connections = 0
        self._reply = reply
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.num_connections += 1
            self._open.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            while request := self._read(connection):
                self.requests.append(request)
                self._reply(connection, request)
        except OSError:
            pass
        finally:
            connection.close()

    def _read(self, connection: socket.socket) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            if not (more := connection.recv(65536)):
                return b""
            data += more
        length = re.search(rb"content-length: (\d+)", data, re.IGNORECASE)
        wanted = data.index(b"\r\n\r\n") + 4 + (int(length[1]) if length else 0)
        while len(data) < wanted:
            data += connection.recv(65536)
        return data

    def close(self) -> None:
        # A thread that waits in accept() would keep a closed listener listening.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._open:
            connection.close()


@contextmanager
def serving(reply: Reply | bytes) -> Iterator[Server]:
    server = Server(reply if callable(reply) else lambda connection, _: connection.sendall(reply))
    try:
        yield server
    finally:
        server.close()


@contextmanager
def transport_to(
    server: Server, *, deadline_s: float = 5.0, pool_size: int = 8, restricted: list[str] | None = None
) -> Iterator[Transport]:
    notes = [] if restricted is None else restricted
    transport = Transport(
        server.url,
        pool_size=pool_size,
        deadline_s=deadline_s,
        on_restricted=lambda: notes.append("restricted"),
    )
    try:
        yield transport
    finally:
        transport.close()


def test_a_request_and_its_answer_travel_unchanged():
    with (
        serving(answer(b'{"a": 1}', headers={"Content-Type": "application/json", "X-Thing": "b"})) as server,
        transport_to(server) as transport,
    ):
        response, content = transport.request(
            server.url + "/v1/x?alt=json",
            "POST",
            body='{"q": 2}',
            headers={"content-type": "application/json", "X-Goog-User-Project": "p"},
        )
    assert (response.status, content) == (200, b'{"a": 1}')
    assert response["x-thing"] == "b"
    assert server.requests[0].startswith(b"POST /v1/x?alt=json HTTP/1.1\r\n")
    assert server.requests[0].endswith(b'{"q": 2}')
    assert b"X-Goog-User-Project: p\r\n" in server.requests[0]


def test_errors_are_answers_and_their_bodies_are_kept_for_the_table():
    with (
        serving(answer(b'{"error": 1}', status="503 Service Unavailable")) as server,
        transport_to(server) as transport,
    ):
        response, content = transport.request(server.url + "/v1/x")
        (exchange,) = transport.take_exchanges()
    assert response.status == 503
    assert content == b'{"error": 1}'
    assert (exchange.status, exchange.error_body, exchange.bytes_received) == (503, b'{"error": 1}', 12)


def test_compressed_answers_are_opened_and_counted_as_they_came():
    packed = gzip.compress(b"x" * 100_000)
    with (
        serving(answer(packed, headers={"Content-Encoding": "gzip"})) as server,
        transport_to(server) as transport,
    ):
        _, content = transport.request(server.url + "/v1/x")
        (exchange,) = transport.take_exchanges()
    assert content == b"x" * 100_000
    assert exchange.bytes_received == len(packed)


def short(body: bytes, *, by: int, headers: dict[str, str] | None = None) -> Reply:
    def reply(connection: socket.socket, request: bytes) -> None:
        whole = answer(body, headers=headers)
        connection.sendall(whole[: len(whole) - by])
        connection.shutdown(socket.SHUT_RDWR)

    return reply


@pytest.mark.parametrize("by", [1, 500, 1000])
def test_a_body_shorter_than_announced_is_a_connection_error(by: int):
    with serving(short(b"x" * 1000, by=by)) as server, transport_to(server) as transport:
        with pytest.raises(ConnectionError):
            transport.request(server.url + "/v1/x")
        (exchange,) = transport.take_exchanges()
    assert exchange.status == 0


def test_a_compressed_body_cut_short_is_a_connection_error():
    packed = gzip.compress(bytes(range(256)) * 400)
    reply = short(packed, by=20, headers={"Content-Encoding": "gzip"})
    with serving(reply) as server, transport_to(server) as transport, pytest.raises(ConnectionError):
        transport.request(server.url + "/v1/x")


def test_a_body_that_can_not_be_decompressed_is_a_connection_error():
    with (
        serving(answer(b"no gzip at all", headers={"Content-Encoding": "gzip"})) as server,
        transport_to(server) as transport,
        pytest.raises(ConnectionError),
    ):
        transport.request(server.url + "/v1/x")


def test_a_server_that_is_not_there_is_a_connection_error():
    with serving(b"") as server, transport_to(server) as transport:
        server.close()
        with pytest.raises(ConnectionError, match="refused"):
            transport.request(server.url + "/v1/x")


def test_a_server_that_hangs_up_is_a_connection_error():
    def hang_up(connection: socket.socket, request: bytes) -> None:
        connection.shutdown(socket.SHUT_RDWR)

    with serving(hang_up) as server, transport_to(server) as transport, pytest.raises(ConnectionError):
        transport.request(server.url + "/v1/x")


def trickle(data: bytes, *, at_once: int, every_s: float, first: int = 0) -> Reply:
    def reply(connection: socket.socket, request: bytes) -> None:
        connection.sendall(data[:first])
        for start in range(first, len(data), at_once):
            connection.sendall(data[start : start + at_once])
            time.sleep(every_s)

    return reply


SILENT: Reply = lambda connection, request: time.sleep(3)  # noqa: E731 - reads best beside the others


@pytest.mark.parametrize(
    "reply",
    [
        SILENT,
        trickle(answer(b"x" * 1000), at_once=1, every_s=0.03),
        trickle(answer(b"x" * 1000), at_once=1, every_s=0.03, first=100),
        trickle(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 400,
            at_once=6,
            every_s=0.03,
        ),
    ],
    ids=["silent", "trickling headers", "trickling body", "trickling chunks"],
)
def test_the_deadline_holds_however_slowly_the_answer_comes(reply: Reply):
    with serving(reply) as server, transport_to(server, deadline_s=0.4) as transport:
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"within 0\.4 s"):
            transport.request(server.url + "/v1/x")
        assert 0.35 <= time.monotonic() - began < 2.5  # the silence lasts 3 s, the trickles 12 s or more
        assert transport.take_exchanges()[0].status == 0


def test_an_answer_that_begins_late_and_then_stops_has_no_second_deadline():
    def reply(connection: socket.socket, request: bytes) -> None:
        time.sleep(1.4)
        connection.sendall(answer(b"x" * 1000)[:300])
        time.sleep(3)

    with serving(reply) as server, transport_to(server, deadline_s=1.8) as transport:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            transport.request(server.url + "/v1/x")
        assert time.monotonic() - began < 2.8  # a second deadline would end after 3.2 s


def test_a_slow_answer_within_the_deadline_is_complete_and_the_next_has_a_deadline_of_its_own():
    with (
        serving(trickle(answer(b"y" * 60), at_once=10, every_s=0.08)) as server,
        transport_to(server, deadline_s=1.6) as transport,
    ):
        for _ in range(3):
            assert transport.request(server.url + "/v1/x")[1] == b"y" * 60
        assert server.num_connections == 1


def test_the_pool_fits_the_requests_in_flight():
    def reply(connection: socket.socket, request: bytes) -> None:
        time.sleep(0.01)
        connection.sendall(answer(b"ok"))

    with serving(reply) as server, transport_to(server, pool_size=8) as transport:
        threads = [
            threading.Thread(target=lambda: [transport.request(server.url + "/v1/x") for _ in range(10)])
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.requests) == 80
        assert server.num_connections <= 8


def test_exchanges_are_a_threads_own_and_only_those_with_the_endpoint():
    with (
        serving(answer(b"ok")) as server,
        serving(answer(b"token")) as other,
        transport_to(server) as transport,
    ):
        transport.request(other.url + "/token")
        assert transport.last_exchange() is None
        transport.request(server.url + "/v1/x")
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(len(transport.take_exchanges())))
        thread.start()
        thread.join()
        assert seen == [0]
        assert transport.last_exchange() is not None
        assert len(transport.take_exchanges()) == 1
        assert transport.take_exchanges() == []


def test_restricted_mode_is_noticed_and_kept_from_the_client():
    notes: list[str] = []
    header = {"X-Earth-Engine-Quota-Status": "parallelism_restricted=true; other"}
    with (
        serving(answer(b"ok", headers=header)) as server,
        transport_to(server, restricted=notes) as transport,
    ):
        response, _ = transport.request(server.url + "/v1/x")
    assert notes == ["restricted"]
    assert "x-earth-engine-quota-status" not in response


def test_an_unrestricted_quota_status_is_no_restriction():
    notes: list[str] = []
    header = {"X-Earth-Engine-Quota-Status": "parallelism_restricted=false"}
    with (
        serving(answer(b"ok", headers=header)) as server,
        transport_to(server, restricted=notes) as transport,
    ):
        transport.request(server.url + "/v1/x")
    assert notes == []


def test_proxies_and_netrc_are_left_out_on_loopback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / ".netrc").write_text("default login someone password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with serving(answer(b"ok")) as server, transport_to(server) as transport:
        assert transport.request(server.url + "/v1/x", headers={"authorization": "Bearer abc"})[1] == b"ok"
    assert b"authorization: Bearer abc" in server.requests[0]


def test_a_token_is_never_replaced_by_netrc_nor_logged(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    (tmp_path / ".netrc").write_text("default login someone password secret\n")
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    caplog.set_level(logging.DEBUG)
    with serving(answer(b"no", status="401 Unauthorized")) as server, transport_to(server) as transport:
        transport._session.trust_env = True
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        transport.request(server.url + "/v1/x", headers={"authorization": "Bearer tok-123"})
        assert "tok-123" not in repr(transport.take_exchanges())
    assert b"authorization: Bearer tok-123" in server.requests[0]
    assert "tok-123" not in caplog.text


def test_redirects_are_answers_not_orders():
    elsewhere = {"Location": "http://127.0.0.1:9/"}
    with (
        serving(answer(b"", status="302 Found", headers=elsewhere)) as server,
        transport_to(server) as transport,
    ):
        assert transport.request(server.url + "/v1/x")[0].status == 302

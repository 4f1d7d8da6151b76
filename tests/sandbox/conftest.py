"""Servers of the fake Earth, and the unmodified client connected to one."""

from collections.abc import Iterator
from typing import Any

import pytest

from sandbox.server import SandboxServer, serving
from tests.sandbox.fake_earth import FakeCatalogue
from tests.sandbox.loopback import connect


@pytest.fixture(scope="session")
def earth() -> FakeCatalogue:
    return FakeCatalogue()


@pytest.fixture
def server(earth: FakeCatalogue) -> Iterator[SandboxServer]:
    """A server of its own for each test that injects faults or counts requests."""
    with serving(earth) as running:
        yield running


@pytest.fixture(scope="session")
def shared_server(earth: FakeCatalogue) -> Iterator[SandboxServer]:
    with serving(earth, max_per_second=100_000.0) as running:
        yield running


@pytest.fixture
def client(shared_server: SandboxServer) -> Any:
    """The unmodified client, connected to the shared server. Its state belongs to the process: look, then connect."""
    import ee

    if not (ee.data.is_initialized() and ee._state.get_state().cloud_api_base_url == shared_server.url):
        connect(shared_server.url)
    return ee

"""What the unmodified client needs to start, and that the functions are what its own list says."""

import json
import sys

import pytest

from sandbox.discovery import algorithms, discovery_document, signatures
from sandbox.functions.registry import FUNCTIONS
from tests.sandbox.loopback import call, connect, disconnect


@pytest.mark.parametrize("credentials", ["anonymous", None])
def test_the_unmodified_client_starts_with_two_documents_and_one_list(server, credentials):
    ee = connect(server.url, credentials=credentials)
    try:
        assert ee.Number(1).add(2).getInfo() == 3
        log = call(f"{server.url}/control/log").json()
        assert log["start_up"] == 3
        assert log["endpoints"] == {"algorithms": 1, "discovery": 2, "value:compute": 1}
        assert log["requests"] == 1
    finally:
        disconnect()


def test_signatures_are_read_without_importing_the_client(monkeypatch):
    for name in [name for name in sys.modules if name == "ee" or name.startswith("ee.")]:
        monkeypatch.delitem(sys.modules, name)
    assert "Image.load" in signatures()
    assert "ee" not in sys.modules


def test_every_function_is_in_the_clients_list_with_arguments_of_those_names():
    known = signatures()
    for name, function in FUNCTIONS.items():
        arguments = {one["argumentName"]: one for one in known[name].get("arguments", ())}
        assert function.names <= set(arguments), name
        required = {parameter.name for parameter in function.parameters if parameter.required}
        optional = {key for key, one in arguments.items() if one.get("optional")}
        assert not required & optional or name == "If", name


def test_a_function_lacks_only_arguments_that_its_list_calls_optional():
    known = signatures()
    for name, function in FUNCTIONS.items():
        needed = {one["argumentName"] for one in known[name].get("arguments", ()) if not one.get("optional")}
        assert needed <= function.names, name


def test_the_list_holds_what_is_implemented_and_no_descriptions():
    listed = json.loads(algorithms(FUNCTIONS))["algorithms"]
    assert {entry["name"] for entry in listed} == {f"algorithms/{name}" for name in FUNCTIONS}
    assert "description" not in json.dumps(listed).replace("descriptions", "")
    assert len(algorithms(FUNCTIONS)) < 100_000


def test_the_discovery_document_is_small_and_declares_what_start_up_needs():
    document = discovery_document("http://127.0.0.1:1")
    assert {"prettyPrint", "fields"} <= set(document["parameters"])
    assert len(json.dumps(document)) < 6_000

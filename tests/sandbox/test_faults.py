"""Each fault, as a client without retries meets it; and that seeds decide."""

import http.client
import io
import json
import socket
import time
import urllib.error

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from noldo.errors import ConfigError
from sandbox.faults import FaultPlan, chance, parse_faults, random_kind
from sandbox.server import serving
from tests.sandbox.fake_earth import CORNERS, L1C
from tests.sandbox.loopback import call, connect, constant_value, disconnect, grid

VALUE = "/v1/projects/test-project/value:compute"
PIXELS = "/v1/projects/test-project/image:computePixels"
INDEX = "20220003T103041_20220003T103037_T32TPT"


def pixel_body(index=INDEX):
    load = {
        "functionInvocationValue": {
            "functionName": "Image.load",
            "arguments": {"id": {"constantValue": f"{L1C}/{index}"}},
        }
    }
    return {
        "expression": {"result": "0", "values": {"0": load}},
        "fileFormat": "NPY",
        "grid": grid(32632, 600_000, 5_300_040, 60),
    }


def inject(server, **changes):
    reply = call(server.url + "/control/faults", changes)
    assert reply.status == 200, reply.body


def faults_in_log(server):
    return call(server.url + "/control/log").json()["faults"]


@pytest.mark.parametrize(
    ("queued", "status", "name", "message"),
    [
        ({"status": 429}, 429, "RESOURCE_EXHAUSTED", "Too Many Requests"),
        ({"status": 500}, 500, "INTERNAL", "An internal error"),
        ({"status": 503}, 503, "UNAVAILABLE", "unavailable"),
        (
            {"status": 400, "message": "User memory limit exceeded."},
            400,
            "INVALID_ARGUMENT",
            "User memory limit",
        ),
        ({"kind": "503"}, 503, "UNAVAILABLE", "unavailable"),
    ],
)
def test_queued_answers_come_once(server, queued, status, name, message):
    inject(server, next=[queued])
    first, second = (call(server.url + VALUE, constant_value(1)) for _ in range(2))
    assert first.status == status
    assert first.json()["error"]["status"] == name
    assert first.json()["error"]["code"] == status
    assert message in first.json()["error"]["message"]
    assert second.status == 200
    assert faults_in_log(server) == {str(status): 1}


def test_a_queued_answer_may_be_html(server):
    inject(server, next=[{"status": 502, "html": True}])
    reply = call(server.url + VALUE, constant_value(1))
    assert reply.status == 502
    assert reply.headers["Content-Type"] == "text/html"
    assert reply.body.startswith(b"<html>")


def test_a_queued_answer_may_wait_for_its_endpoint(server):
    inject(server, next=[{"status": 500, "endpoint": "image:computePixels"}])
    assert call(server.url + VALUE, constant_value(1)).status == 200
    assert call(server.url + PIXELS, pixel_body()).status == 500
    assert call(server.url + PIXELS, pixel_body()).status == 200


def test_a_truncated_body_is_shorter_than_its_length(server):
    inject(server, next=[{"kind": "truncate"}])
    with pytest.raises(http.client.IncompleteRead) as caught:
        call(server.url + PIXELS, pixel_body())
    assert len(caught.value.partial) > 10_000
    assert caught.value.expected > 10_000


def test_a_garbled_body_is_whole_but_no_npy(server):
    good = call(server.url + PIXELS, pixel_body()).body
    inject(server, next=[{"kind": "garble"}])
    bad = call(server.url + PIXELS, pixel_body()).body
    assert len(bad) == len(good)
    np.load(io.BytesIO(good), allow_pickle=False)
    with pytest.raises(ValueError, match=r"allow_pickle|magic"):
        np.load(io.BytesIO(bad), allow_pickle=False)


def test_a_hanging_request_is_not_answered_and_its_place_is_free_once_the_client_is_gone(earth):
    with serving(earth, max_concurrent=1) as server:
        inject(server, next=[{"kind": "hang"}])
        with pytest.raises((TimeoutError, urllib.error.URLError)):
            call(server.url + VALUE, constant_value(1), timeout=0.3)
        give_up = time.monotonic() + 5
        while (status := call(server.url + VALUE, constant_value(1)).status) == 429:
            assert time.monotonic() < give_up
            time.sleep(0.05)
        assert status == 200


def test_a_hanging_request_is_dropped_after_its_time(server):
    inject(server, next=[{"kind": "hang"}], hang_s=0.2)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionError)):
        call(server.url + VALUE, constant_value(1))


def test_a_reset_connection_is_reset(server):
    inject(server, next=[{"kind": "reset"}])
    body = json.dumps(constant_value(1)).encode()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
        connection.sendall(
            f"POST {VALUE} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
        )
        with pytest.raises(ConnectionResetError):
            connection.recv(1000)


def test_a_slow_answer_is_whole(server):
    inject(server, next=[{"kind": "slow"}], slow_s=0.3)
    started = time.monotonic()
    reply = call(server.url + PIXELS, pixel_body())
    assert time.monotonic() - started >= 0.25
    assert np.load(io.BytesIO(reply.body), allow_pickle=False).shape == (60, 60)


def test_latency_delays_answers(server):
    inject(server, latency_s=0.2)
    started = time.monotonic()
    call(server.url + VALUE, constant_value(1))
    assert time.monotonic() - started >= 0.2


def test_an_outage_begins_after_some_requests_and_ends_with_time():
    now = [0.0]
    plan = FaultPlan(
        parse_faults({"outage": {"after_requests": 2, "seconds": 60}}, where="test"), lambda: now[0]
    )

    def fault(number):
        found = plan.decide(number=number, endpoint="value:compute", body=b"", pixels=False)
        return "" if found is None else found.name

    assert [fault(number) for number in (1, 2)] == ["", ""]
    now[0] = 500.0
    assert fault(3) == "outage"
    now[0] = 559.0
    assert fault(4) == "outage"
    now[0] = 560.1
    assert fault(5) == ""


def test_during_an_outage_start_up_still_works(server):
    inject(server, outage={"seconds": 30})
    assert call(server.url + VALUE, constant_value(1)).status == 503
    assert call(server.url + "/v1/projects/p/algorithms").status == 200
    inject(server, outage=None)
    assert call(server.url + VALUE, constant_value(1)).status == 200


def test_the_daily_quota_is_spent_by_pixel_requests_and_can_be_lifted(server):
    inject(server, daily_quota=2)
    assert call(server.url + VALUE, constant_value(1)).status == 200
    assert [call(server.url + PIXELS, pixel_body()).status for _ in range(3)] == [200, 200, 429]
    refused = call(server.url + VALUE, constant_value(1))
    assert refused.status == 429
    assert refused.json()["error"]["message"].startswith(
        "Your usage exceeded the custom quota for 'earthengine.googleapis.com/daily_eecu_usage_time'"
    )
    inject(server, daily_quota=None)
    assert call(server.url + PIXELS, pixel_body()).status == 200


@pytest.mark.parametrize(("status", "name"), [(401, "UNAUTHENTICATED"), (403, "PERMISSION_DENIED")])
def test_authentication_fails_for_everything_but_start_up_unless_asked_for(server, status, name):
    inject(server, authentication=status)
    reply = call(server.url + VALUE, constant_value(1))
    assert (reply.status, reply.json()["error"]["status"]) == (status, name)
    assert call(server.url + "/v1/projects/p/algorithms").status == 200
    inject(server, authentication_at_start_up=True)
    assert call(server.url + "/v1/projects/p/algorithms").status == status
    assert call(server.url + "/$discovery/rest").status == 200


def test_the_client_fails_at_start_up_without_rights(server):
    inject(server, authentication=403, authentication_at_start_up=True)
    try:
        with pytest.raises(
            Exception, match="Caller does not have required permission to use project test-project"
        ):
            connect(server.url)
    finally:
        disconnect()


def test_a_missing_scene_is_listed_but_can_not_be_read(server):
    inject(server, missing_scenes=[INDEX])
    reply = call(server.url + PIXELS, pixel_body())
    assert reply.status == 400
    assert (
        f"{INDEX}' not found (does not exist or caller does not have access)"
        in reply.json()["error"]["message"]
    )
    listed = call(f"{server.url}/v1/projects/earthengine-public/assets/{L1C}:listAssets").json()["assets"]
    assert len(listed) == 4 * len(CORNERS)
    other = pixel_body("20220008T103041_20220008T103037_T32TPT")
    assert call(server.url + PIXELS, other).status == 200


def test_a_restricted_project_is_announced_in_a_header(server):
    assert "x-earth-engine-quota-status" not in call(server.url + VALUE, constant_value(1)).headers
    inject(server, restricted=True)
    headers = call(server.url + VALUE, constant_value(1)).headers
    assert "parallelism_restricted=true" in headers["x-earth-engine-quota-status"]


def run(seed, numbers, **settings):
    plan = FaultPlan(parse_faults({"seed": seed, **settings}, where="test"))
    return [
        fault.name
        if (fault := plan.decide(number=n, endpoint="image:computePixels", body=b"%d" % n, pixels=True))
        else ""
        for n in numbers
    ]


def test_random_faults_repeat_with_their_seed_and_have_their_share():
    rates = {"429": 0.1, "500": 0.05, "truncate": 0.05, "garble": 0.02}
    first = run(5, range(1, 3001), rates=rates)
    assert first == run(5, range(1, 3001), rates=rates)
    assert first != run(6, range(1, 3001), rates=rates)
    for name, share in rates.items():
        assert first.count(name) / 3000 == pytest.approx(share, abs=0.02)


@given(st.integers(0, 2**32), st.integers(0, 10**9))
def test_chance_lies_between_0_and_1_and_depends_on_nothing_else(seed, number):
    assert 0 <= chance(seed, number) < 1
    assert chance(seed, number) == chance(seed, number)


def test_a_share_of_one_meets_every_request():
    settings = parse_faults({"rates": {"503": 1}}, where="test")
    assert {random_kind(settings, number) for number in range(100)} == {"503"}


def test_random_faults_meet_the_same_body_only_so_often():
    plan = FaultPlan(parse_faults({"rates": {"500": 1}, "max_faults_per_body": 2}, where="test"))
    names = [
        plan.decide(number=n, endpoint="value:compute", body=body, pixels=False) is not None
        for n, body in enumerate([b"a", b"a", b"a", b"b", b"b", b"b"])
    ]
    assert names == [True, True, False, True, True, False]


def test_random_faults_meet_only_the_endpoints_they_are_for_and_garble_only_pixels():
    plan = FaultPlan(parse_faults({"rates": {"500": 1}, "endpoints": ["image:computePixels"]}, where="test"))
    assert plan.decide(number=1, endpoint="value:compute", body=b"", pixels=False) is None
    assert plan.decide(number=2, endpoint="image:computePixels", body=b"", pixels=True) is not None
    plan = FaultPlan(parse_faults({"rates": {"garble": 1}}, where="test"))
    assert plan.decide(number=1, endpoint="value:compute", body=b"", pixels=False) is None


def test_random_faults_never_meet_start_up_or_control(server):
    inject(server, rates={"500": 1.0})
    assert call(server.url + VALUE, constant_value(1)).status == 500
    for path in ("/$discovery/rest", "/v1/projects/p/algorithms", "/control/log"):
        assert call(server.url + path).status == 200


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"rates": {"explode": 0.1}}, "rates.explode"),
        ({"rates": {"500": 0.7, "503": 0.7}}, "add up to at most 1"),
        ({"rates": {"500": -0.1}}, "must not be negative"),
        ({"next": [{"status": 200}]}, "next.0.status"),
        ({"next": [{}]}, "either a status or a kind"),
        ({"surprise": 1}, "surprise"),
        (3, "faults"),
    ],
)
def test_wrong_settings_are_named(tree, message):
    with pytest.raises(ConfigError, match=message):
        parse_faults(tree, where="--faults")


def test_settings_that_are_not_given_stay(server):
    inject(server, restricted=True)
    inject(server, latency_s=0.0)
    headers = call(server.url + VALUE, constant_value(1)).headers
    assert "x-earth-engine-quota-status" in headers

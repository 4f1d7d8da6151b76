"""HTTP, quotas, the log and the control paths, seen by a client without retries."""

import concurrent.futures
import contextlib
import io
import json
import socket
import threading
import time
from urllib.parse import quote, urlencode

import numpy as np
import pytest

from sandbox.quotas import Quota
from sandbox.server import serving
from tests.sandbox.fake_earth import DAY_MS, JULY_MS, L1C
from tests.sandbox.loopback import call, constant_value, grid

VALUE = "/v1/projects/test-project/value:compute"
PIXELS = "/v1/projects/test-project/image:computePixels"
ASSETS = "/v1/projects/earthengine-public/assets"
SCENE = f"{L1C}/20220003T103041_20220003T103037_T32TPT"


def load(asset):
    node = {
        "functionInvocationValue": {
            "functionName": "Image.load",
            "arguments": {"id": {"constantValue": asset}},
        }
    }
    return {"result": "0", "values": {"0": node}}


def pixel_body(side=6, **more):
    return {
        "expression": load(SCENE),
        "fileFormat": "NPY",
        "grid": grid(32632, 600_000, 5_300_040, side),
        **more,
    }


def log_of(server, records=0):
    return call(f"{server.url}/control/log?records={records}").json()


def test_only_the_loopback_address_is_served(server):
    assert server.server_address[0] == "127.0.0.1"
    assert server.url.startswith("http://127.0.0.1:")


def test_an_unknown_function_is_a_400_that_names_it(server):
    body = {
        "expression": {"result": "0", "values": {"0": {"functionInvocationValue": {"functionName": "A.b"}}}}
    }
    reply = call(server.url + VALUE, body)
    assert reply.status == 400
    assert reply.json()["error"]["status"] == "INVALID_ARGUMENT"
    assert "'A.b'" in reply.json()["error"]["message"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{", "Invalid JSON payload"),
        (b"[]", "An object is expected"),
        (b'{"expression": {"result": "0", "values": {"0": {"constantValue": NaN}}}}', "NaN is not JSON"),
    ],
)
def test_a_body_that_is_no_json_is_a_400(server, body, message):
    reply = call(server.url + VALUE, body)
    assert reply.status == 400
    assert message in reply.json()["error"]["message"]


def test_a_defect_of_the_sandbox_is_a_400_too(server, earth, monkeypatch, caplog):
    monkeypatch.setattr(type(earth), "bands", lambda self, scene: 1 / 0)
    reply = call(server.url + PIXELS, pixel_body())
    assert reply.status == 400
    assert "ZeroDivisionError" in reply.json()["error"]["message"]
    assert "the sandbox failed" in caplog.text


def test_an_unknown_path_is_a_404_and_a_large_body_a_400(server):
    assert call(server.url + "/v2/nothing").status == 404
    reply = call(server.url + VALUE, b"x" * (10 * 1024 * 1024 + 1))
    assert reply.status == 400
    assert "payload size" in reply.json()["error"]["message"]


def test_a_long_get_may_come_as_a_post(server):
    place = {
        "type": "Polygon",
        "coordinates": [[[10.4 + n / 1e5, 47.5] for n in range(200)] + [[10.5, 47.6], [10.4, 47.5]]],
    }
    terms = f'startTime >= "2022-07-01T00:00:00Z" AND intersects("{json.dumps(place)}")'.replace('"', "'")
    terms = terms.replace("'2022-07-01T00:00:00Z'", '"2022-07-01T00:00:00Z"').replace(
        "intersects('{", 'intersects("{'
    )
    terms = terms.replace("}')", '}")')
    path = f"{ASSETS}/{L1C}:listAssets"
    override = {
        "x-http-method-override": "GET",
        "Content-Type": "application/x-www-form-urlencoded",
    }
    reply = call(
        server.url + path, urlencode({"filter": terms, "alt": "json"}).encode(), method="POST", **override
    )
    assert reply.status == 200, reply.body
    assert [one["properties"]["MGRS_TILE"] for one in reply.json()["assets"]] == ["32TPT"] * 4
    assert log_of(server)["endpoints"] == {"assets:listAssets": 1}


def test_the_client_lists_images_of_a_long_region(client, shared_server):
    ring = [[10.4 + n / 1e4, 47.5] for n in range(300)] + [[10.5, 47.6], [10.4, 47.5]]
    asked = {
        "parent": L1C,
        "startTime": "2022-07-05T00:00:00Z",
        "endTime": "2022-07-30T00:00:00Z",
        "region": {"type": "Polygon", "coordinates": [ring]},
        "properties": ["CLOUDY_PIXEL_PERCENTAGE<=20", 'MGRS_TILE="32TPT"'],
    }
    assert [one["id"] for one in client.data.listImages(asked)["images"]] == [
        f"{L1C}/20220008T103041_20220008T103037_T32TPT"
    ]


def test_lists_come_in_pages(client, shared_server):
    everything = client.data.listAssets({"parent": L1C})["assets"]
    assert len(everything) == 16
    first = client.data.listAssets({"parent": L1C, "pageSize": 5})
    second = client.data.listAssets({"parent": L1C, "pageSize": 20, "pageToken": first["nextPageToken"]})
    assert [one["id"] for one in first["assets"] + second["assets"]] == [one["id"] for one in everything]
    assert "nextPageToken" not in second


def test_an_asset_is_described(client):
    asset = client.data.getAsset(SCENE)
    assert asset["type"] == "IMAGE"
    assert asset["startTime"] == "2022-07-04T00:00:00.000000Z"
    assert asset["properties"]["MGRS_TILE"] == "32TPT"
    bands = {band["id"]: band["grid"] for band in asset["bands"]}
    assert bands["B5"]["affineTransform"] == {
        "scaleX": 20,
        "translateX": 600_000,
        "scaleY": -20,
        "translateY": 5_300_040,
    }
    assert asset["geometry"]["type"] == "Polygon"
    assert client.data.getAsset(L1C)["type"] == "IMAGE_COLLECTION"
    with pytest.warns(DeprecationWarning, match="Use getAsset"):
        assert client.data.getInfo(f"{L1C}/nothing") is None


def test_a_wrong_list_filter_is_a_400(server):
    for wrong in ("nonsense", "colour=red", 'endTime != "2022-01-01"', 'intersects("{broken")'):
        assert call(f"{server.url}{ASSETS}/{L1C}:listAssets?filter={quote(wrong)}").status == 400, wrong
    assert call(f"{server.url}{ASSETS}/NO/SUCH:listAssets").status == 404


def test_every_request_is_logged_with_its_size_as_earth_engine_counts_it(server):
    call(server.url + "/$discovery/rest")
    call(server.url + PIXELS, pixel_body(side=12, workloadTag="pixels"))
    call(server.url + VALUE, constant_value(3))
    log = log_of(server, records=10)
    assert log["requests"] == 2
    assert log["start_up"] == 1
    assert log["largest_bytes"] == log["counted_bytes"] == 12 * 12 * 13 * 3
    assert log["functions"] == {"Image.load": 1}
    assert log["workload_tags"] == {"pixels": 1}
    discovery, pixels, value = log["records"]
    assert (discovery["start_up"], discovery["number"]) == (True, 0)
    assert (pixels["endpoint"], pixels["status"], pixels["number"]) == ("image:computePixels", 200, 1)
    assert pixels["sent_bytes"] > 12 * 12 * 13 * 2
    assert value["number"] == 2
    assert value["seconds"] < 5


def test_the_log_file_has_a_line_a_request(earth, tmp_path):
    path = tmp_path / "log.jsonl"
    with serving(earth, log=path) as server:
        for number in range(3):
            call(server.url + VALUE, constant_value(number))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["number"] for line in lines] == [1, 2, 3]
    assert {line["endpoint"] for line in lines} == {"value:compute"}


def test_reset_forgets_counters_and_faults(server):
    call(server.url + "/control/faults", {"authentication": 403})
    assert call(server.url + VALUE, constant_value(1)).status == 403
    call(server.url + "/control/reset", {})
    assert log_of(server)["requests"] == 0
    assert call(server.url + VALUE, constant_value(1)).status == 200


def test_more_requests_in_flight_than_the_quota_allows_get_429(earth):
    with serving(earth, max_concurrent=3) as server:
        call(server.url + "/control/faults", {"latency_s": 0.4})
        with concurrent.futures.ThreadPoolExecutor(6) as pool:
            replies = list(pool.map(lambda n: call(server.url + VALUE, constant_value(n)), range(6)))
        statuses = sorted(reply.status for reply in replies)
        assert statuses == [200] * 3 + [429] * 3
        refused = next(reply for reply in replies if reply.status == 429).json()["error"]
        assert refused["status"] == "RESOURCE_EXHAUSTED"
        assert refused["message"].startswith(
            "Too Many Requests: Request was rejected because the request rate"
        )
        log = log_of(server)
        assert log["faults"] == {"quota": 3}
        assert log["max_concurrent"] >= 4
        call(server.url + "/control/faults", {"latency_s": 0})
        assert call(server.url + VALUE, constant_value(1)).status == 200


def test_start_up_is_outside_of_the_quota(earth):
    with serving(earth, max_per_second=1) as server:
        assert call(server.url + VALUE, constant_value(1)).status == 200
        assert call(server.url + VALUE, constant_value(1)).status == 429
        assert call(server.url + "/$discovery/rest").status == 200
        assert call(server.url + "/v1/projects/p/algorithms").status == 200


def test_the_bucket_holds_one_second_and_fills_with_time():
    now = [0.0]
    quota = Quota(max_concurrent=1000, max_per_second=10, clock=lambda: now[0])
    assert [quota.enter() for _ in range(12)] == [True] * 10 + [False] * 2
    now[0] = 0.35
    assert [quota.enter() for _ in range(5)] == [True] * 3 + [False] * 2
    now[0] = 100.0
    assert sum(quota.enter() for _ in range(50)) == 10


def test_a_place_is_free_again_once_it_was_left():
    quota = Quota(max_concurrent=1, max_per_second=1000)
    assert quota.enter()
    assert not quota.enter()
    quota.leave()
    assert quota.enter()


def test_forty_connections_at_once_are_answered(server):
    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        replies = list(pool.map(lambda n: call(server.url + VALUE, constant_value(n)), range(40)))
    assert [reply.json()["result"] for reply in replies] == list(range(40))


def test_a_connection_is_kept_alive(server):
    body = json.dumps(constant_value(1)).encode()
    head = f"POST {VALUE} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=5) as connection:
        for _ in range(2):
            connection.sendall(head + body)
            received = b""
            while not received.endswith(b'{"result":1}'):
                received += connection.recv(65_536)
            assert received.startswith(b"HTTP/1.1 200")


def test_canned_pixels_have_the_right_shape_and_types_and_read_nothing(earth, monkeypatch):
    monkeypatch.setattr(type(earth), "read", lambda *args, **options: pytest.fail("a band was read"))
    with serving(earth, canned_pixels=True) as server:
        reply = call(server.url + PIXELS, pixel_body(side=8))
    got = np.load(io.BytesIO(reply.body), allow_pickle=False)
    assert got.shape == (8, 8)
    assert got.dtype["B2"] == np.dtype("<u2")
    assert (got["B2"] == 1).all()


def test_many_threads_get_the_same_pixels(server):
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: call(server.url + PIXELS, pixel_body(side=60)).body, range(16)))
    assert len(set(replies)) == 1


def test_wrong_control_requests_are_told_what_is_wrong(server):
    wrong = call(server.url + "/control/faults", {"rate": {}})
    assert wrong.status == 400
    assert "rate: Extra inputs are not permitted" in wrong.json()["error"]["message"]
    assert "known keys are" in wrong.json()["error"]["message"]
    assert call(server.url + "/control/nothing").status == 404
    assert call(server.url + "/control/log?records=many").status == 400


def test_a_stopped_server_ends_what_hangs(earth):
    with serving(earth) as server:
        call(server.url + "/control/faults", {"next": [{"kind": "hang"}]})
        thread = threading.Thread(target=_swallow, args=(server.url,))
        thread.start()
        while log_of(server)["requests"] == 0:
            time.sleep(0.01)
        started = time.monotonic()
    thread.join(timeout=5)
    assert not thread.is_alive()
    assert time.monotonic() - started < 5


def _swallow(url):
    with contextlib.suppress(OSError):
        call(url + VALUE, constant_value(1), timeout=20)


def test_times_are_compared_in_milliseconds(client):
    """A scene that starts at the first millisecond of a range is in it."""
    start = JULY_MS + 3 * DAY_MS
    collection = client.ImageCollection(L1C)
    assert collection.filterDate(start, start + 1).size().getInfo() == 4
    assert collection.filterDate(start + 1, start + 2).size().getInfo() == 0
    assert collection.filterDate(start - 1, start).size().getInfo() == 0

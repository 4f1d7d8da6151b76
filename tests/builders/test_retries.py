import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders.retries import (
    CAP_S,
    CredentialsRefusedError,
    Failure,
    GarbledAnswerError,
    Verdict,
    back_off_s,
    classify,
    describe_error_body,
)

# One line a row of the table of known failures: (status, message, reason, verdict).
TABLE = [
    (429, "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded.",
     "", Verdict.COOL_DOWN),
    (429, "Quota exceeded for quota metric 'Number of read requests' and limit 'Number of read requests per "
     "minute per user' of service 'earthengine.googleapis.com'", "", Verdict.COOL_DOWN),
    (429, "Your usage exceeded the custom quota for 'earthengine.googleapis.com/daily_eecu_usage_time'",
     "", Verdict.QUOTA_SPENT),
    (500, "Internal error", "", Verdict.BACK_OFF),
    (502, "<html>Bad gateway</html>", "", Verdict.BACK_OFF),
    (503, "The service is currently unavailable.", "", Verdict.BACK_OFF),
    (504, "Deadline exceeded", "", Verdict.BACK_OFF),
    (408, "Request timeout", "", Verdict.BACK_OFF),
    (400, "Total request size (60000000 bytes) must be less than or equal to 50331648 bytes.", "", Verdict.SPLIT),
    (400, "User memory limit exceeded.", "", Verdict.SPLIT),
    (400, "Computation timed out.", "", Verdict.SPLIT),
    (400, "Pixel grid dimensions (40000x264) must be less than or equal to 32768.", "", Verdict.QUARANTINE),
    (400, "Exported bands must have compatible data types; found inconsistent types: Byte and Float32.",
     "", Verdict.QUARANTINE),
    (400, "Image.load: Image asset 'COPERNICUS/S2_HARMONIZED/X' not found (does not exist or caller does not have "
     "access).", "", Verdict.NEXT_CANDIDATE),
    (404, "Asset 'X' not found (does not exist or caller does not have access).", "", Verdict.NEXT_CANDIDATE),
    (400, "Image.select: Band pattern 'VH' was applied to an Image with no matching bands.",
     "", Verdict.NEXT_CANDIDATE),
    (401, "Request had invalid authentication credentials.", "", Verdict.AUTHENTICATION),
    (403, "Caller does not have required permission to use project x.", "", Verdict.AUTHENTICATION),
    (403, "Earth Engine API has not been used in project 1 before or it is disabled.", "SERVICE_DISABLED",
     Verdict.AUTHENTICATION),
    (403, "Rate Limit Exceeded", "rateLimitExceeded", Verdict.COOL_DOWN),
    (403, "User Rate Limit Exceeded", "userRateLimitExceeded", Verdict.COOL_DOWN),
    (404, "Not Found", "", Verdict.QUARANTINE),
    (409, "Conflict", "", Verdict.QUARANTINE),
    (400, "Image.select: Parameter 'input' is required.", "", Verdict.QUARANTINE),
]  # fmt: skip


@pytest.mark.parametrize(("status", "message", "reason", "verdict"), TABLE)
def test_every_row_of_the_table_has_its_verdict(status: int, message: str, reason: str, verdict: Verdict):
    assert classify(Failure(status, message, reason=reason)) is verdict


@pytest.mark.parametrize(
    "error",
    [TimeoutError("slow"), ConnectionError("refused"), ConnectionResetError(), GarbledAnswerError("no NPY")],
)
def test_broken_connections_and_garbled_answers_are_asked_again(error: Exception):
    status = 200 if isinstance(error, GarbledAnswerError) else None
    assert classify(Failure(status, str(error), error=error)) is Verdict.BACK_OFF


def test_a_login_that_fails_stops_the_run():
    assert classify(Failure(None, "expired", error=CredentialsRefusedError())) is Verdict.AUTHENTICATION


@given(st.integers(400, 499).filter(lambda status: status not in {401, 403, 408, 429}), st.text(max_size=60))
def test_an_unknown_client_error_is_never_retried(status: int, message: str):
    assert not classify(Failure(status, message)).is_transient


def test_only_back_off_and_cool_down_are_transient():
    assert {verdict for verdict in Verdict if verdict.is_transient} == {Verdict.BACK_OFF, Verdict.COOL_DOWN}


@given(st.integers(1, 2000), st.integers(0, 2**32))
def test_waits_are_jittered_below_a_growing_limit_of_a_minute(attempt: int, seed: int):
    wait = back_off_s(attempt, rng=random.Random(seed))
    assert 0 <= wait <= min(CAP_S, 2.0 ** min(attempt - 1, 10))


def test_waits_use_the_whole_range():
    rng = random.Random(0)
    waits = [back_off_s(20, rng=rng) for _ in range(500)]
    assert min(waits) < 3
    assert max(waits) > 57


def test_googles_error_form_is_read():
    body = {
        "error": {
            "code": 403,
            "status": "PERMISSION_DENIED",
            "message": "Rate\nLimit   Exceeded",
            "errors": [{"domain": "usageLimits", "reason": "rateLimitExceeded"}],
        }
    }
    assert describe_error_body(json.dumps(body).encode()) == ("Rate Limit Exceeded", "rateLimitExceeded")
    details = {"error": {"message": "off", "details": [{"@type": "x"}, {"reason": "SERVICE_DISABLED"}]}}
    assert describe_error_body(json.dumps(details).encode()) == ("off", "SERVICE_DISABLED")


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"[]", b'{"error": "no"}', b"\xff\xfe", b"null"])
def test_bodies_of_any_other_form_are_quoted_in_one_short_line(body: bytes):
    message, reason = describe_error_body(body)
    assert message
    assert "\n" not in message
    assert reason == ""


@given(st.binary(max_size=3000))
def test_no_error_body_makes_the_reader_fail(body: bytes):
    message, _ = describe_error_body(body)
    assert len(message) <= 500

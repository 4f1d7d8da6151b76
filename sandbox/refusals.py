"""Answers that are no: the error bodies of Earth Engine, with the texts its clients know.

Texts marked [D] are documented by Google, [C] were seen in public issues; `...` in the wild varies.
A bug of the sandbox is a refusal too: a 5xx would make the client repeat the call for half a minute.
"""

import json

from noldo.errors import NoldoError

STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""`google.rpc.Code` names by HTTP status (Google API design guide, errors)."""

TOO_MANY_REQUESTS = (
    "Too Many Requests: Request was rejected because the request rate or concurrency limit was exceeded."
)
"""[C] The transient 429."""

DAILY_QUOTA_SPENT = (
    "Your usage exceeded the custom quota for 'earthengine.googleapis.com/daily_eecu_usage_time', which was "
    "set by the administrators of your Cloud project. The quota is renewed every day; try again tomorrow."
)
"""[C] up to the comma: the 429 that no retry cures."""

BAD_CREDENTIALS = (
    "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other "
    "valid authentication credential."
)
"""[D] The 401 of every Google API."""

NO_PERMISSION = "Caller does not have required permission to use project {project}."
"""[C] The 403 of a project without rights."""

SERVER_ERRORS = {
    500: "An internal error has occurred.",
    502: "Bad gateway.",
    503: "The service is currently unavailable.",
    504: "The deadline passed before the answer was ready.",
}


class Refusal(NoldoError):  # noqa: N818  # the service refuses; nothing went wrong here
    """The request is answered with an error status."""

    def __init__(self, message: str, *, status: int = 400, named: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.named = named
        """The message already begins with the function that failed."""

    def body(self) -> bytes:
        """The JSON error body of Google's APIs."""
        return error_body(self.status, self.message)


def error_body(status: int, message: str) -> bytes:
    """`{"error": {"code", "message", "status"}}` as bytes."""
    name = STATUS_NAMES.get(status, "UNKNOWN")
    return json.dumps({"error": {"code": status, "message": message, "status": name}}).encode()

import pytest

from builders.exit_codes import exit_code
from noldo.errors import (
    AuthenticationError,
    BuildInUseError,
    ConfigError,
    InputError,
    NoldoError,
    QuotaSpentError,
    SourceUnavailableError,
)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (NoldoError, 1),
        (SourceUnavailableError, 1),
        (ConfigError, 2),
        (InputError, 2),
        (BuildInUseError, 73),
        (QuotaSpentError, 75),
        (AuthenticationError, 77),
    ],
)
def test_scripts_can_tell_the_kinds_of_failure_apart(kind: type[NoldoError], code: int):
    assert exit_code(kind("x")) == code

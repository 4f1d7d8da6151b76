"""Exit codes of `python -m builders`: scripts and cluster profiles tell the kinds of failure apart by them.

Three are those of the BSD header sysexits.h, so that 'try again later' and 'not allowed' mean here what
they mean elsewhere. None may be retried by a workflow engine: what is worth retrying was retried inside.
"""

from noldo.errors import (
    AuthenticationError,
    BuildInUseError,
    ConfigError,
    InputError,
    NoldoError,
    QuotaSpentError,
)

OK = 0
FAILED = 1
"""Anything without a code of its own; the message says what."""

CONFIG = 2
"""The command line, the config or a table given by the user is wrong; nothing has run."""

BUILD_IN_USE = 73
"""EX_CANTCREAT: another process owns the folder that this one would write to."""

QUOTA_SPENT = 75
"""EX_TEMPFAIL: the provider's daily quota is spent; the same command goes on when it is renewed."""

AUTHENTICATION = 77
"""EX_NOPERM: no or wrong credentials, or a project without rights."""

_CODES: tuple[tuple[type[NoldoError], int], ...] = (
    (ConfigError, CONFIG),
    (InputError, CONFIG),
    (BuildInUseError, BUILD_IN_USE),
    (QuotaSpentError, QUOTA_SPENT),
    (AuthenticationError, AUTHENTICATION),
)


def exit_code(error: NoldoError) -> int:
    """Exit code of a process that ends with this error."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return FAILED

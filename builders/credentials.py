"""Who asks: credentials of the imagery provider, from what the config names. Secrets stay inside the objects.

No message or log line repeats what a key or token file holds, also not through the errors of the libraries
that read it.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from builders.config_sections import Source
from noldo.errors import AuthenticationError, ConfigError

SCOPES = (
    "https://www.googleapis.com/auth/earthengine",
    "https://www.googleapis.com/auth/cloud-platform",
)
"""OAuth scopes of reading from Earth Engine (Earth Engine REST reference, computePixels)."""

LOOPBACK_PROJECT = "sandbox"
"""Sent where the config names no project: the client insists on one, a server on loopback takes any."""


def project_of(source: Source) -> str:
    """The Google Cloud project that is billed for requests.

    Raises
    ------
    ConfigError
        If the source needs one and has none.
    """
    if source.project:
        return source.project
    if source.is_loopback:
        return LOOPBACK_PROJECT
    raise ConfigError(
        "source.project is empty: name the Google Cloud project that is registered for Earth Engine "
        "(https://code.earthengine.google.com/register)"
    )


def credentials_of(source: Source, *, stored_by_client: Callable[[], Any]) -> Any:
    """Credentials of a source, as google-auth objects; nothing is sent yet.

    Parameters
    ----------
    stored_by_client
        Loads what `earthengine authenticate` stored (`ee.data.get_persistent_credentials`).

    Returns
    -------
    A `google.auth.credentials.Credentials`; typed Any because google-auth publishes no types.

    Raises
    ------
    AuthenticationError
        If there are none; says what to run.
    ConfigError
        If anonymous access is wanted of anything but a server on this machine.
    """
    # The sandbox takes everybody; `user` is only the default of the config.
    if source.is_sandbox or source.credentials == "anonymous":
        return _anonymous(source)
    if source.credentials == "service_account":
        return _service_account(source.service_account_key)
    if source.credentials == "application_default":
        return _application_default()
    return stored_by_client()


def login_advice(source: Source) -> str:
    """What to do when the provider refuses these credentials."""
    again = "then start the build again"
    rights = (
        f"check that project {project_of(source)!r} is registered for Earth Engine and that you may use it"
    )
    if source.credentials == "service_account":
        return (
            f"check that the service account of {source.service_account_key} is registered, {rights}, {again}"
        )
    if source.credentials == "application_default":
        return f"run `gcloud auth application-default login`, {rights}, {again}"
    return f"run `earthengine authenticate`, {rights}, {again}"


def _anonymous(source: Source) -> Any:
    from google.auth.credentials import AnonymousCredentials

    if not source.is_loopback:
        raise ConfigError(
            f"source.credentials is `anonymous`, which works on loopback only, not with {source.url}; "
            "choose `user`, `application_default` or `service_account`"
        )
    return AnonymousCredentials()


def _application_default() -> Any:
    import google.auth
    from google.auth.exceptions import DefaultCredentialsError

    try:
        with warnings.catch_warnings():
            # It warns that user credentials have no quota project; ours is in the config.
            warnings.simplefilter("ignore")
            credentials, _ = google.auth.default(scopes=list(SCOPES))
    except DefaultCredentialsError:
        raise AuthenticationError(
            "no application default credentials were found; run `gcloud auth application-default login`, "
            "or set GOOGLE_APPLICATION_CREDENTIALS to a key file"
        ) from None
    return credentials


def _service_account(key: Path | None) -> Any:
    from google.auth.exceptions import GoogleAuthError
    from google.oauth2.service_account import Credentials

    if key is None:
        raise ConfigError("source.credentials is `service_account`: name its key file in service_account_key")
    try:
        return Credentials.from_service_account_file(str(key), scopes=list(SCOPES))
    except OSError as error:
        raise AuthenticationError(
            f"{key}: the service account's key can't be read ({error.strerror}); "
            "set source.service_account_key to the JSON file that Google Cloud gave you"
        ) from None
    # `from None`: the library's messages quote parts of the file.
    except (GoogleAuthError, ValueError, KeyError, TypeError, AttributeError):
        raise AuthenticationError(
            f"{key}: not a service account's key; create a JSON key for the account in Google Cloud "
            "(IAM, Service accounts, Keys) and name that file"
        ) from None

import json
from pathlib import Path

import pytest

from builders.config_sections import Source
from builders.credentials import LOOPBACK_PROJECT, credentials_of, login_advice, project_of
from noldo.errors import AuthenticationError, ConfigError

REAL = "https://earthengine-highvolume.googleapis.com"


def nobody() -> None:
    pytest.fail("asked for stored credentials")


def test_the_sandbox_takes_everybody():
    credentials = credentials_of(Source(), stored_by_client=nobody)
    assert credentials.token is None
    assert project_of(Source()) == LOOPBACK_PROJECT


def test_anonymous_access_is_for_loopback_only():
    here = Source(url="http://127.0.0.1:9", credentials="anonymous")
    assert credentials_of(here, stored_by_client=nobody).token is None
    elsewhere = Source.model_construct(**{**dict(here), "url": REAL})
    with pytest.raises(ConfigError, match="loopback only"):
        credentials_of(elsewhere, stored_by_client=nobody)


def test_a_user_is_who_the_client_has_stored():
    stored = object()
    assert credentials_of(Source(url=REAL, project="p"), stored_by_client=lambda: stored) is stored


def test_a_source_without_a_project_is_a_config_error():
    source = Source.model_construct(**{**dict(Source(url=REAL, project="p")), "project": ""})
    with pytest.raises(ConfigError, match=r"source\.project is empty"):
        project_of(source)


def test_missing_application_default_credentials_name_the_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    source = Source(url=REAL, project="p", credentials="application_default")
    with pytest.raises(AuthenticationError, match="gcloud auth application-default login"):
        credentials_of(source, stored_by_client=nobody)


def service_account(key: Path) -> Source:
    return Source(url=REAL, project="p", credentials="service_account", service_account_key=key)


def test_a_missing_key_file_is_named(tmp_path: Path):
    with pytest.raises(AuthenticationError, match=r"key\.json.*No such file"):
        credentials_of(service_account(tmp_path / "key.json"), stored_by_client=nobody)


@pytest.mark.parametrize(
    "text",
    [
        "hush-hush",
        '{"private_key": "hush-hush"}',
        json.dumps(
            {
                "type": "service_account",
                "client_email": "hush-hush@example.com",
                "token_uri": "https://example.com",
                "private_key": "-----BEGIN PRIVATE KEY-----\nhush-hush\n-----END PRIVATE KEY-----\n",
            }
        ),
        '["hush-hush"]',
    ],
)
def test_what_a_key_file_holds_is_never_repeated(tmp_path: Path, text: str):
    key = tmp_path / "key.json"
    key.write_text(text)
    with pytest.raises(AuthenticationError, match=r"key\.json: not a service account's key") as caught:
        credentials_of(service_account(key), stored_by_client=nobody)
    assert "hush" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_a_service_accounts_key_is_read(tmp_path: Path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    key = tmp_path / "key.json"
    tree = {"client_email": "a@b.iam", "token_uri": "https://example.com", "private_key": private.decode()}
    key.write_text(json.dumps(tree))
    credentials = credentials_of(service_account(key), stored_by_client=nobody)
    assert credentials.service_account_email == "a@b.iam"
    assert "https://www.googleapis.com/auth/earthengine" in credentials.scopes


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        ("user", "earthengine authenticate"),
        ("application_default", "gcloud auth application-default login"),
        ("service_account", "the service account of"),
    ],
)
def test_the_advice_names_command_and_project(credentials: str, words: str, tmp_path: Path):
    source = Source(
        url=REAL, project="my-project", credentials=credentials, service_account_key=tmp_path / "k"
    )
    assert words in login_advice(source)
    assert "'my-project'" in login_advice(source)

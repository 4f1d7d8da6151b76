"""Which Overpass server is asked, and how: what users choose, and the settings of osmnx that follow."""

import datetime as dt
from dataclasses import dataclass
from importlib import metadata
from typing import Any
from urllib.parse import urlsplit

from builders.loopback import is_loopback
from noldo.errors import ConfigError

PUBLIC_URL = "https://overpass-api.de/api"
"""The server that osmnx asks by default; its rules are https://dev.overpass-api.de/overpass-doc/en/preface/commons.html."""


@dataclass(frozen=True)
class OverpassServer:
    """Which server is asked, and how.

    Raises
    ------
    ConfigError
        If the URL is none, or the date has no time zone.
    """

    url: str = PUBLIC_URL
    """Base URL, without `/interpreter`."""
    origin: str = ""
    """Names the data behind the URL where the URL does not: a sandbox has another port each time. Empty: the URL."""
    date: dt.datetime | None = None
    """Ask for the state of this moment; None: the present one. Public servers keep the past since September 2012."""
    timeout_s: int = 180
    """The server gives up a query after this time, and we a connection that is silent for so long."""
    deadline_s: float = 300.0
    """Longest time from a request to the last byte of its answer; one silence of `timeout_s` may be added."""
    memory_bytes: int | None = None
    """What a query may take of the server's memory; None: its default."""
    patience_s: float = 1800.0
    """How long transient faults of one request are met with another attempt, counted from the first fault."""
    rate_limit: bool = True
    """Ask for a free slot before each query, as the public servers' rules want it; some servers of one's own have none."""

    def __post_init__(self) -> None:
        if urlsplit(self.url).scheme not in {"http", "https"} or not urlsplit(self.url).hostname:
            raise ConfigError(f"Overpass URL {self.url!r}: expected one like {PUBLIC_URL}")
        if self.date is not None and self.date.tzinfo is None:
            raise ConfigError(
                f"Overpass date {self.date.isoformat()}: expected one with a time zone, e.g. UTC"
            )

    @property
    def data(self) -> str:
        """What is behind the URL."""
        return self.origin or self.url.rstrip("/")

    @property
    def is_loopback(self) -> bool:
        """It runs on this machine."""
        return is_loopback(self.url)

    def settings(self) -> dict[str, Any]:
        """Settings of osmnx by name, all that matter here."""
        date = "" if self.date is None else f'[date:"{self.date.astimezone(dt.UTC):%Y-%m-%dT%H:%M:%SZ}"]'
        us = f"noldo-s12/{metadata.version('noldo-s12')} (land-cover labels for NoLDO-S12; osmnx)"
        return {
            "overpass_url": self.url,
            "overpass_settings": "[out:json][timeout:{timeout}]{maxsize}" + date,
            "overpass_memory": self.memory_bytes,
            "overpass_rate_limit": False,  # asked before each query, see `builders.overpass_exchange`
            "requests_timeout": self.timeout_s,
            "use_cache": False,  # the spool keeps answers
            "cache_only_mode": False,
            "http_user_agent": us,
            "http_referer": us,
            "doh_url_template": None,  # no other server is asked for the address of this one
        }

"""Instants and ranges of time, in milliseconds UTC; time zones other than UTC are not modelled."""

import datetime as dt
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from sandbox.refusals import Refusal

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
MILLISECOND = dt.timedelta(milliseconds=1)
UNIT_MS: Mapping[str, float] = MappingProxyType(
    {
        "second": 1000.0,
        "minute": 60_000.0,
        "hour": 3_600_000.0,
        "day": 86_400_000.0,
        "week": 604_800_000.0,
        "month": 365.25 / 12 * 86_400_000.0,
        "year": 365.25 * 86_400_000.0,
    }
)
"""Length of the units of `Date.difference`; months and years are means, as Earth Engine documents."""


@dataclass(frozen=True)
class Date:
    """An instant."""

    ms: int

    @property
    def utc(self) -> dt.datetime:
        """The same instant as a datetime.

        Raises
        ------
        Refusal
            If it is outside the years 1 to 9999.
        """
        try:
            return EPOCH + self.ms * MILLISECOND
        except OverflowError:
            raise Refusal(f"Date out of range: {self.ms} ms.") from None


@dataclass(frozen=True)
class DateRange:
    """Instants from `start_ms` to before `end_ms`."""

    start_ms: float
    end_ms: float


def date_of(moment: dt.datetime) -> Date:
    """Date of a datetime, to the millisecond."""
    return Date((moment - EPOCH) // MILLISECOND)


def parse_date(text: str) -> Date:
    """Read an ISO 8601 date or instant; without a zone it is UTC.

    Raises
    ------
    Refusal
        If it is none.
    """
    padded = {4: "-01-01", 7: "-01"}.get(len(text), "")
    try:
        moment = dt.datetime.fromisoformat(text + padded)
    except ValueError:
        raise Refusal(f"Date: Bad date/time '{text}'.", named=True) from None
    return date_of(moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC))


def unit_name(unit: str) -> str:
    """Singular name of a unit.

    Raises
    ------
    Refusal
        If it is no unit of time.
    """
    name = unit.lower().removesuffix("s")
    if name not in UNIT_MS:
        raise Refusal(f"Unknown time unit '{unit}'.")
    return name


def advance(date: Date, *, delta: float, unit: str) -> Date:
    """A date some units later (earlier, if negative); whole months and years keep the day where it exists."""
    name = unit_name(unit)
    if name not in {"month", "year"}:
        return Date(date.ms + round(delta * UNIT_MS[name]))
    months = delta * (12 if name == "year" else 1)
    whole = math.floor(months)
    moment = date.utc
    year, month = divmod(moment.year * 12 + moment.month - 1 + whole, 12)
    last_day = ((dt.date(year + month // 11, (month + 1) % 12 + 1, 1)) - dt.timedelta(days=1)).day
    moved = moment.replace(year=year, month=month + 1, day=min(moment.day, last_day))
    return Date(date_of(moved).ms + round((months - whole) * UNIT_MS["month"]))


_TOKENS: Mapping[str, Callable[[dt.datetime], str]] = MappingProxyType(
    {
        "YYYY": lambda t: f"{t.year:04d}",
        "yyyy": lambda t: f"{t.year:04d}",
        "MMM": lambda t: t.strftime("%b"),
        "MM": lambda t: f"{t.month:02d}",
        "DDD": lambda t: f"{t.timetuple().tm_yday:03d}",
        "dd": lambda t: f"{t.day:02d}",
        "HH": lambda t: f"{t.hour:02d}",
        "mm": lambda t: f"{t.minute:02d}",
        "ss": lambda t: f"{t.second:02d}",
        "SSS": lambda t: f"{t.microsecond // 1000:03d}",
    }
)


def format_date(date: Date, pattern: str | None) -> str:
    """Write a date by a Joda-Time pattern (years to milliseconds; 'quoted' text as it is)."""
    moment = date.utc
    if pattern is None:
        pattern = "YYYY-MM-dd'T'HH:mm:ss"
    parts = re.findall(r"'[^']*'|[A-Za-z]+|[^A-Za-z']+", pattern)
    return "".join(_written(part, moment) for part in parts)


def _written(part: str, moment: dt.datetime) -> str:
    if part.startswith("'") or not part.isalpha():
        return part.strip("'")
    pieces = re.findall(r"((.)\2*)", part)
    for piece, _ in pieces:
        if piece not in _TOKENS:
            raise Refusal(
                f"Date.format: the sandbox does not know the pattern letters '{piece}'.", named=True
            )
    return "".join(_TOKENS[piece](moment) for piece, _ in pieces)


def get_field(date: Date, unit: str) -> int:
    """A field of the calendar: year, month 1-12, week, day of month, hour, minute, second."""
    name = unit_name(unit)
    moment = date.utc
    return moment.isocalendar().week if name == "week" else int(getattr(moment, name))

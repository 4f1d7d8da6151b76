"""Calendar arithmetic, checked against the standard library."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.dates import Date, advance, date_of, format_date, get_field, parse_date
from sandbox.refusals import Refusal

moments = st.datetimes(dt.datetime(1980, 1, 1), dt.datetime(2090, 1, 1), timezones=st.just(dt.UTC))


@given(moments, st.integers(-400, 400))
def test_months_later_keep_the_day_or_end_with_the_month(moment, months):
    moved = advance(date_of(moment), delta=months, unit="months").utc
    assert (moved.year * 12 + moved.month) - (moment.year * 12 + moment.month) == months
    assert moved.day == moment.day or (moved + dt.timedelta(days=1)).day == 1
    assert moved.day <= moment.day
    assert moved.time() == date_of(moment).utc.time()


@given(moments, st.integers(-10_000, 10_000))
def test_days_later_are_a_time_difference(moment, days):
    start = date_of(moment)
    assert advance(start, delta=days, unit="day").utc == start.utc + dt.timedelta(days=days)


@given(moments)
def test_what_is_written_as_iso_is_read_again(moment):
    start = date_of(moment)
    assert parse_date(format_date(start, "YYYY-MM-dd'T'HH:mm:ss.SSS")) == start


@pytest.mark.parametrize(
    ("text", "ms"),
    [
        ("1970", 0),
        ("1970-01", 0),
        ("1970-01-02", 86_400_000),
        ("1970-01-01T00:00:01Z", 1000),
        ("1970-01-01T01:00:00+01:00", 0),
    ],
)
def test_dates_are_read_in_utc(text, ms):
    assert parse_date(text) == Date(ms)


@pytest.mark.parametrize("text", ["", "yesterday", "2022-13-01", "2022-02-30"])
def test_impossible_dates_are_refused(text):
    with pytest.raises(Refusal, match="Bad date/time"):
        parse_date(text)


def test_fields_of_the_calendar():
    date = parse_date("2022-07-04T10:30:41Z")
    fields = {unit: get_field(date, unit) for unit in ("year", "month", "day", "week", "hours", "second")}
    assert fields == {"year": 2022, "month": 7, "day": 4, "week": 27, "hours": 10, "second": 41}
    with pytest.raises(Refusal, match="Unknown time unit 'fortnight'"):
        get_field(date, "fortnight")
    assert format_date(date, "yyyyDDD MMM") == "2022185 Jul"
    with pytest.raises(Refusal, match="pattern letters 'QQ'"):
        format_date(date, "QQ")

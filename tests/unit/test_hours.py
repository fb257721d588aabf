"""The hours a volunteer allows: what is understood, what is refused, and when they change."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.limits.hours import DAYS, Hours, HoursError, parse_hours

UTC = timezone.utc
BERLIN = ZoneInfo("Europe/Berlin")
ZONES = [
    ZoneInfo(name)
    for name in (
        "Europe/Berlin",
        "America/New_York",
        "America/Santiago",  # clocks are set at midnight
        "Australia/Lord_Howe",  # by half an hour
        "Antarctica/Troll",  # by two hours
        "Asia/Kathmandu",  # 5:45 ahead
        "Pacific/Apia",  # left a whole day out, at the end of 2011
    )
]


def on(day: str, clock: str) -> datetime:
    """A time in a week without a change of clocks; 2 November 2026 is a Monday."""
    hour, minute = map(int, clock.split(":"))
    number = [it[:3] for it in DAYS].index(day)
    return datetime(2026, 11, 2 + number, hour, minute, tzinfo=BERLIN)


EVENINGS = "mon-fri 19:00-08:00, sat-sun"


@pytest.mark.parametrize(
    ("day", "clock", "allowed"),
    [
        ("mon", "00:00", False),  # Sunday ends at midnight, and Monday's span begins at 19:00
        ("mon", "07:59", False),
        ("mon", "18:59", False),
        ("mon", "19:00", True),
        ("tue", "00:00", True),
        ("tue", "07:59", True),
        ("tue", "08:00", False),
        ("sat", "07:59", True),
        ("sat", "12:00", True),
        ("sun", "23:59", True),
    ],
)
def test_evenings_and_weekends(day: str, clock: str, allowed: bool) -> None:
    assert parse_hours(EVENINGS).allows(on(day, clock)) is allowed


def test_a_sunday_that_goes_on_past_midnight_is_mondays_morning() -> None:
    hours = parse_hours("sun 22:00-06:00")
    assert hours.allows(on("mon", "05:59"))
    assert not hours.allows(on("mon", "06:00"))
    assert hours.allows(on("sun", "22:00"))


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (EVENINGS, EVENINGS),
        ("  Mon-Fri   9:00 - 12:00 13:00-17:30 ", "mon-fri 09:00-12:00 13:00-17:30"),
        ("22:00-06:00", "daily 22:00-06:00"),
        ("daily", "daily"),
        ("Saturday, sunday 10:00-24:00 ", None),
        ("sat sun", "sat-sun"),
        ("wednesday mon 20:00-21:00", "mon wed 20:00-21:00"),
        ("fri-mon", "mon fri-sun"),
        ("mon-sun", "daily"),
        ("mon 20:00-21:00, tue 20:00-21:00, sat", "mon 20:00-21:00, tue 20:00-21:00, sat"),
        ("22:00-06:00, sun", "daily 22:00-06:00, sun"),
        ("mon 22:00-06:00, daily 12:00-13:00", "mon 22:00-06:00, daily 12:00-13:00"),
    ],
)
def test_what_people_write_is_told_back_in_one_way(written: str, meant: str | None) -> None:
    if meant is None:
        with pytest.raises(HoursError, match="whole day"):
            parse_hours(written)
        return
    hours = parse_hours(written)
    assert hours.describe() == meant
    assert parse_hours(meant) == hours


@pytest.mark.parametrize(
    ("written", "told"),
    [
        ("", "column 1: expected a day .* found nothing"),
        ("mon-fri 19:00", "column 14: expected -, as in 19:00-08:00, found nothing"),
        ("mon-fri 19-8", "column 9: '1' is neither a day nor a time"),
        ("mon-fri 19:00-25:00", "column 15: 25:00 is no time of day"),
        ("mon 24:00-08:00", "column 5: 24:00 is no time of day"),
        ("mon 12:60-13:00", "column 5: 12:60"),
        ("mon 08:00-08:00", "column 5: 08:00 to 08:00 is no time at all"),
        ("mo-fr 19:00-08:00", "column 1: expected a day: mon, .* found 'mo'"),
        ("montag", "column 1: expected a day: mon, .* found 'montag'"),
        ("mon-fri 19:00-08:00,", "column 21: expected a day .* found nothing"),
        ("19:00-08:00 mon", "column 13: expected a comma between parts, with days before times"),
        ("mon;tue", "column 4: ';' is neither"),
        ("mon, wed, fri 19:00-23:00", "column 6: is 'wed' a whole day"),
        ("mon-fri 09:00-12:00, 13:00-17:00", "column 22: on which days"),
        ("mon-", "column 5: expected a day"),
        ("mon 19:00 20:00", "column 11: expected -"),
        ("mon " * 200, "longer than 500 characters"),
    ],
)
def test_what_cannot_be_understood_is_refused_at_its_column(written: str, told: str) -> None:
    with pytest.raises(HoursError, match=told):
        parse_hours(written)


def test_the_next_change_is_the_next_boundary() -> None:
    hours = parse_hours(EVENINGS)
    assert hours.next_change(on("mon", "12:00")) == on("mon", "19:00")
    assert hours.next_change(on("mon", "19:00")) == on("tue", "08:00")
    assert hours.next_change(on("fri", "20:00")) == on("sun", "00:00") + timedelta(days=1)
    assert hours.next_change(on("sun", "23:59")) == on("sun", "00:00") + timedelta(days=1)


def test_where_all_is_allowed_nothing_changes() -> None:
    assert parse_hours("daily").next_change(on("mon", "12:00")) is None


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="zone"):
        parse_hours(EVENINGS).next_change(datetime(2026, 11, 2, 12, 0))


def test_hours_that_the_clock_jumps_over_do_not_come() -> None:
    """In Berlin, on 29 March 2026, 02:00 is 03:00."""
    noon_before = datetime(2026, 3, 28, 12, 0, tzinfo=BERLIN)
    skipped = parse_hours("daily 02:00-03:00").next_change(noon_before)
    assert skipped == datetime(2026, 3, 30, 2, 0, tzinfo=BERLIN)
    begun = parse_hours("daily 02:30-05:00").next_change(noon_before)
    assert begun == datetime(2026, 3, 29, 3, 0, tzinfo=BERLIN)


def test_hours_that_the_clock_shows_twice_come_twice() -> None:
    """In Berlin, on 25 October 2026, 03:00 is 02:00 again."""
    hours = parse_hours("daily 02:00-02:30")
    changes = []
    at: datetime | None = datetime(2026, 10, 24, 12, 0, tzinfo=BERLIN)
    for _ in range(4):
        assert at is not None
        at = hours.next_change(at)
        changes.append(at.astimezone(UTC) if at else None)
    first = datetime(2026, 10, 25, 0, 0, tzinfo=UTC)
    assert changes == [first + timedelta(minutes=it) for it in (0, 30, 60, 90)]


# ---- properties ------------------------------------------------------------------------

times = st.builds(lambda h, m: f"{h:02}:{m:02}", st.integers(0, 23), st.integers(0, 59))
spans = st.tuples(times, times).filter(lambda it: it[0] != it[1]).map("-".join)
days = st.sampled_from([it[:3] for it in DAYS])
parts = st.builds(
    lambda day, last, span: f"{day}-{last} {' '.join(span)}",
    days, days, st.lists(spans, min_size=1, max_size=3),
)  # fmt: skip
week = st.lists(parts, min_size=1, max_size=4).map(", ".join).map(parse_hours)
moments = st.builds(
    lambda seconds, zone: datetime.fromtimestamp(seconds, zone),
    # around nights when clocks are set in one zone or another, and Apia's missing day
    st.sampled_from([1774746000, 1792890000, 1775314800, 1325239200, 1788667200]).flatmap(
        lambda it: st.integers(it - 2 * 86400, it + 86400)
    ),
    st.sampled_from(ZONES),
)


@settings(max_examples=30, deadline=None)
@given(week, moments)
def test_the_next_change_is_the_one_that_a_look_at_every_minute_finds(
    hours: Hours, now: datetime
) -> None:
    found = hours.next_change(now)
    at = now.astimezone(UTC).replace(second=0)
    for _ in range(36 * 60):
        at += timedelta(minutes=1)
        wall = at.astimezone(now.tzinfo)
        if hours.allows(wall) != hours.allows(now):
            assert found is not None
            assert found.astimezone(UTC) == at
            assert hours.allows(found) == hours.allows(wall)
            return
    assert found is None or found.astimezone(UTC) > at


@settings(max_examples=100, deadline=None)
@given(week, moments)
def test_what_is_told_back_means_the_same(hours: Hours, now: datetime) -> None:
    again = parse_hours(hours.describe())
    assert again == hours
    assert again.allows(now) == hours.allows(now)


@given(st.text(alphabet="montuewdhfrisa-:,0123456789 ", max_size=40))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        hours = parse_hours(text)
    except HoursError:
        return
    assert hours.allowed

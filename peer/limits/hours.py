"""The hours in which a peer may train: "mon-fri 19:00-08:00, sat-sun". Pure.

Times are those of the wall clock. A span that ends before it begins goes on past midnight and
belongs to the day on which it begins: "fri 19:00-08:00" ends on Saturday morning. On the night when
clocks are set, the wall clock counts too: what it jumps over is not there, what it shows twice
counts twice.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone, tzinfo

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAY_MINUTES = 24 * 60
WEEK_MINUTES = 7 * DAY_MINUTES
MAX_LENGTH = 500
"""Characters; nobody's week is longer to tell."""
_EVERY_DAY = tuple(range(7))
_TOKENS = re.compile(
    r"(?P<word>[A-Za-z]+)|(?P<time>\d{1,2}:\d{2}(?!\d))|(?P<sign>[-,])|(?P<space>\s+)"
)
_LONGEST_STEP = timedelta(hours=6)
"""Clocks are set seldom: in so short a time once at most."""
_HORIZON = timedelta(days=15)
"""Each week is like the next, but for the nights when clocks are set."""


class HoursError(ValueError):
    """The text tells no hours; says at which column and what to write instead."""


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    column: int
    """From 1."""


@dataclass(frozen=True)
class _Rule:
    """One part between commas."""

    days: tuple[int, ...]
    """0 is Monday; in the order of the week."""
    spans: tuple[tuple[int, int], ...]
    """Minutes of the day; none: all day. One that ends before it begins goes on past midnight."""


@dataclass(frozen=True)
class Hours:
    """Allowed hours of each week."""

    text: str
    """In the one way of writing them that `parse_hours` takes and users see."""
    allowed: tuple[tuple[int, int], ...]
    """Minutes of the week from Monday, first and past the last; in order, not touching."""

    def allows(self, local: datetime) -> bool:
        """Whether training is allowed at this time of the wall clock."""
        minute = _minute_of_week(local)
        return any(first <= minute < end for first, end in self.allowed)

    def next_change(self, local: datetime) -> datetime | None:
        """When `allows` next turns, in the zone of `local`, which must have one; None: never."""
        zone = local.tzinfo
        if zone is None:
            raise ValueError("a time without a zone does not tell when clocks are set")
        now, at = self.allows(local), local.astimezone(timezone.utc)
        end = at + _HORIZON
        while at < end:
            at = self._next_corner(at, zone)
            wall = at.astimezone(zone)
            if self.allows(wall) != now:
                return wall
        return None

    def _next_corner(self, at: datetime, zone: tzinfo) -> datetime:
        """The next instant at which the wall clock gets to a boundary, or is set."""
        wall = at.astimezone(zone)
        minute = _minute_of_week(wall)
        begun = timedelta(seconds=wall.second, microseconds=wall.microsecond)
        ahead = [(bound - minute - 1) % WEEK_MINUTES + 1 for span in self.allowed for bound in span]
        step = timedelta(minutes=min(ahead, default=WEEK_MINUTES)) - begun
        later = at + min(step, _LONGEST_STEP)
        if later.astimezone(zone).utcoffset() == wall.utcoffset():
            return later
        return _clocks_set(at, later, zone)

    def describe(self) -> str:
        """For people, and for the settings file."""
        return self.text


def parse_hours(text: str) -> Hours:
    """Hours from a user's words; raises `HoursError`.

    Parts are separated by commas. A part names days ("mon-fri", "tue thu"), times of each of them
    ("19:00-08:00", several with spaces between), or both. Days without times are whole days, times
    without days are those of every day.
    """
    if len(text) > MAX_LENGTH:
        raise HoursError(f"longer than {MAX_LENGTH} characters")
    rules: list[_Rule] = []
    parts = _parts(text)
    for index, part in enumerate(parts):
        rule = _Reader(part).rule()
        more = index + 1 < len(parts)
        _require_clear(part, rule, rules, parts[index + 1] if more else [])
        rules.append(rule)
    words = ", ".join(_words(it) for it in rules)
    return Hours(words, _united([span for rule in rules for span in _of_week(rule)]))


# ---- reading ---------------------------------------------------------------------------


def _parts(text: str) -> list[list[_Token]]:
    """The tokens between the commas; each list ends with where it ends."""
    parts: list[list[_Token]] = [[]]
    at = 0
    while at < len(text):
        found = _TOKENS.match(text, at)
        if found is None:
            raise HoursError(
                f"column {at + 1}: {text[at]!r} is neither a day nor a time such as 19:00"
            )
        token = _Token(str(found.lastgroup), found.group(), at + 1)
        if token.text == ",":
            parts[-1].append(_Token("end", ",", token.column))
            parts.append([])
        elif token.kind != "space":
            parts[-1].append(token)
        at = found.end()
    parts[-1].append(_Token("end", "the end", len(text) + 1))
    return parts


class _Reader:
    """Reads one part, token by token."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._at = 0

    def rule(self) -> _Rule:
        if self._next.kind == "end":
            raise self._expected("a day such as mon, or a time such as 19:00")
        days: set[int] = set()
        while self._next.kind == "word":
            days |= self._days()
        spans: list[tuple[int, int]] = []
        while self._next.kind == "time":
            spans.append(self._span())
        if self._next.kind != "end":
            raise self._expected("a comma between parts, with days before times")
        return _Rule(tuple(sorted(days)) or _EVERY_DAY, tuple(spans))

    def _days(self) -> set[int]:
        if self._next.text.lower() == "daily":
            self._take()
            return set(_EVERY_DAY)
        first = last = self._day()
        if self._next.text == "-":
            self._take()
            last = self._day()
        return {day % 7 for day in range(first, last + 1 if first <= last else last + 8)}

    def _day(self) -> int:
        word = self._next.text.lower()
        if self._next.kind == "word" and len(word) >= 3:
            for number, name in enumerate(DAYS):
                if name.startswith(word):
                    self._take()
                    return number
        raise self._expected("a day: mon, tue, wed, thu, fri, sat or sun")

    def _span(self) -> tuple[int, int]:
        begins = self._next
        first = self._time(latest=DAY_MINUTES - 1)
        if self._next.text != "-":
            raise self._expected(f"-, as in {begins.text}-08:00")
        self._take()
        end = self._time(latest=DAY_MINUTES)
        if first == end:
            raise HoursError(
                f"column {begins.column}: {begins.text} to {begins.text} is no time at all; "
                "for a whole day leave the times away"
            )
        return first, end

    def _time(self, latest: int) -> int:
        token = self._next
        if token.kind != "time":
            raise self._expected("a time such as 19:00")
        hour, minute = map(int, token.text.split(":"))
        if minute > 59 or hour * 60 + minute > latest:
            bounds = "00:00 to 23:59, or 24:00 as an end"
            raise HoursError(f"column {token.column}: {token.text} is no time of day ({bounds})")
        self._take()
        return hour * 60 + minute

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def _take(self) -> None:
        self._at += 1

    def _expected(self, what: str) -> HoursError:
        found = self._next
        end = found.kind == "end"
        return HoursError(
            f"column {found.column}: expected {what}, found "
            f"{'nothing' if end else repr(found.text)}"
        )


def _require_clear(
    part: list[_Token], rule: _Rule, before: list[_Rule], following: list[_Token]
) -> None:
    """Refuse what one person reads so, another otherwise: training at the wrong hour annoys."""
    column = part[0].column
    whole_days = not rule.spans
    if whole_days and any(it.kind == "time" for it in following) and following[0].kind == "word":
        name = part[0].text
        raise HoursError(
            f"column {column}: is {name!r} a whole day, or are the times after the next comma "
            "meant? Put whole days last (mon-fri 19:00-08:00, sat), or a space instead of the "
            "comma (mon wed fri 19:00-23:00)"
        )
    if part[0].kind == "time" and any(it.days != _EVERY_DAY for it in before):
        raise HoursError(
            f"column {column}: on which days? Name them again (mon-fri {part[0].text}-…), or say "
            f"daily {part[0].text}-…"
        )


# ---- minutes of the week ---------------------------------------------------------------


def _minute_of_week(local: datetime) -> int:
    return local.weekday() * DAY_MINUTES + local.hour * 60 + local.minute


def _of_week(rule: _Rule) -> list[tuple[int, int]]:
    """Spans in minutes of the week; those past its end are cut in two."""
    found = []
    for day in rule.days:
        for first, end in rule.spans or ((0, DAY_MINUTES),):
            begins = day * DAY_MINUTES + first
            ends = day * DAY_MINUTES + end + (DAY_MINUTES if end < first else 0)
            found.append((begins, min(ends, WEEK_MINUTES)))
            if ends > WEEK_MINUTES:
                found.append((0, ends - WEEK_MINUTES))
    return found


def _united(spans: list[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    united: list[tuple[int, int]] = []
    for first, end in sorted(spans):
        if united and first <= united[-1][1]:
            united[-1] = (united[-1][0], max(united[-1][1], end))
        else:
            united.append((first, end))
    return tuple(united)


def _clocks_set(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """The second at which clocks are set between two instants; in UTC."""
    offset = before.astimezone(zone).utcoffset()
    low, high = int(before.timestamp()), int(after.timestamp()) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return datetime.fromtimestamp(high, timezone.utc)


# ---- words -----------------------------------------------------------------------------


def _words(rule: _Rule) -> str:
    spans = [f"{_clock(first)}-{_clock(end)}" for first, end in rule.spans]
    return " ".join([_day_words(rule.days), *spans])


def _day_words(days: tuple[int, ...]) -> str:
    if days == _EVERY_DAY:
        return "daily"
    runs: list[list[int]] = []
    for day in days:
        if runs and runs[-1][-1] == day - 1:
            runs[-1].append(day)
        else:
            runs.append([day])
    return " ".join("-".join(DAYS[it][:3] for it in sorted({run[0], run[-1]})) for run in runs)


def _clock(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"

"""When a peer rests by itself, why, and until when; a week passes in the test's own time."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from peer.limits.hours import parse_hours
from peer.limits.settings import Limits
from peer.resting.due import COOLER, LINGER_SECONDS, Sight, rest_due
from peer.resting.rest import Pause, Rest

ZONE = ZoneInfo("Europe/Berlin")
MONDAY = datetime(2026, 11, 2, 12, 0, tzinfo=ZONE)
LOOK = 5.0


@dataclass
class Machine:
    """A machine that is looked at every few seconds; time passes when the test says so."""

    limits: Limits
    sight: Sight = field(default_factory=lambda: Sight(MONDAY, False, 0.0, 40.0))
    pause: Pause | None = None
    rest: Rest | None = None
    told: list[tuple[datetime, str]] = field(default_factory=list)
    """Each time it begins to rest or to train, with why."""

    def sees(self, **what: Any) -> Machine:
        self.sight = replace(self.sight, **what)
        return self.look()

    def look(self) -> Machine:
        rested = self.rest is not None
        self.rest = rest_due(self.limits, self.sight, self.pause, self.rest)
        if rested != (self.rest is not None):
            self.told.append((self.sight.local, self.rest.reason if self.rest else "trains"))
        return self

    def passes(self, seconds: float, look: float = LOOK) -> Machine:
        """Untouched, as is all else."""
        end = self.sight.now + seconds
        while self.sight.now < end:
            on = min(look, end - self.sight.now)
            instant = datetime.fromtimestamp(self.sight.now + on, ZONE)
            idle = self.sight.idle_seconds
            self.sees(local=instant, idle_seconds=None if idle is None else idle + on)
        return self

    @property
    def trains(self) -> bool:
        return self.rest is None

    @property
    def reason(self) -> str:
        assert self.rest is not None, "it trains"
        return self.rest.reason


def machine(**limits: Any) -> Machine:
    return Machine(Limits.model_validate(limits)).look()


def test_without_limits_it_trains() -> None:
    assert machine().passes(3600, look=60).told == []


# ---- hours -----------------------------------------------------------------------------


def test_outside_its_hours_it_rests_until_they_begin_and_says_so() -> None:
    peer = machine(hours="mon-fri 19:00-08:00, sat-sun")
    assert peer.reason == (
        "outside the hours you allow (limits.hours = mon-fri 19:00-08:00, sat-sun); until 19:00"
    )
    assert peer.rest is not None
    assert peer.rest.until == MONDAY.replace(hour=19).timestamp()
    assert not peer.rest.urgent, "a round under way is seen through"
    peer.passes(7 * 3600 - 1)
    assert not peer.trains
    assert peer.passes(1).trains, "at the second"


def test_a_week_of_evenings() -> None:
    peer = machine(hours="mon-fri 19:00-08:00, sat-sun")
    peer.passes(7 * 86400, look=60)
    changes = [f"{at:%a %H:%M} {what.partition(' (')[0]}" for at, what in peer.told]
    rests = "outside the hours you allow"
    assert changes == [
        f"Mon 12:00 {rests}",
        "Mon 19:00 trains", f"Tue 08:00 {rests}",
        "Tue 19:00 trains", f"Wed 08:00 {rests}",
        "Wed 19:00 trains", f"Thu 08:00 {rests}",
        "Thu 19:00 trains", f"Fri 08:00 {rests}",
        "Fri 19:00 trains", f"Mon 00:00 {rests}",
    ]  # fmt: skip


# ---- data ------------------------------------------------------------------------------


def test_with_the_months_data_used_up_it_rests_until_the_next_month() -> None:
    peer = machine(data_per_month="20 GB").sees(month_bytes=20e9)
    assert peer.reason == (
        "the data of this month is used up (limits.data_per_month = 20 GB); until 1 Dec 00:00"
    )
    december = datetime(2026, 12, 1, tzinfo=ZONE)
    assert peer.rest is not None
    assert peer.rest.until == december.timestamp()
    assert peer.sees(month_bytes=0.0, local=december).trains


# ---- battery and programs --------------------------------------------------------------


def test_on_battery_it_rests_at_once_and_a_loose_plug_does_not_make_it_flap() -> None:
    peer = machine().sees(on_battery=True)
    assert peer.reason == "on battery (limits.on_battery = false)"
    assert peer.rest is not None
    assert peer.rest.urgent
    for _ in range(20):
        peer.sees(on_battery=False).passes(20)
        peer.sees(on_battery=True).passes(20)
    peer.sees(on_battery=False)
    assert "on battery a moment ago" in peer.reason
    assert peer.rest is not None
    assert peer.rest.until is not None, "that is known"
    peer.passes(LINGER_SECONDS - LOOK - 1)
    assert not peer.trains
    assert peer.passes(LOOK + 1).trains
    assert [what for _, what in peer.told] == ["on battery (limits.on_battery = false)", "trains"]


def test_who_allows_battery_trains_on_battery() -> None:
    assert machine(on_battery=True).sees(on_battery=True).trains


def test_while_a_listed_program_runs_it_rests_and_a_launcher_may_start_its_game() -> None:
    peer = machine(not_while=["steam", "blender"]).sees(programs=("steam",))
    assert peer.reason == "steam is running (limits.not_while)"
    assert peer.rest is not None
    assert peer.rest.urgent
    peer.sees(programs=()).passes(10)
    assert "ran a moment ago" in peer.reason
    peer.sees(programs=("steam", "blender"))
    assert peer.reason == "steam and 1 more of your list are running (limits.not_while)"
    peer.sees(programs=()).passes(LINGER_SECONDS + LOOK)
    assert [what for _, what in peer.told][1:] == ["trains"]


def test_who_takes_a_program_off_the_list_waits_no_minute() -> None:
    peer = machine(not_while=["steam"]).sees(programs=("steam",))
    peer.limits = Limits()
    assert peer.sees(programs=()).trains


def test_a_clock_that_is_set_back_does_not_hold_it() -> None:
    peer = machine().sees(on_battery=True)
    peer.sees(on_battery=False, local=MONDAY - timedelta(hours=1))
    assert peer.trains


# ---- use -------------------------------------------------------------------------------


def test_while_somebody_uses_the_machine_it_rests_and_each_touch_counts() -> None:
    peer = machine(idle_after="5 min")
    assert peer.reason == (
        "somebody uses this machine; until nobody has for 5 min (limits.idle_after)"
    )
    assert peer.rest is not None
    assert not peer.rest.urgent
    peer.passes(290).sees(idle_seconds=0.0).passes(295)
    assert not peer.trains
    assert peer.passes(5).trains
    peer.sees(idle_seconds=0.0)
    assert not peer.trains


def test_a_short_patience_with_use_still_gives_a_minute() -> None:
    peer = machine(idle_after="5s").passes(20)
    assert "used this machine just now" in peer.reason
    assert peer.passes(LINGER_SECONDS).trains


def test_where_use_cannot_be_seen_it_never_trains_and_says_what_to_do() -> None:
    peer = machine(idle_after="5 min").sees(idle_seconds=None)
    assert peer.reason == (
        "it cannot be seen here whether somebody uses this machine (limits.idle_after); "
        "`peer config unset limits.idle_after` lets it train all the same"
    )
    peer.limits = Limits()
    assert peer.look().trains


# ---- temperature -----------------------------------------------------------------------


def test_too_hot_it_rests_only_when_slowing_down_was_in_vain_and_until_it_is_cooler() -> None:
    peer = machine(max_temperature=80.0).sees(temperature=84.0)
    assert peer.trains, "it is being slowed down"
    peer.sees(slowed_in_vain=True)
    assert peer.reason == (
        "too hot: 84 °C, though it was slowed down (limits.max_temperature = 80); "
        "until it is at most 75 °C"
    )
    peer.sees(slowed_in_vain=False, temperature=80.0 - COOLER + 0.5).passes(600)
    assert peer.reason.startswith("cooling down: 76 °C (limits.max_temperature = 80)")
    peer.sees(temperature=80.0 - COOLER)
    assert not peer.trains, "for a minute, sensors being noisy"
    peer.sees(temperature=80.0 - COOLER + 1).passes(30).sees(temperature=70.0)
    assert peer.passes(LINGER_SECONDS).trains


def test_where_no_temperature_can_be_read_the_limit_holds() -> None:
    peer = machine(max_temperature=80.0).sees(temperature=None)
    assert "no temperature can be read here (limits.max_temperature)" in peer.reason


# ---- several at once -------------------------------------------------------------------


def test_the_longest_is_told_first_and_all_are_listed() -> None:
    peer = machine(
        hours="mon-fri 19:00-08:00", not_while=["steam"], data_per_month="1 GB", idle_after="5 min"
    ).sees(programs=("steam",), month_bytes=2e9)
    assert peer.rest is not None
    assert [it.name for it in peer.rest.causes] == [
        "data_per_month", "hours", "not_while", "idle_after"
    ]  # fmt: skip
    assert [it.partition(" (")[0] for it in peer.rest.reasons] == [
        "the data of this month is used up",
        "outside the hours you allow",
        "steam is running",
        "somebody uses this machine; until nobody has for 5 min",
    ]
    assert peer.reason.endswith("until 1 Dec 00:00 (and 3 more reasons)")
    assert peer.rest.until is None, "who knows when steam ends"
    assert peer.rest.urgent, "somebody plays"


def test_the_end_is_that_of_the_last_reason() -> None:
    peer = machine(hours="mon-fri 19:00-08:00")
    peer.pause = Pause(MONDAY.timestamp() + 3600)
    peer.look()
    assert peer.rest is not None
    assert peer.rest.until == MONDAY.replace(hour=19).timestamp()
    assert peer.rest.paused
    peer.passes(3600)
    assert peer.rest is not None
    assert not peer.rest.paused


def test_a_pause_without_an_end_is_the_longest() -> None:
    peer = machine(data_per_month="1 GB").sees(month_bytes=2e9)
    peer.pause = Pause(None)
    assert peer.look().reason == "paused by you; `peer resume` ends it (and 1 more reason)"


# ---- properties ------------------------------------------------------------------------

WEEKS = ["mon-fri 19:00-08:00, sat-sun", "daily 22:30-06:15", "tue thu 12:00-13:00", "sun", ""]
happenings = st.lists(
    st.fixed_dictionaries(
        {},
        optional={
            "on_battery": st.booleans(),
            "programs": st.sampled_from([(), ("steam",), ("steam", "blender")]),
            "idle_seconds": st.sampled_from([None, 0.0, 30.0, 400.0]),
            "temperature": st.none() | st.floats(20, 100),
            "slowed_in_vain": st.booleans(),
            "month_bytes": st.floats(0, 3e9),
        },
    ),
    min_size=1,
    max_size=12,
)


def demanding(hours: str) -> Machine:
    return machine(
        hours=hours, idle_after="5 min", not_while=["steam", "blender"], max_temperature=80.0,
        data_per_month="2 GB",
    )  # fmt: skip


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(WEEKS), happenings, st.integers(600, 40_000))
def test_it_never_trains_where_a_limit_is_reached_and_never_rests_without_a_reason(
    hours: str, story: list[dict[str, Any]], pause: int
) -> None:
    peer = demanding(hours)
    allowed = parse_hours(hours) if hours else None
    for happening in story:
        peer.sees(**happening).passes(pause, look=pause / 20)
        sight = peer.sight
        if peer.trains:
            assert allowed is None or allowed.allows(sight.local)
            assert not sight.on_battery
            assert not sight.programs
            assert sight.idle_seconds is not None
            assert sight.idle_seconds >= 300
            assert sight.month_bytes < 2e9
            assert sight.temperature is not None
            assert not sight.slowed_in_vain
        else:
            assert peer.rest is not None
            assert peer.rest.reasons
            assert all("limits." in it for it in peer.rest.reasons), "each says which limit it is"
            assert peer.rest.until is None or peer.rest.until > sight.now


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(WEEKS), happenings)
def test_when_all_is_well_again_it_trains_within_a_week(
    hours: str, story: list[dict[str, Any]]
) -> None:
    peer = demanding(hours)
    for happening in story:
        peer.sees(**happening).passes(600, look=30)
    peer.sees(
        on_battery=False, programs=(), idle_seconds=0.0, temperature=50.0, slowed_in_vain=False,
        month_bytes=0.0,
    )  # fmt: skip
    for _ in range(7 * 48):
        if peer.passes(1800, look=600).trains:
            return
    raise AssertionError(f"still resting: {peer.reason}")


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.integers(1, 59)), min_size=1, max_size=40))
def test_whatever_comes_and_goes_a_rest_for_it_lasts_a_minute(
    story: list[tuple[bool, int]],
) -> None:
    peer = machine(not_while=["steam"])
    for runs, seconds in story:
        peer.sees(programs=("steam",) if runs else ()).passes(seconds, look=7)
    for (begun, what), (ended, _) in zip(peer.told, peer.told[1:], strict=False):
        if what != "trains":
            assert ended - begun >= timedelta(seconds=LINGER_SECONDS)


def test_the_zone_of_the_machine_counts() -> None:
    """The same instant is evening in one place and noon in another."""
    evening = datetime(2026, 11, 2, 11, 0, tzinfo=timezone.utc).astimezone(ZoneInfo("Asia/Tokyo"))
    limits = Limits(hours="daily 19:00-23:00")
    assert rest_due(limits, Sight(evening), None) is None
    assert rest_due(limits, Sight(evening.astimezone(ZONE)), None) is not None

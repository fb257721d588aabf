"""The screen on terminals of every size: nothing sticks out, and what matters is always there."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from peer.screen.frame import Scene, frame, plain_text
from swarmpb.v1 import control_pb2

NOW = 1_800_000_000.0
KEYS = ("Ctrl-C leaves", "peer pause", "peer finish", "in another terminal: peer --help")
SIZES = [(40, 12), (60, 16), (80, 24), (120, 40), (200, 60)]
HOSTILE = [
    "[bold red]not markup[/bold red]",
    "[link=file:///etc/passwd]click[/link]",
    "\x1b[2J\x1b]0;owned\x07",
    "one\r\ntwo\x0bthree\x85four\u2028five",
    "\u202eright to left",
    "Z\u0301\u0302\u0303\u0304\u0305\u0306\u0307\u0308algo",
    "漢字" * 80,
    "🦜" * 90,
    "x" * 5000,
    "\x00\x08\x08\x7f",
    "",
]


def status(**fields: Any) -> control_pb2.StatusReply:
    """A peer that trains under limits; `fields` replace its values."""
    values: dict[str, Any] = {
        "run_id": "demo", "peer_id": "Qm12", "name": "anna", "phase": "training",
        "reason": "round 8", "round": 7, "tokens": 12_345_678, "pending_tokens": 1024,
        "tokens_per_second": 1234.0, "swarm_tokens_per_second": 9872.0, "train_loss": 3.2145,
        "peers": 8, "run_tokens": 412 * 10**6, "target_tokens": 2 * 10**9,
        "uptime_seconds": 3725.0, "coordinator_state": "reachable", "daemon_rss_bytes": 10**8,
        "trainer_rss_bytes": 3 * 10**8, "round_seconds": 2.3, "inner_steps": 1240,
        "checkpoint_seconds": 12.0, "upload_bits_per_second": 1.8e6,
        "download_bits_per_second": 312e3, "month_bytes": 1200 * 10**6,
        "month_budget_bytes": 20 * 10**9, "next_cut_seconds": 11.4, "round_progress": 0.62,
        "reach": "direct",
        "energy": control_pb2.Energy(
            joules=1.1e6, watts=45, source="estimated: 65 W at full load", price_per_kwh=0.3,
            currency="EUR",
        ),
        "limits": [
            control_pb2.ActingLimit(name="upload", words="2 Mbit/s"),
            control_pb2.ActingLimit(name="hours", words="mon-fri 19:00-08:00, sat-sun"),
        ],
        "acting": [control_pb2.ActingLimit(name="upload", words="held at 2 Mbit/s")],
        "notices": ["the coordinator does not answer since 12:30; training goes on"],
        "losses": [
            control_pb2.LossPoint(run_tokens=1000 * it, loss=3 + 3 * math.exp(-it / 20))
            for it in range(100)
        ],
    }  # fmt: skip
    return control_pb2.StatusReply(**(values | fields))


def shown(reply: control_pb2.StatusReply, columns: int = 80, rows: int = 24, **scene: Any) -> str:
    """What is to be seen, without colours."""
    ascii_only = bool(scene.pop("ascii_only", False))
    lines = frame(Scene(reply, KEYS, **scene), columns, rows, NOW, ascii_only)
    assert len(lines) <= rows
    assert all(cell_len(line.plain) <= columns for line in lines)
    return plain_text(lines)


# ---- sizes -------------------------------------------------------------------------------


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_what_matters_is_there_on_every_terminal(columns: int, rows: int) -> None:
    text = shown(status(), columns, rows)
    for fact in (
        "training: round 8",
        "cut in 11 s",
        "loss 3.2",
        "1,234 tokens/s, 12% of run",
        "8 live",
        "upload: held at 2 Mbit/s",
        "Ctrl-C leaves",
    ):
        assert fact in text


@pytest.mark.parametrize(("columns", "rows"), [(80, 24), (120, 40), (200, 60)])
def test_a_usual_terminal_shows_everything(columns: int, rows: int) -> None:
    text = shown(status(), columns, rows)
    for fact in (
        "run demo as anna",
        "up 1 h 2 min",
        "20% of 2G tokens",
        "1.8 Mbit/s of 2 Mbit/s",
        "312 kbit/s",
        "1.2 GB of 20 GB this month",
        "~45 W, 0.306 kWh, 0.09 EUR",
        "12 s ago",
        "direct",
        "400 MB",
        "hours mon-fri 19:00-08:00, sat-sun",
        "the coordinator does not answer",
        "peer pause",
        "peer finish",
    ):
        assert fact in text
    assert any("\u2800" < letter < "\u2900" for letter in text), "no curve"


def test_the_curve_takes_the_lines_that_are_left_and_goes_first() -> None:
    def curve_lines(rows: int) -> int:
        text = shown(status(), 80, rows)
        return sum(any("\u2800" < it < "\u2900" for it in line) for line in text.splitlines())

    heights = [curve_lines(rows) for rows in range(8, 60)]
    assert heights == sorted(heights)
    assert (heights[0], heights[-1]) == (0, 12)


@pytest.mark.parametrize("rows", [2, 3, 5, 8])
def test_on_a_few_lines_the_phase_and_how_to_leave_come_first(rows: int) -> None:
    text = shown(status(), 40, rows)
    assert "training: round 8" in text
    assert "Ctrl-C leaves" in text


def test_the_keys_are_at_the_bottom_whatever_is_above() -> None:
    for reply in (status(), control_pb2.StatusReply(train_loss=math.nan)):
        lines = frame(Scene(reply, KEYS), 80, 24, NOW)
        assert len(lines) == 24
        assert lines[-1].plain.startswith("Ctrl-C leaves")


# ---- states ------------------------------------------------------------------------------


def test_a_peer_that_has_only_begun_shows_no_figure_that_nobody_knows() -> None:
    reply = control_pb2.StatusReply(
        run_id="demo", phase="starting", reason="starting the trainer", train_loss=math.nan,
        next_cut_seconds=math.nan, checkpoint_seconds=math.nan, peers=1,
    )  # fmt: skip
    text = shown(reply)
    assert "starting: starting the trainer" in text
    assert "no loss yet" in text
    assert "no cut in sight" in text
    assert "nan" not in text
    for unknown in ("energy", "data", "limits", "disk", "averaging"):
        assert unknown not in text


def test_a_peer_that_rests_says_why_and_until_when_and_has_no_round() -> None:
    until = NOW + 3600
    reply = status(
        phase="resting", reason="outside of its hours", resting_until=until,
        resting_reasons=["outside of its hours"], tokens_per_second=0.0,
    )  # fmt: skip
    text = shown(reply)
    assert f"resting: outside of its hours, until {time.strftime('%H:%M', time.localtime(until))}"
    assert "until" in text
    assert "cut" not in text
    assert "tokens/s" not in text
    assert "1.2 GB of 20 GB this month" in text


def test_a_round_that_is_being_averaged_is_not_waited_for() -> None:
    assert "being averaged" in shown(status(phase="averaging", reason="round 8"))


def test_an_old_status_says_that_it_is_old() -> None:
    text = shown(status(), trouble="no peer is running here; below is what it said 12 s ago")
    assert "below is what it said 12 s ago" in text


def test_what_was_logged_is_among_the_notices_but_not_twice() -> None:
    reply = status(notices=["the disk is full"])
    text = shown(reply, said=("the disk is full", "a library complains"))
    assert text.count("the disk is full") == 1
    assert "a library complains" in text


# ---- letters and colours -----------------------------------------------------------------


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_a_terminal_without_unicode_gets_ascii_only(columns: int, rows: int) -> None:
    assert shown(status(), columns, rows, ascii_only=True).isascii()


def test_without_colours_nothing_is_lost() -> None:
    """Bars differ in their letters, states in their words; colours only repeat it."""
    lines = frame(Scene(status(), KEYS), 80, 24, NOW)
    colourless = Console(color_system=None, width=80, force_terminal=True)
    with colourless.capture() as drawn:
        for line in lines:
            colourless.print(line, no_wrap=True)
    assert "\x1b" not in drawn.get()
    text = plain_text(lines)
    done, rest = text.count("━"), text.count("─")
    assert done
    assert rest
    assert "held at" in text


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_what_others_wrote_is_text_and_stays_in_its_line(
    text: str, columns: int, rows: int
) -> None:
    reply = status(
        name=text, reason=text, reach=text, coordinator_state=text, run_id=text, notices=[text] * 9,
        acting=[control_pb2.ActingLimit(name=text, words=text)] * 3,
        limits=[control_pb2.ActingLimit(name="upload", words=text)],
        energy=control_pb2.Energy(watts=1, price_per_kwh=1, currency=text, source=text),
    )  # fmt: skip
    lines = shown(reply, columns, rows, said=(text,), trouble=text).splitlines()
    assert all(line.isprintable() for line in lines)
    if text.startswith("["):  # shown as it was written
        assert any(text[:12] in line for line in lines)


def test_a_tower_of_accents_does_not_reach_into_other_lines() -> None:
    text = shown(status(reason="e" + "\u0301" * 50))
    assert text.count("\u0301") <= 4


# ---- anything ----------------------------------------------------------------------------

_numbers = st.floats() | st.sampled_from([math.nan, math.inf, -math.inf, 1e300, -1.0])
_counts = st.integers(0, 2**64 - 1)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(
    fields=st.fixed_dictionaries(
        {},
        optional={
            "reason": st.text(max_size=300), "phase": st.text(max_size=30), "round": _counts,
            "tokens": _counts, "pending_tokens": _counts, "tokens_per_second": _numbers,
            "swarm_tokens_per_second": _numbers, "train_loss": _numbers, "run_tokens": _counts,
            "target_tokens": _counts, "uptime_seconds": _numbers, "daemon_rss_bytes": _counts,
            "round_seconds": _numbers, "inner_steps": _counts, "checkpoint_seconds": _numbers,
            "upload_bits_per_second": _numbers, "month_bytes": _counts,
            "month_budget_bytes": _counts, "next_cut_seconds": _numbers,
            "round_progress": _numbers, "resting_until": _numbers,
            "energy": st.builds(
                control_pb2.Energy, joules=_numbers, watts=_numbers, price_per_kwh=_numbers,
                currency=st.text(max_size=9),
            ),
            "losses": st.lists(st.builds(control_pb2.LossPoint, loss=_numbers), max_size=5),
        },
    ),
    columns=st.integers(1, 220),
    rows=st.integers(1, 70),
    ascii_only=st.booleans(),
)  # fmt: skip
def test_no_status_whatever_breaks_the_screen(
    fields: dict[str, Any], columns: int, rows: int, ascii_only: bool
) -> None:
    text = shown(status(**fields), columns, rows, ascii_only=ascii_only)
    assert all(line.isprintable() for line in text.splitlines())


def test_a_frame_costs_less_than_a_hundredth_of_a_processor_at_two_a_second() -> None:
    console = Console(force_terminal=True, color_system="standard", width=10_000)
    reply = status()

    def draw() -> None:
        with console.capture():
            for line in frame(Scene(reply, KEYS), 80, 24, NOW):
                console.print(line, no_wrap=True, overflow="ignore", crop=False)

    draw()
    began = time.process_time()
    for _ in range(50):
        draw()
    assert (time.process_time() - began) / 50 < 0.005

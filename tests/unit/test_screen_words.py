"""Figures in words: short, with their units, and never a figure that nobody knows."""

from __future__ import annotations

import math

import pytest

from peer.limits.settings import Limits
from peer.limits.words import limits_set
from peer.screen import words
from peer.screen.plain import fitted, one_line, wrapped
from swarmpb.v1 import control_pb2


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"), (99.9, "99 s"), (100, "1 min"), (3599, "59 min"), (3600, "1 h 0 min"),
        (86399, "23 h 59 min"), (90000, "1 d 1 h"), (-3, "0 s"), (math.nan, "?"),
    ],
)  # fmt: skip
def test_a_time_has_two_units_at_most(seconds: float, said: str) -> None:
    assert words.duration(seconds) == said


@pytest.mark.parametrize(
    ("number", "said"),
    [(0, "0"), (9999, "9,999"), (12_345, "12.3k"), (999_999, "1M"), (2e9, "2G"), (5e15, "5P")],
)
def test_a_count_has_six_letters_or_so(number: float, said: str) -> None:
    assert words.count(number) == said


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0.0%"), (0.0349, "3.4%"), (0.1, "10%"), (0.9999, "99%"), (1.0, "100%"), (7.0, "100%")],
)
def test_a_share_is_all_only_when_it_is(share: float, said: str) -> None:
    assert words.percent(share) == said


def test_a_share_of_the_run_is_told_where_there_are_others() -> None:
    reply = control_pb2.StatusReply(tokens_per_second=50, swarm_tokens_per_second=400, peers=3)
    assert words.speed(reply) == "50 tokens/s, 12% of run"
    reply.peers = 1
    assert words.speed(reply) == "50 tokens/s"


def test_energy_is_marked_where_it_is_a_guess_and_costs_where_there_is_a_price() -> None:
    measured = control_pb2.Energy(joules=7.2e6, watts=61.7, source="measured by RAPL")
    reply = control_pb2.StatusReply(energy=measured)
    assert words.energy(reply) == "62 W, 2 kWh"
    reply.energy.source = "estimated: 65 W at full load"
    reply.energy.price_per_kwh, reply.energy.currency = 0.25, "EUR"
    assert words.energy(reply) == "~62 W, 2 kWh, 0.50 EUR"
    assert words.energy(control_pb2.StatusReply()) == ""


def test_a_resting_peer_that_tells_nothing_of_its_checkpoint_has_none_that_is_new() -> None:
    resting = control_pb2.StatusReply(phase="resting", resting_reasons=["on battery"])
    names = {fact.name for fact in words.facts_of(resting)}
    assert names.isdisjoint({"speed", "peers", "checkpoint", "merged", "memory"})


def test_the_limits_that_are_set_are_told_as_their_user_would_write_them() -> None:
    limits = Limits.model_validate(
        {
            "threads": 2,
            "upload": "2 Mbit/s",
            "memory": "4 GB",
            "processor": "50%",
            "hours": "sat-sun",
            "idle_after": "5 min",
            "max_temperature": 80.0,
            "not_while": ("blender", "steam"),
        }
    )
    assert limits_set(limits) == {
        "threads": "2", "upload": "2 Mbit/s", "memory": "4 GB", "processor": "50%",
        "hours": "sat-sun", "idle_after": "5 min", "max_temperature": "80 °C",
        "not_while": "blender, steam", "on_battery": "no",
    }  # fmt: skip
    assert limits_set(Limits(threads=1, on_battery=True)) == {"threads": "1"}


def test_every_limit_has_words() -> None:
    everything = Limits.model_validate(
        {
            "threads": 1,
            "processor": "10%",
            "memory": "1 GB",
            "accelerator_memory": "1 GB",
            "accelerator": "10%",
            "disk": "1 GB",
            "upload": "1 Mbit/s",
            "download": "1 Mbit/s",
            "data_per_month": "1 GB",
            "hours": "sat",
            "idle_after": "1 min",
            "max_temperature": 70.0,
            "not_while": ("x",),
            "disk_free": "2 GB",
            "niceness": 19,
            "io": "normal",
        }
    )
    assert set(limits_set(everything)) == set(Limits.model_fields)
    assert not [it for it in limits_set(everything).values() if "<" in it or "e+" in it]


# ---- lines -------------------------------------------------------------------------------


def test_a_line_is_cut_between_cells_not_letters() -> None:
    assert fitted("漢字漢字", 5) == "漢字…"
    assert fitted("漢字漢字", 6) == "漢字…"
    assert fitted("abcdef", 5, ascii_only=True) == "ab..."
    assert fitted("abc", 3) == "abc"
    assert fitted("abc", 1) == "a"
    assert fitted("abc", 0) == ""


def test_a_text_is_broken_between_words_and_its_rest_is_cut() -> None:
    text = "the coordinator does not answer since 12:30; training goes on"
    assert wrapped(text, 30, 9) == [
        "the coordinator does not",
        "answer since 12:30; training",
        "goes on",
    ]
    assert wrapped(text, 30, 2) == ["the coordinator does not", "answer since 12:30; training…"]
    assert wrapped("", 10, 2) == [""]


def test_what_a_terminal_would_obey_is_a_question_mark() -> None:
    assert one_line("a\x1b[2Jb\u202ec\n d") == "a?[2Jb?c d"

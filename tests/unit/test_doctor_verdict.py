"""Would this machine help? What speaks against it, and which setting to change."""

from __future__ import annotations

import json
from dataclasses import replace
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from peer.averaging.codec_names import codec_named
from peer.doctor.findings import (
    ATTENTION,
    BAD,
    OK,
    UNCHECKED,
    Check,
    Findings,
    Machine,
    Swarm,
    Trial,
)
from peer.doctor.report import document, show
from peer.doctor.traffic import DAY, chatter, round_seconds, traffic_of
from peer.doctor.verdict import verdict_of
from peer.limits.settings import Limits
from peer.swarm.reach import DIRECT, OUTGOING_ONLY, Reach
from swarmpb.spec import preset
from tests.tiny import tiny_spec

GB = 10**9
SPEC = preset("internet")
"""100 s rounds and 8 bits or so: a run as it would be on the internet."""
BOOKS = tiny_spec(
    data={"source": "downloads", "downloads": [
        {"url": "https://example.org/books", "sha256": "ab" * 32, "bytes": 2 * GB}
    ]}
)  # fmt: skip
SMALL = tiny_spec(round={"exchange_seconds": 3600.0, "max_seconds": 3600.0})
CHUNK = SPEC.inner.batch_size * SPEC.data.sequence_length
PARAMETERS = 25_000_000
MACHINE = Machine("Some Chip", 8, 16 * GB, 100 * GB, "/home/anna/state")
TRIAL = Trial(5000.0, 12, 6.0, PARAMETERS, GB, "", 8, 8)
REACHED = Reach(DIRECT, "dialled by 2 peers on the internet, at port 4001")
HIDDEN = Reach(OUTGOING_ONLY, "port 4001 lets no connection in; tried by 2 peers on the internet")


def limits(**values: Any) -> Limits:
    return Limits.model_validate({"threads": 4} | values)


FOUND = Findings(
    machine=MACHINE,
    limits=limits(),
    p2p_port=4001,
    spec=SPEC,
    source="from the coordinator at here:7700",
    swarm=Swarm(peers=9, tokens_per_second=45_000.0, tokens=1000),
    clock_ahead=0.02,
    reach=REACHED,
    trial=TRIAL,
)
"""A machine like the others."""


def check(found: Findings, name: str) -> Check:
    (it,) = [it for it in verdict_of(found).checks if it.name == name]
    return it


def test_a_machine_like_the_others_helps_and_is_told_how_much() -> None:
    verdict = verdict_of(FOUND)
    assert verdict.helpful
    assert verdict.words == "this machine would help: 10% of the run's speed would be its own"
    states = {it.name: it.state for it in verdict.checks}
    assert states.pop("link") == UNCHECKED
    assert set(states.values()) == {OK}
    assert all(not it.advice for it in verdict.checks)


def test_without_a_run_only_the_machine_is_looked_at() -> None:
    verdict = verdict_of(Findings(MACHINE, limits()))
    assert verdict.helpful
    assert "name a run" in verdict.words
    assert [it.name for it in verdict.checks] == ["processor", "accelerator", "memory", "disk"]


def test_a_run_that_cannot_be_joined_is_told_with_the_reason_and_the_machine_all_the_same() -> None:
    verdict = verdict_of(Findings(MACHINE, limits(), run_trouble="no coordinator answers at x:1"))
    assert not verdict.helpful
    assert verdict.words == "this machine would not help: run: no coordinator answers at x:1"
    assert {it.name for it in verdict.checks} >= {"memory", "disk", "run"}


@pytest.mark.parametrize(
    ("changes", "name", "words", "advice"),
    [
        ({"needs_invitation": True}, "run", "by invitation", "coordinator invite create"),
        ({"run_trouble": "it is a draft"}, "run", "it is a draft", ""),
        ({"clock_ahead": -5.0}, "clock", "5.0 s behind", "timedatectl"),
        ({"reach_trouble": "cannot listen on port 4001"}, "reach", "cannot listen", ""),
        ({"trial": None, "trial_trouble": "the model needs 80 GB", "too_large": True},
         "memory", "80 GB", "smaller model"),
        ({"trial": None, "trial_trouble": "no text to be had"}, "speed", "no text", ""),
        ({"machine": replace(MACHINE, memory_free=GB)}, "memory", "1 GB free", "close other"),
        ({"spec": BOOKS, "machine": replace(MACHINE, disk_free=2 * GB)},
         "disk", "the run's text does not fit", "state_dir"),
        ({"spec": BOOKS, "limits": limits(disk_free="98 GB")},
         "disk", "leaves 98 GB", "limits.disk_free"),
        ({"trial": replace(TRIAL, tokens_per_second=0.5 * CHUNK / SPEC.round.max_seconds)},
         "speed", "an inner step takes", "limits.threads"),
        ({"trial": replace(TRIAL, tokens_per_second=0.0)}, "speed", "longer than was waited", ""),
        ({"swarm": Swarm(9, 9e6, 1)}, "speed", "the run's peers do 1,000,000", "smaller model"),
        ({"limits": limits(upload="100 kbit/s")}, "link", "limits.upload of 100 kbit/s",
         "raise limits.upload to"),
    ],
)  # fmt: skip
def test_what_speaks_against_a_machine_is_told_with_what_to_change(
    changes: dict[str, Any], name: str, words: str, advice: str
) -> None:
    found = replace(FOUND, **changes)
    verdict = verdict_of(found)
    assert not verdict.helpful
    assert f"{name}: " in verdict.words
    told = check(found, name)
    assert told.state == BAD
    assert words in told.words
    assert advice in told.advice


@pytest.mark.parametrize(
    ("changes", "name", "advice"),
    [
        ({"limits": limits(threads=16)}, "processor", "set limits.threads to 8 or less"),
        ({"limits": limits(memory="2 GB")}, "memory", "raise limits.memory"),
        ({"limits": limits(disk="1.5 GB")}, "disk", "set limits.disk to 2.1 GB or more"),
        ({"machine": replace(MACHINE, disk_free=3 * GB // 2)}, "disk", "name another disk"),
        ({"clock_ahead": 1.5}, "clock", "timedatectl"),
        ({"reach": HIDDEN}, "reach", "forward TCP port 4001 to this machine"),
        ({"reach": HIDDEN, "p2p_port": 0}, "reach", "set p2p_port, and forward that TCP port"),
        ({"limits": limits(data_per_month="20 GB")}, "data", "raise limits.data_per_month"),
        ({"spec": SMALL, "limits": limits(upload="500 kbit/s")}, "link", "raise limits.upload"),
        ({"runs_here": True}, "run", "`peer pause` it"),
        ({"standing": "paused by the run's owner"}, "run", ""),
        ({"swarm": None}, "run", ""),
    ],
)
def test_what_is_not_as_it_could_be_is_told_and_the_machine_helps_all_the_same(
    changes: dict[str, Any], name: str, advice: str
) -> None:
    found = replace(FOUND, **changes)
    assert verdict_of(found).helpful
    assert check(found, name).state == ATTENTION
    assert advice in check(found, name).advice


def test_a_hundred_times_slower_than_the_others_is_too_slow_in_a_swarm_of_any_size() -> None:
    for peers in (1, 1000):
        average = 5000.0
        slow = replace(TRIAL, tokens_per_second=0.009 * average)
        long_rounds = tiny_spec(round={"max_seconds": 3600.0})
        found = replace(FOUND, spec=long_rounds, swarm=Swarm(peers, peers * average, 1))
        assert check(replace(found, trial=slow), "speed").state == BAD
        slow = replace(TRIAL, tokens_per_second=0.011 * average)
        assert check(replace(found, trial=slow), "speed").state == OK


def test_limits_that_held_the_trainer_are_named_with_their_values() -> None:
    held = replace(FOUND, limits=limits(processor="50%"), trial=replace(TRIAL, micro_batch=2))
    words = check(held, "speed").words
    assert "limits.processor of 50%" in words
    assert "2 of 8 sequences at a time" in words


def test_a_month_of_data_is_reckoned_against_the_budget() -> None:
    figures = verdict_of(FOUND).figures
    day = figures["day_sent"] + figures["day_received"]
    month = 30 * day + figures["join_received"]
    enough = f"{month / 1e9 + 1:.1f} GB"
    assert check(replace(FOUND, limits=limits(data_per_month=enough)), "data").state == OK
    half = f"{month / 2e9:.1f} GB"
    words = check(replace(FOUND, limits=limits(data_per_month=half)), "data").words
    assert "used up after 15" in words or "used up after 14" in words


# ---- traffic ---------------------------------------------------------------------------


def test_who_owns_a_share_sends_answers_and_who_cannot_be_dialled_only_its_own_work() -> None:
    encoded = codec_named(SPEC.round.codec).encoded_bytes(PARAMETERS)
    hidden = traffic_of(SPEC, PARAMETERS, 9, 1e9, True, 0)
    owner = traffic_of(SPEC, PARAMETERS, 9, 1e9, False, 0)
    assert hidden.round_sent == encoded
    assert owner.round_sent == pytest.approx(encoded * 1.8), "n - 2 of n more"
    rounds = owner.round_sent / SPEC.round.min_seconds
    assert owner.day_sent == pytest.approx((rounds + chatter(9)) * DAY)


def test_a_swarms_talk_grows_faster_than_the_swarm_until_not_all_are_asked() -> None:
    assert chatter(8) > 2 * chatter(4)
    assert chatter(200) < 2.5 * chatter(100)


def test_rounds_are_as_long_as_the_swarms_speed_makes_them_within_the_specs_bounds() -> None:
    target, bounds = SPEC.round.target_tokens, SPEC.round
    middle = (bounds.min_seconds + bounds.max_seconds) / 2
    assert round_seconds(SPEC, target / middle) == pytest.approx(middle)
    assert round_seconds(SPEC, 1e12) == bounds.min_seconds
    assert round_seconds(SPEC, 0.0) == bounds.max_seconds


# ---- what is shown ---------------------------------------------------------------------


def test_the_table_has_a_line_for_each_check_and_no_stranger_s_control_characters() -> None:
    out = StringIO()
    hostile = replace(FOUND, standing="paused: \x1b[2J[bold]gone[/bold]\nand more")
    show(verdict_of(hostile), Console(file=out, width=100))
    shown = out.getvalue()
    assert "\x1b" not in shown
    assert "[bold]gone[/bold]" in shown, "shown as it is, not obeyed"
    for name in ("processor", "memory", "disk", "run", "clock", "reach", "speed", "data", "link"):
        assert f" {name} " in shown


def test_the_document_is_json_and_says_the_same() -> None:
    verdict = verdict_of(replace(FOUND, reach=HIDDEN))
    told = json.loads(json.dumps(document(verdict)))
    assert told["helpful"] is True
    assert told["verdict"] == verdict.words
    assert told["figures"]["tokens_per_second"] == 5000.0
    (reach,) = [it for it in told["checks"] if it["name"] == "reach"]
    assert (reach["state"], bool(reach["advice"])) == (ATTENTION, True)

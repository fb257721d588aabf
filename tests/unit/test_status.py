"""What a peer tells about itself: speeds that add up, lines that stay lines."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from peer.averaging.attempt import Outcome
from peer.averaging.coverage import Coverage
from peer.averaging.links import Link
from peer.averaging.state import GlobalState
from peer.events import Phase
from peer.membership import parse_record
from peer.screen.line import live_line
from peer.status import (
    LOSS_WINDOW,
    SPEED_WINDOW,
    Snapshot,
    Speedometer,
    peer_record,
    progress_report,
    round_outcome,
    status_reply,
    text_coverage,
)
from peer.status_text import describe, facts
from peer.training.messages import Progress
from swarmpb.v1 import control_pb2, coordinator_pb2

ZEROS = np.zeros(4, np.float32)
STATE = GlobalState(7, 700, ZEROS, ZEROS.copy())


def snapshot(**fields: Any) -> Snapshot:
    """A peer that trains; `fields` replace its values."""
    values: dict[str, Any] = {
        "run_id": "tiny",
        "peer_id": "Qm12D3Anna",
        "name": "anna",
        "phase": Phase.TRAINING,
        "reason": "round 8",
        "state": STATE,
        "tokens": 300,
        "pending_tokens": 20,
        "tokens_per_second": 1234.5,
        "train_loss": 2.34567,
        "inner_steps": 99,
        "peers": 3,
        "target_tokens": 1000,
        "addresses": ("/ip4/10.0.0.1/tcp/1",),
        "link": Link(5_000_000, 4_000_000),
    }
    return Snapshot(**(values | fields))


def trained(steps: int, tokens_a_step: int = 10, loss: float = 2.0) -> Progress:
    return Progress(steps, steps * tokens_a_step, steps * loss)


# ---- speed and loss ----------------------------------------------------------------------


def test_before_the_second_word_of_the_trainer_nothing_is_known() -> None:
    meter = Speedometer()
    assert meter.tokens_per_second(0.0) == 0.0
    assert math.isnan(meter.loss())
    meter.add(trained(1), 0.0)
    assert meter.tokens_per_second(0.0) == 0.0
    assert math.isnan(meter.loss())


def test_speed_is_tokens_over_the_window() -> None:
    meter = Speedometer()
    for second in range(5):
        meter.add(trained(2 * second), second)
    assert meter.tokens_per_second(4.0) == 20.0
    for second in range(5, 40):  # twice as fast from here
        meter.add(trained(8 + 4 * (second - 4)), second)
    assert meter.tokens_per_second(39.0) == 40.0, "the slow time is forgotten"


def test_a_trainer_that_stopped_has_no_speed() -> None:
    meter = Speedometer()
    meter.add(trained(0), 0.0)
    meter.add(trained(5), 1.0)
    assert meter.tokens_per_second(1.0 + SPEED_WINDOW) == 50.0
    assert meter.tokens_per_second(1.1 + SPEED_WINDOW) == 0.0


def test_two_words_at_one_moment_are_no_speed() -> None:
    meter = Speedometer()
    meter.add(trained(1), 5.0)
    meter.add(trained(2), 5.0)
    assert meter.tokens_per_second(5.0) == 0.0


def test_the_loss_is_the_mean_over_the_last_steps() -> None:
    meter = Speedometer()
    total = 0.0
    for step in range(100):
        total += step
        meter.add(Progress(step + 1, step, total), 0.01 * step)
    expected = sum(range(100 - LOSS_WINDOW, 100)) / LOSS_WINDOW
    assert meter.loss() == pytest.approx(expected)


def test_the_loss_of_a_slow_trainer_is_that_of_its_last_word() -> None:
    meter = Speedometer()
    meter.add(Progress(0, 0, 0.0), 0.0)
    meter.add(Progress(50, 500, 150.0), 1.0)
    assert meter.loss() == 3.0
    meter.add(Progress(100, 1000, 250.0), 2.0)
    assert meter.loss() == 2.0


def test_a_word_without_a_new_step_changes_no_loss() -> None:
    meter = Speedometer()
    for steps, now in ((0, 0.0), (50, 1.0), (50, 2.0), (50, 3.0)):
        meter.add(trained(steps, loss=3.0), now)
    assert meter.loss() == 3.0
    idle = Speedometer()
    for now in (0.0, 1.0):
        idle.add(trained(5), now)
    assert math.isnan(idle.loss())


def test_a_new_trainer_starts_from_nothing() -> None:
    meter = Speedometer()
    meter.add(trained(0), 0.0)
    meter.add(trained(1000), 1.0)
    meter.reset()
    assert meter.tokens_per_second(1.0) == 0.0
    meter.add(trained(1, loss=5.0), 2.0)
    meter.add(trained(2, loss=5.0), 3.0)
    assert meter.tokens_per_second(3.0) == 10.0
    assert meter.loss() == 5.0


@given(st.lists(st.tuples(st.integers(0, 30), st.floats(0, 20)), max_size=30))
def test_no_sequence_of_words_raises_or_runs_backwards(words: list[tuple[int, float]]) -> None:
    meter, steps, now = Speedometer(), 0, 0.0
    for more, seconds in words:
        steps, now = steps + more, now + seconds
        meter.add(trained(steps), now)
        assert meter.tokens_per_second(now) >= 0
        assert math.isnan(meter.loss()) or meter.loss() == pytest.approx(2.0)


# ---- what is told ------------------------------------------------------------------------


def test_the_record_is_one_that_others_believe() -> None:
    record = peer_record(snapshot(), wall=1000.0, sequence=3)
    facts = parse_record("Qm12D3Anna", record.SerializeToString(), 1001.0)
    assert facts is not None
    assert facts.position is not None
    assert (facts.position.round, facts.position.digest) == (7, STATE.digest)
    assert facts.phase == "training"
    assert facts.expected_tokens(1001.0) == pytest.approx(20 + 1234.5)
    assert facts.link == Link(5_000_000, 4_000_000)


def test_a_peer_without_a_state_claims_none() -> None:
    record = peer_record(snapshot(state=None, phase=Phase.JOINING), 1000.0, 1)
    facts = parse_record("Qm12D3Anna", record.SerializeToString(), 1000.0)
    assert facts is not None
    assert facts.position is None
    report = progress_report(snapshot(state=None))
    assert (report.round, report.digest) == (0, b"")


def test_what_others_must_store_is_bounded() -> None:
    endless = snapshot(reason="r" * 10**6, addresses=("/ip4/10.0.0.1/tcp/1",) * 100)
    assert peer_record(endless, 0.0, 1).ByteSize() < 1000
    assert progress_report(endless).ByteSize() < 1000


def test_whose_home_a_file_is_in_is_nobody_elses_affair() -> None:
    mine = snapshot(reason="the cache folder /home/anna/state/runs/demo failed")
    told = "the cache folder ~/state/runs/demo failed"
    assert peer_record(mine, 0.0, 1).reason == progress_report(mine).reason == told
    assert "/home/anna" in status_reply(mine).reason, "its own user reads the whole path"


def test_why_a_peer_rests_is_its_users_affair() -> None:
    mine = snapshot(phase=Phase.STOPPED, reason="steam runs here", rests=True)
    told = {peer_record(mine, 0.0, 1).reason, progress_report(mine).reason}
    assert told == {"rests for now, as its user wants it"}
    assert status_reply(mine).reason == "steam runs here"


def test_the_time_of_a_round_is_the_median() -> None:
    assert status_reply(snapshot()).round_seconds == 0
    assert status_reply(snapshot(round_seconds=[9.0, 0.3, 0.2])).round_seconds == 0.3


def outcome(**fields: Any) -> Outcome:
    values: dict[str, Any] = {
        "attempt": b"a",
        "leader": "anna",
        "round": 7,
        "committed": True,
        "reason": "",
        "members": 3,
        "member_index": 0,
        "merged": True,
        "tokens": 100,
        "loss": 2.0,
        "seconds": 0.5,
        "bytes_sent": 11,
        "bytes_received": 22,
    }
    return Outcome(**(values | fields))


def test_only_merged_tokens_are_claimed_from_the_coordinator() -> None:
    merged = round_outcome(outcome(), STATE, 12.5)
    assert (merged.own_tokens, merged.included, merged.finished_at_ms) == (100, True, 12500)
    assert (merged.digest, merged.run_tokens) == (STATE.digest, 700)
    left_out = round_outcome(outcome(merged=False, reason="x" * 1000), STATE, 0.0)
    assert (left_out.own_tokens, left_out.included) == (0, False)
    assert len(left_out.reason) == 200


# ---- lines for people --------------------------------------------------------------------


def test_the_live_line_says_what_and_why() -> None:
    line = live_line(status_reply(snapshot()))
    assert line == ("training: round 8 | at round 7 (70%) | 1,234 tokens/s | loss 2.346 | 3 peers")
    alone = live_line(status_reply(snapshot(peers=1)))
    assert alone.endswith("| 1 peer")


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_no_number_is_not_shown_as_one(loss: float) -> None:
    reply = status_reply(snapshot(train_loss=loss))
    assert "no loss yet" in live_line(reply)
    assert "none yet" in describe(reply, 0.0)


def test_a_peer_that_just_started_has_lines_too() -> None:
    reply = control_pb2.StatusReply(train_loss=math.nan)
    assert live_line(reply)
    assert describe(reply, 0.0)


@pytest.mark.parametrize("speed", [0.0, math.nan, math.inf, 1e12])
@pytest.mark.parametrize("reason", ["", "x" * 5000, "first\nsecond\r\n\tthird", "\x1b[2J\x07bell"])
def test_whatever_the_numbers_and_reasons_a_line_stays_one_line(speed: float, reason: str) -> None:
    reply = status_reply(snapshot(tokens_per_second=speed, reason=reason))
    assert live_line(reply).isprintable()
    assert all(line.isprintable() for line in describe(reply, 0.0).splitlines())
    assert len(describe(reply, 0.0).splitlines()) == len(
        describe(status_reply(snapshot()), 0.0).splitlines()
    )


def test_the_description_names_the_processes_and_the_coordinator() -> None:
    reply = status_reply(snapshot(round_seconds=[0.25]))
    reply.pid = 4711
    reply.uptime_seconds = 61.4
    reply.coordinator = "here:7700"
    reply.coordinator_state = "reachable"
    reply.daemon_rss_bytes = 100 * 2**20
    reply.trainer_rss_bytes = 300 * 2**20
    text = describe(reply, 0.0)
    for expected in (
        "Qm12D3Anna (process 4711, up 61 s)",
        "training: round 8",
        "tiny, round 7, 700 of 1,000 tokens",
        "300 tokens; 20 not merged yet",
        "1,234 tokens/s, 99 inner steps",
        "3 peers; a round takes 0.25 s to average",
        "here:7700, reachable",
        "daemon 100 MiB, trainer 300 MiB",
    ):
        assert expected in text


# ---- the text ----------------------------------------------------------------------------


def test_the_text_is_seen_once_twice_or_not_yet_in_the_present_pass() -> None:
    first = text_coverage(Coverage(((0, 40), (60, 70)), claims=53), 5, 100)
    assert first == coordinator_pb2.Coverage(
        round=5, pass_chunks=100, passes=0, merged_once=47, merged_again=3
    )
    third = text_coverage(Coverage(((0, 210),), claims=212), 9, 100)
    assert third == coordinator_pb2.Coverage(
        round=9, pass_chunks=100, passes=2, merged_once=8, merged_again=2
    )
    assert text_coverage(Coverage(), 1, 0) is None


def test_a_report_tells_coverage_and_where_the_peer_is_if_it_knows() -> None:
    told = coordinator_pb2.Coverage(round=3, pass_chunks=9)
    unknown, known = Snapshot("run", "QmA", "anna"), Snapshot("run", "QmA", "anna", coverage=told)
    known.addresses = tuple(f"/{number}" for number in range(20))
    assert not progress_report(unknown).HasField("coverage")
    assert progress_report(known).coverage == told
    assert len(progress_report(known).addresses) == 8


def test_a_peer_that_rests_says_why_and_shows_no_figures_of_work() -> None:
    reply = control_pb2.StatusReply(
        run_id="tiny", pid=7, phase="resting", reason="on battery; plug it in", month_bytes=5000,
        resting_reasons=["on battery; plug it in", "steam runs"], train_loss=math.nan,
    )  # fmt: skip
    text = describe(reply, 0.0)
    for expected in (
        "resting: on battery; plug it in",
        "also         steam runs",
        "5 kB this month",
    ):
        assert expected in text
    for work in ("tokens", "loss", "swarm", "bit/s"):
        assert work not in text


# ---- for scripts -------------------------------------------------------------------------

NAMES = [
    "acting",
    "checkpoint_seconds",
    "coordinator",
    "coordinator_state",
    "daemon_rss_bytes",
    "digest",
    "disk_bytes",
    "download_bits_per_second",
    "energy",
    "inner_steps",
    "limits",
    "losses",
    "membership",
    "month_budget_bytes",
    "month_bytes",
    "name",
    "next_cut_seconds",
    "notices",
    "peer_id",
    "peers",
    "pending_tokens",
    "phase",
    "pid",
    "reach",
    "reason",
    "resting_reasons",
    "resting_until",
    "round",
    "round_progress",
    "round_seconds",
    "run_id",
    "run_tokens",
    "swarm_tokens_per_second",
    "target_tokens",
    "tokens",
    "tokens_per_second",
    "train_loss",
    "trainer_pid",
    "trainer_rss_bytes",
    "upload_bits_per_second",
    "uptime_seconds",
    "version",
]


def test_the_names_that_scripts_rely_on_do_not_go_away() -> None:
    told = facts(control_pb2.StatusReply())
    assert set(NAMES) <= set(told)


def test_what_nobody_knows_is_null_and_a_document_is_strict_json() -> None:
    reply = control_pb2.StatusReply(
        train_loss=math.nan, next_cut_seconds=math.nan, digest=b"\xab",
        losses=[control_pb2.LossPoint(run_tokens=5, loss=math.nan)],
    )  # fmt: skip
    told = json.loads(json.dumps(facts(reply), allow_nan=False))
    assert told["train_loss"] is told["next_cut_seconds"] is told["energy"] is None
    assert told["digest"] == "ab"
    assert told["losses"] == [{"run_tokens": 5, "loss": None}]
    reply.energy.watts = 45
    assert facts(reply)["energy"]["watts"] == 45

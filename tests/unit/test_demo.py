"""The demo's script, summary and screen, without a process."""

from __future__ import annotations

import io
import json
import os
import signal
from typing import Any

import pytest
from rich.console import Console

from coordinator.demo.interrupts import Interrupts
from coordinator.demo.script import Script, demo_spec
from coordinator.demo.summary import PeerEnd, describe, fault, summarize
from coordinator.demo.view import Happening, PeerLine, Scene, View, screen
from swarmpb.spec import parse_canonical, preset
from swarmpb.v1.coordinator_pb2 import Coverage, PeerProgress, RoundProgress, RunProgress

SURVIVOR = PeerEnd("peer-1", "Qm-first-survivor", 0)
VICTIM = PeerEnd("peer-2", "Qm-second-victim", -9, "killed with SIGKILL")
ENDS = [SURVIVOR, VICTIM]


def progress(**changed: Any) -> RunProgress:
    it = RunProgress(
        run_id="demo",
        round=2,
        tokens=1000,
        target_tokens=1000,
        tokens_per_second=1234.5,
        first_validation_loss=5.5,
        validation_loss=2.25,
        rounds_committed=2,
        rounds_void=1,
        digests_agree=True,
        bytes_sent_per_round=1.4e6,
        peers=[
            PeerProgress(peer_id=SURVIVOR.peer_id, tokens=700, rounds=2, round=2, phase="training",
                         reason="round 3", tokens_per_second=900, train_loss=2.5, live=True),
            PeerProgress(peer_id=VICTIM.peer_id, tokens=300, rounds=1, round=1, phase="averaging"),
        ],
        rounds=[
            RoundProgress(round=1, committed=True, members=2, run_tokens=500, seconds=0.5,
                          finished_by=2, distinct_digests=1),
            RoundProgress(round=2, reason="its leader is silent", members=2),
            RoundProgress(round=2, committed=True, members=1, run_tokens=1000, seconds=0.25,
                          finished_by=1, distinct_digests=1),
        ],
    )  # fmt: skip
    it.MergeFrom(RunProgress(**changed))
    return it


# ---- the script ------------------------------------------------------------------------


def test_by_default_the_preset_is_trained() -> None:
    assert demo_spec(None) == preset("demo")
    assert demo_spec(preset("demo").stop.tokens) == preset("demo")


@pytest.mark.parametrize("tokens", [50_000, 240_000, 1_499_999, 10**9])
def test_another_target_gives_a_valid_spec_with_rounds_to_watch(tokens: int) -> None:
    spec = demo_spec(tokens)
    assert parse_canonical(spec.canonical()) == spec
    assert spec.stop.tokens == tokens
    assert spec.round.target_tokens * 16 <= tokens
    before = preset("demo")
    assert spec.inner.cooldown_tokens / tokens == pytest.approx(
        before.inner.cooldown_tokens / before.stop.tokens, rel=1e-3
    )


def test_one_joins_at_a_quarter_and_one_is_killed_half_way_once_each() -> None:
    script = Script(1_000_000)
    course = [0, 240_000, 260_000, 490_000, 500_000, 700_000, 1_000_000]
    assert [script.join_is_due(tokens, 1000) for tokens in course].index(True) == 2
    assert [script.kill_is_due(tokens) for tokens in course].index(True) == 4
    assert not any(script.join_is_due(it, 1000) or script.kill_is_due(it) for it in course)


def test_in_a_short_run_the_newcomer_is_called_as_soon_as_there_is_training() -> None:
    script = Script(50_000)
    assert not script.join_is_due(0, 0.0)
    assert script.join_is_due(0, 10_000)


def test_nothing_happens_to_a_run_that_is_over() -> None:
    script = Script(50_000)
    assert not script.join_is_due(50_000, 10_000)
    assert not script.kill_is_due(50_000)


# ---- the summary -----------------------------------------------------------------------


def test_the_summary_has_the_facts_and_survives_json() -> None:
    summary = summarize(progress(), ENDS, "/somewhere/model", 12.345)
    assert json.loads(json.dumps(summary.to_json())) == {
        "rounds_committed": 2,
        "rounds_void": 1,
        "first_loss": 5.5,
        "last_loss": 2.25,
        "digests_agree": True,
        "peers": [
            {"peer_id": SURVIVOR.peer_id, "tokens": 700, "rounds": 2, "exit": 0},
            {"peer_id": VICTIM.peer_id, "tokens": 300, "rounds": 1, "exit": -9},
        ],
        "bytes_sent_per_round": 1.4e6,
        "model_path": "/somewhere/model",
        "seconds": 12.3,
        "coverage": None,
    }


def test_what_is_not_known_is_null_and_a_silent_peer_has_nothing() -> None:
    silent = PeerEnd("peer-3", "Qm-third", 0, "came too late")
    unmeasured = progress(first_validation_loss=float("nan"), validation_loss=float("nan"))
    summary = summarize(unmeasured, [silent], None, 1.0)
    assert (summary.first_loss, summary.last_loss, summary.model_path) == (None, None, None)
    assert (summary.peers[0].tokens, summary.peers[0].rounds) == (0, 0)


def test_the_summary_in_words() -> None:
    assert describe(summarize(progress(), ENDS, "/somewhere/model", 12.3), ENDS) == [
        "loss     from 5.500 to 2.250 nats per token, on held-out text",
        "rounds   2 committed, 1 void",
        "digests  agree after every round",
        "peer-1   700 tokens in 2 rounds, exit code 0",
        "peer-2   300 tokens in 1 round, killed with SIGKILL",
        "traffic  1.4 MB sent by a peer in a round",
        "time     12 s",
        "model    /somewhere/model",
    ]


def test_the_summary_tells_how_much_of_the_text_was_seen() -> None:
    coverage = Coverage(round=2, pass_chunks=1000, merged_once=110, merged_again=2)
    summary = summarize(progress(coverage=coverage), ENDS, None, 12.3)
    assert summary.to_json()["coverage"]["merged_once"] == 110
    line = "text     11 % seen once, 0.2 % twice or more, 89 % not yet"
    assert line in describe(summary, ENDS)


def test_a_killed_peer_is_no_fault_everything_else_is_named() -> None:
    assert fault(progress(), ENDS, "model") is None
    odd = [RoundProgress(round=7, committed=True, distinct_digests=2)]
    cases = [
        (progress(target_tokens=2000), ENDS, "model", "1,000 of 2,000 tokens"),
        (torn(progress(rounds=odd)), ENDS, "model", "round 7 with different models"),
        (progress(), [PeerEnd("peer-4", "Qm", -11)], "model", r"exit code other than 0: peer-4"),
        (progress(), ENDS, None, "no model was written"),
    ]
    for state, ends, model, words in cases:
        assert words in (fault(state, ends, model) or "")


def torn(state: RunProgress) -> RunProgress:
    state.digests_agree = False
    return state


# ---- the screen ------------------------------------------------------------------------


def scene(happenings: int = 30, rounds: int = 30) -> Scene:
    state = progress(rounds=[RoundProgress(round=9, committed=True)] * rounds)
    peers = [
        PeerLine("peer-1", SURVIVOR.peer_id),
        PeerLine("peer-2", VICTIM.peer_id, "killed with SIGKILL"),
        PeerLine("peer-3", ""),
    ]
    told = [Happening(it, f"happening {it}, [told] in more words") for it in range(happenings)]
    return Scene(1000, 65.0, peers, state, told)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (70, 20)])
def test_the_screen_fits_and_tells(width: int, height: int) -> None:
    console = Console(file=io.StringIO(), width=width, height=height, record=True)
    console.print(screen(scene(), height))
    lines = console.export_text().splitlines()
    assert len(lines) < height
    assert max(map(len, lines)) <= width
    shown = "\n".join(lines)
    for words in ("1,000 of 1,000 (100 %) 1:05", "killed with", "starting", "happening 29"):
        assert words in shown
    assert "validation loss 2.250 (at first 5.500)" in shown


def test_without_a_terminal_each_thing_is_told_once_in_plain_lines() -> None:
    output = io.StringIO()
    told = scene(happenings=1)
    with View(Console(file=output, width=40)) as view:
        view.show(Scene(1000))
        view.show(told)
        view.show(told)
    assert output.getvalue().splitlines() == [
        "   0.0 s  happening 0, [told] in more words",
        "  65.0 s  round 2: 1,000 tokens (100 %), 1,234 tokens/s,"
        " validation loss 2.250 (at first 5.500)",
    ]


def test_interrupts_are_counted_and_the_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with Interrupts() as interrupts:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert interrupts.count == 2
    assert signal.getsignal(signal.SIGTERM) is before

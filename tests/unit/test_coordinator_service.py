"""What a coordinator takes from strangers, and what it refuses."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from coordinator.domain import (
    Coverage,
    ForeignRunError,
    ForgedReportError,
    InvalidReportError,
    InvalidSpecError,
    RunFullError,
    SpecChangedError,
    UnknownRunError,
)
from coordinator.registration import sign
from coordinator.reports import intake
from coordinator.reports.intake import MAX_OUTCOMES, MAX_REASON
from coordinator.reports.room import Limits
from coordinator.rpc.listening import dialled_host, host_port
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from swarmpb.signing import SigningKey
from swarmpb.spec import preset
from swarmpb.v1 import coordinator_pb2
from tests.reporting import identity, round_message, signed_report

COVERAGE = coordinator_pb2.Coverage
SMALL = Limits(peers_per_run=2, rows_per_hour=4, silent_seconds=60.0)


@dataclass
class Clock:
    seconds: float = 1000.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Desk:
    """A coordinator with the run `demo`, and what a test needs to play with it."""

    store: Store
    owner: SigningKey
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.service = self.restarted()
        self.service.register(sign(preset("demo"), self.owner))

    def restarted(self) -> CoordinatorService:
        """Another coordinator, from what the first one kept."""
        return CoordinatorService(self.store, now=self.clock, limits=SMALL)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    owner = SigningKey.load_or_create(tmp_path / "owner.key")
    with closing(Store.open(tmp_path / "coordinator.sqlite")) as store:
        yield Desk(store, owner)


# ---- runs ------------------------------------------------------------------------------


def test_the_same_spec_again_changes_nothing(desk: Desk) -> None:
    first = desk.service.run("demo")
    desk.clock.seconds += 100
    assert desk.service.register(sign(preset("demo"), desk.owner)) == first
    assert desk.service.runs() == [first]


def test_another_spec_under_a_known_run_id_is_refused(desk: Desk) -> None:
    changed = preset("demo").model_copy(update={"seed": 2})
    with pytest.raises(SpecChangedError, match="another run_id"):
        desk.service.register(sign(changed, desk.owner))


def test_a_run_belongs_to_its_first_owner(desk: Desk, tmp_path: Path) -> None:
    thief = SigningKey.load_or_create(tmp_path / "thief.key")
    with pytest.raises(SpecChangedError, match="another owner"):
        desk.service.register(sign(preset("demo"), thief))


@pytest.mark.parametrize(
    ("field_name", "value", "complaint"),
    [
        ("spec", b"{}", "run_id: missing"),
        ("spec", b"x" * 70_000, "bytes"),
        ("spec", b" " + preset("demo").canonical(), "canonical"),
        ("spec", preset("internet").canonical(), "hash"),
        ("hash", b"h" * 32, "signature"),
        ("signature", b"s" * 64, "signature"),
        ("owner_key", b"short", "signature"),
    ],
)
def test_a_spec_that_does_not_hold_together_is_refused(
    desk: Desk, field_name: str, value: bytes, complaint: str
) -> None:
    signed = sign(preset("demo"), desk.owner)
    setattr(signed, field_name, value)
    with pytest.raises(InvalidSpecError, match=complaint):
        desk.service.register(signed)


def test_an_unknown_run_is_refused_with_the_way_to_the_known_ones(desk: Desk) -> None:
    with pytest.raises(UnknownRunError, match="coordinator run list"):
        desk.service.progress("nope")
    with pytest.raises(UnknownRunError):
        desk.service.take_report(signed_report(identity(), run_id="nope"))


# ---- reports ---------------------------------------------------------------------------


def test_progress_is_the_same_after_a_restart(desk: Desk) -> None:
    validation = coordinator_pb2.Validation(round=1, run_tokens=1000, loss=4.5)
    desk.service.take_report(
        signed_report(
            identity(),
            train_loss=2.5,
            rounds=[round_message(1), round_message(2)],
            validations=[validation],
        )
    )
    before = desk.service.progress("demo")
    assert (before.round, before.tokens, before.rounds_committed) == (2, 2000, 2)
    assert (before.train_loss, before.validation_loss) == (2.5, 4.5)
    assert desk.restarted().progress("demo") == before


def test_a_report_delivered_twice_counts_once(desk: Desk) -> None:
    envelope = signed_report(identity(), sequence=7, rounds=[round_message(1)])
    for _ in range(2):
        assert desk.service.take_report(envelope).sequence == 7
    assert desk.service.progress("demo").rounds[0].finished_by == 1


def test_a_late_report_tells_its_rounds_and_changes_nothing_newer(desk: Desk) -> None:
    newer = signed_report(identity(), sequence=7, phase="averaging")
    desk.service.take_report(newer)
    late = signed_report(identity(), sequence=6, phase="joining", rounds=[round_message(1)])
    assert desk.service.take_report(late).sequence == 7, "so that the peer goes on from there"
    progress = desk.service.progress("demo")
    assert [it.state.phase for it in progress.peers] == ["averaging"]
    assert progress.rounds_committed == 1


# ---- journals --------------------------------------------------------------------------


def told(after: int, last: int, sequence: int, journal: bytes = b"one", **fields: Any) -> Any:
    """A report of the rows of a journal that have these numbers, a round each."""
    rounds = [round_message(number) for number in range(after + 1, last + 1)]
    rows = {"after_row": after, "last_row": last, "journal": journal, "rounds": rounds}
    return signed_report(identity(), sequence=sequence, **(rows | fields))


def taken(service: CoordinatorService, envelope: Any) -> tuple[int, int]:
    """What a report is answered: sequence and row."""
    answer = service.take_report(envelope)
    return answer.sequence, answer.taken_row


def test_a_peer_hears_up_to_which_row_its_journal_is_taken(desk: Desk) -> None:
    take = partial(taken, desk.service)
    assert take(told(0, 0, sequence=1)) == (1, 0)
    assert take(told(0, 2, sequence=2)) == (2, 2)
    assert take(told(2, 3, sequence=3)) == (3, 3)
    assert take(told(0, 2, sequence=4)) == (4, 3), "an answer had been lost"
    assert taken(desk.restarted(), told(0, 0, sequence=5)) == (5, 3)


def test_rows_after_a_gap_are_kept_but_the_gap_is_asked_for(desk: Desk) -> None:
    take = partial(taken, desk.service)
    assert take(told(3, 4, sequence=1)) == (1, 0)
    assert desk.service.progress("demo").rounds_committed == 1
    assert take(told(0, 3, sequence=2)) == (2, 3)
    assert take(told(3, 4, sequence=3)) == (3, 4)
    assert desk.service.progress("demo").rounds_committed == 4


def test_a_peer_that_lost_its_journal_begins_another(desk: Desk) -> None:
    take = partial(taken, desk.service)
    take(told(0, 3, sequence=5))
    assert take(told(0, 0, sequence=6, journal=b"two")) == (6, 0)
    assert take(told(0, 2, sequence=7, journal=b"two")) == (7, 2)
    # one of the first journal that comes late does not bring that back
    assert take(told(3, 4, sequence=4)) == (7, 0)
    assert take(told(2, 3, sequence=8, journal=b"two")) == (8, 3)


def test_what_is_told_again_takes_no_room(desk: Desk) -> None:
    desk.service.take_report(told(0, 4, sequence=1))
    desk.service.take_report(told(0, 4, sequence=2, journal=b"two"))
    assert desk.service.progress("demo").rounds_committed == 4


# ---- a coordinator that lost its disk ----------------------------------------------------


def emptied(desk: Desk, path: Path, *owners: bytes) -> CoordinatorService:
    """Another coordinator, with nothing but the owners that it may serve."""
    return CoordinatorService(Store.open(path / "empty.sqlite"), now=desk.clock, owners=owners)


def test_a_lost_run_is_restored_from_its_signed_spec_and_the_peers_reports(
    desk: Desk, tmp_path: Path
) -> None:
    reports = [
        signed_report(identity(number), rounds=[round_message(it) for it in (1, 2)], tokens=600)
        for number in range(2)
    ]
    for envelope in reports:
        desk.service.take_report(envelope)
    fresh = emptied(desk, tmp_path, desk.owner.public_key)
    with pytest.raises(UnknownRunError):
        fresh.take_report(reports[0])
    for _ in range(2):
        assert fresh.restore(sign(preset("demo"), desk.owner)).run_id == "demo"
    for envelope in reversed(reports):
        fresh.take_report(envelope)
    assert fresh.progress("demo") == desk.service.progress("demo")


def test_a_run_of_an_owner_that_nobody_named_is_not_restored(desk: Desk, tmp_path: Path) -> None:
    fresh = emptied(desk, tmp_path, bytes(32))
    advice = f"--restore-owner {desk.owner.public_key.hex()}"
    with pytest.raises(ForeignRunError, match=advice):
        fresh.restore(sign(preset("demo"), desk.owner))
    assert fresh.runs() == []
    # where the run is known there is nothing to grant
    assert desk.service.restore(sign(preset("demo"), desk.owner)).run_id == "demo"


def test_only_what_the_owner_signed_is_restored(desk: Desk, tmp_path: Path) -> None:
    fresh = emptied(desk, tmp_path, desk.owner.public_key)
    forged = sign(preset("demo"), desk.owner)
    forged.spec = preset("demo").model_copy(update={"seed": 2}).canonical()
    with pytest.raises(InvalidSpecError):
        fresh.restore(forged)


# ---- where peers are ---------------------------------------------------------------------


def test_live_peers_are_found_where_they_say_they_are(desk: Desk) -> None:
    anna, bert = identity(0), identity(1)
    own = [f"/ip4/10.0.0.{number}/tcp/1/p2p/{anna.peer_id}" for number in range(9)]
    others = [f"/ip4/10.0.0.1/tcp/1/p2p/{bert.peer_id}", "garbage"]
    desk.service.take_report(signed_report(anna, addresses=others + own))
    desk.service.take_report(signed_report(bert))
    assert desk.service.whereabouts() == {
        "demo": {anna.peer_id: tuple(own[: intake.KEPT_ADDRESSES])}
    }
    desk.clock.seconds += 60
    assert desk.service.whereabouts() == {}


# ---- coverage of the text ----------------------------------------------------------------


def test_coverage_of_the_newest_round_is_shown_and_kept(desk: Desk) -> None:
    assert desk.service.progress("demo").coverage is None
    for sequence, at_round in enumerate((2, 4, 3), 1):
        coverage = coordinator_pb2.Coverage(
            round=at_round, pass_chunks=100, merged_once=10 * at_round, merged_again=1
        )
        desk.service.take_report(signed_report(identity(), sequence=sequence, coverage=coverage))
    wanted = Coverage(round=4, pass_chunks=100, passes=0, merged_once=40, merged_again=1)
    assert desk.service.progress("demo").coverage == wanted
    assert desk.restarted().progress("demo").coverage == wanted


def test_a_report_in_the_name_of_another_peer_is_refused(desk: Desk) -> None:
    forged = signed_report(identity(0), peer_id=identity(1).peer_id)
    with pytest.raises(ForgedReportError, match="signed it"):
        desk.service.take_report(forged)
    assert desk.service.progress("demo").peers == ()


def test_a_changed_unsigned_or_differently_meant_report_is_refused(desk: Desk) -> None:
    changed = signed_report(identity())
    changed.payload += b"\x18\x09"
    unsigned = signed_report(identity())
    unsigned.ClearField("signature")
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    other_key = signed_report(identity())
    other_key.public_key = curve.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    meant_for_the_swarm = identity().seal("record", signed_report(identity()).payload)
    for envelope in (changed, unsigned, other_key, meant_for_the_swarm):
        with pytest.raises(ForgedReportError):
            desk.service.take_report(envelope)


def test_a_signed_report_of_noise_is_refused(desk: Desk) -> None:
    with pytest.raises(InvalidReportError, match="decoded"):
        desk.service.take_report(identity().seal("report", b"\xff\xff\xff"))


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"tokens_per_second": math.nan}, "tokens_per_second is nan"),
        ({"energy_joules": math.inf}, "energy_joules is inf"),
        ({"tokens_per_second": math.inf}, "tokens_per_second is inf"),
        ({"tokens_per_second": -1.0}, "tokens_per_second is -1"),
        ({"tokens_per_second": 1e30}, "tokens_per_second"),
        ({"round": 2**63}, "round is"),
        ({"tokens": 2**64 - 1}, "tokens is"),
        ({"sequence": 2**63}, "sequence is"),
        ({"rounds": [round_message(1, seconds=math.nan)]}, "seconds is nan"),
        ({"rounds": [round_message(1, run_tokens=2**63)]}, "run_tokens"),
        ({"rounds": [round_message(10**10)]}, "outcome.round"),
        ({"rounds": [round_message(1, digest=b"short")]}, "digest has 5 bytes"),
        ({"rounds": [round_message(1, attempt=b"a" * 33)]}, "attempt"),
        ({"rounds": [round_message(1)] * (MAX_OUTCOMES + 1)}, "rounds is 513"),
        ({"validations": [coordinator_pb2.Validation(round=1)] * 65}, "validations is 65"),
        ({"journal": b"j" * 17}, "journal's name is 17"),
        ({"last_row": 2**63}, "last_row is"),
        ({"coverage": COVERAGE(pass_chunks=2**60)}, "coverage.pass_chunks"),
        ({"coverage": COVERAGE(pass_chunks=9, merged_once=5, merged_again=5)}, "merged_once is 5"),
        ({"coverage": COVERAGE(pass_chunks=9, merged_again=10)}, "merged_again is 10"),
    ],
)
def test_numbers_out_of_bounds_refuse_the_whole_report(
    desk: Desk, fields: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InvalidReportError, match=complaint):
        desk.service.take_report(signed_report(identity(), **fields))
    assert desk.service.progress("demo").peers == ()


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf, -1.0])
def test_a_loss_that_is_no_number_is_no_loss(desk: Desk, loss: float) -> None:
    validation = coordinator_pb2.Validation(round=1, loss=loss)
    desk.service.take_report(signed_report(identity(), train_loss=loss, validations=[validation]))
    progress = desk.service.progress("demo")
    assert (progress.train_loss, progress.validation_loss) == (None, None)
    assert progress.peers_live == 1


def test_text_from_strangers_is_cut_and_cannot_drive_a_terminal(desk: Desk) -> None:
    desk.service.take_report(
        signed_report(identity(), name="\x1b[31mred\nline\u202e", reason="long " * 1000)
    )
    (only,) = desk.service.progress("demo").peers
    assert only.state.name == " [31mred line "
    assert len(only.state.reason) == MAX_REASON
    assert only.state.reason.endswith("…")


# ---- floods ----------------------------------------------------------------------------


def test_one_peer_cannot_fill_the_disk_in_an_hour(desk: Desk) -> None:
    desk.service.take_report(
        signed_report(identity(), rounds=[round_message(number) for number in range(1, 5)])
    )
    more = signed_report(identity(), sequence=2, rounds=[round_message(9)])
    with pytest.raises(RunFullError, match="from one peer; try again later"):
        desk.service.take_report(more)
    assert desk.service.progress("demo").rounds_committed == 4
    desk.clock.seconds += 3600
    desk.service.take_report(more)
    assert desk.service.progress("demo").rounds_committed == 5


def test_a_crowd_cannot_push_out_peers_that_report(desk: Desk) -> None:
    for number in range(2):
        desk.service.take_report(signed_report(identity(number)))
    with pytest.raises(RunFullError, match="2 peers"):
        desk.service.take_report(signed_report(identity(2)))
    desk.service.take_report(signed_report(identity(0), sequence=2))


def test_a_full_run_forgets_the_peer_that_was_silent_longest(desk: Desk) -> None:
    for number in range(2):
        desk.service.take_report(signed_report(identity(number)))
        desk.clock.seconds += 1
    desk.clock.seconds += SMALL.silent_seconds
    desk.service.take_report(signed_report(identity(2)))
    kept = {identity(1).peer_id, identity(2).peer_id}
    assert {it.state.peer_id for it in desk.service.progress("demo").peers} == kept
    assert {it.state.peer_id for it in desk.restarted().progress("demo").peers} == kept


# ---- addresses -------------------------------------------------------------------------


def test_a_coordinator_on_every_interface_names_one_that_others_reach() -> None:
    seen = ["/ip4/127.0.0.1/tcp/7701/p2p/Qm", "/ip4/10.0.0.7/tcp/7701/p2p/Qm"]
    assert dialled_host("0.0.0.0", seen) == "10.0.0.7"  # noqa: S104
    assert dialled_host("0.0.0.0", seen[:1]) == "127.0.0.1"  # noqa: S104
    assert dialled_host("127.0.0.1", seen) == "127.0.0.1"
    assert host_port("::1", 7700) == "[::1]:7700"

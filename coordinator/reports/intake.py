"""The door: what strangers report is bounded and checked here, before it is kept or summed.

Numbers out of bounds refuse the whole report, with a line that names them. Text is cut and
stripped of what a terminal would obey. A loss that is no number becomes None: a peer whose
training diverged must still be able to say so.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TypeVar

from google.protobuf.message import DecodeError

from coordinator.domain import (
    Coverage,
    ForgedReportError,
    InvalidReportError,
    Outcome,
    PeerState,
    Report,
    Validation,
)
from coordinator.rosters import Roster, RosterEntry
from swarmpb.addresses import dialable
from swarmpb.signing import BadSignatureError, open_envelope
from swarmpb.v1 import coordinator_pb2, swarm_pb2

REPORT_KIND = "report"

_Kept = TypeVar("_Kept", bytes, str)

MAX_OUTCOMES = 512
MAX_VALIDATIONS = 64
MAX_ROUND = 10**9
MAX_TOKENS = 10**16
MAX_BYTES = 1 << 50
MAX_TOKENS_PER_SECOND = 1e9
MAX_ROUND_SECONDS = 7 * 86_400.0
MAX_MEMBERS = 4096
MAX_TIME_MS = 1 << 50
MAX_SEQUENCE = (1 << 63) - 1
MAX_ROW = (1 << 63) - 1
MAX_CHUNKS = 10**15
MAX_LOSS = 1e6
DIGEST_BYTES = 32
MAX_ATTEMPT_BYTES = 32
MAX_JOURNAL_BYTES = 16
KEPT_ADDRESSES = 4
MAX_CORES = 1 << 16
MAX_MEMORY_BYTES = 1 << 50
MAX_RATE = 1 << 40
"""Bytes per second of a link."""
MAX_JOULES = 1e15
"""A gigawatt for eleven days."""
MAX_ROSTERS = 4
MAX_ROSTER_MEMBERS = 64
MAX_PARTS = 4096
REACHES = frozenset({"direct", "relayed", "outgoing only"})

MAX_PHASE = 32
MAX_REASON = 300
MAX_NAME = 64
MAX_VERSION = 32
MAX_HARDWARE = 80
MAX_PEER_ID = 100


def read_report(envelope: swarm_pb2.Envelope, received_at: float) -> Report:
    """The checked report in an envelope that arrived at `received_at` (unix seconds).

    `ForgedReportError` if its peer did not sign it, `InvalidReportError` if it is no report.
    """
    try:
        signer, payload = open_envelope(envelope, REPORT_KIND)
    except BadSignatureError as error:
        raise ForgedReportError(f"report refused: {error}") from error
    message = coordinator_pb2.ProgressReport()
    try:
        message.ParseFromString(payload)
    except DecodeError as error:
        raise InvalidReportError("report refused: it cannot be decoded") from error
    if message.peer_id != signer:
        raise ForgedReportError(
            f"report refused: it names peer {line(message.peer_id, MAX_NAME)!r},"
            f" but {signer} signed it"
        )
    return _checked(message, signer, received_at)


def _checked(message: coordinator_pb2.ProgressReport, peer_id: str, received_at: float) -> Report:
    _at_most("rounds", len(message.rounds), MAX_OUTCOMES)
    _at_most("validations", len(message.validations), MAX_VALIDATIONS)
    _at_most("rosters", len(message.rosters), MAX_ROSTERS)
    return Report(
        run_id=message.run_id,
        peer=_peer_state(message, peer_id, received_at),
        outcomes=tuple(_outcome(peer_id, outcome) for outcome in message.rounds),
        validations=tuple(
            Validation(
                peer_id=peer_id,
                round=_at_most("validation.round", validation.round, MAX_ROUND),
                run_tokens=_at_most("validation.run_tokens", validation.run_tokens, MAX_TOKENS),
                loss=_loss(validation.loss),
            )
            for validation in message.validations
        ),
        after_row=_at_most("after_row", message.after_row, MAX_ROW),
        last_row=_at_most("last_row", message.last_row, MAX_ROW),
        addresses=_own_addresses(message),
        coverage=_coverage(message.coverage) if message.HasField("coverage") else None,
        orders_rank=(message.orders_serial, message.orders_sequence),
        rosters=tuple(_roster(roster) for roster in message.rosters),
    )


def _own_addresses(message: coordinator_pb2.ProgressReport) -> tuple[str, ...]:
    """Those that p2pd can read and that lead to the signer: nobody names another's."""
    named = dialable(message.addresses[: 4 * KEPT_ADDRESSES])
    own = [address for address in named if address.endswith(f"/p2p/{message.peer_id}")]
    return tuple(own[:KEPT_ADDRESSES])


def _coverage(message: coordinator_pb2.Coverage) -> Coverage:
    pass_chunks = _at_most("coverage.pass_chunks", message.pass_chunks, MAX_CHUNKS)
    again = _at_most("coverage.merged_again", message.merged_again, pass_chunks)
    return Coverage(
        round=_at_most("coverage.round", message.round, MAX_ROUND),
        pass_chunks=pass_chunks,
        passes=_at_most("coverage.passes", message.passes, MAX_CHUNKS),
        merged_once=_at_most("coverage.merged_once", message.merged_once, pass_chunks - again),
        merged_again=again,
    )


def _peer_state(
    message: coordinator_pb2.ProgressReport, peer_id: str, received_at: float
) -> PeerState:
    _at_most("bytes of a journal's name", len(message.journal), MAX_JOURNAL_BYTES)
    hardware, link = message.hardware, message.link
    return PeerState(
        peer_id=peer_id,
        sequence=_at_most("sequence", message.sequence, MAX_SEQUENCE),
        received_at=received_at,
        phase=line(message.phase, MAX_PHASE),
        reason=line(message.reason, MAX_REASON),
        round=_at_most("round", message.round, MAX_ROUND),
        tokens=_at_most("tokens", message.tokens, MAX_TOKENS),
        tokens_per_second=_measure(
            "tokens_per_second", message.tokens_per_second, MAX_TOKENS_PER_SECOND
        ),
        train_loss=_loss(message.train_loss),
        name=line(message.name, MAX_NAME),
        version=line(message.version, MAX_VERSION),
        journal=message.journal,
        processor=line(hardware.processor, MAX_HARDWARE),
        cores=_at_most("hardware.cores", hardware.cores, MAX_CORES),
        memory_bytes=_at_most("hardware.memory_bytes", hardware.memory_bytes, MAX_MEMORY_BYTES),
        accelerator=line(hardware.accelerator, MAX_HARDWARE),
        system=line(hardware.system, MAX_PHASE),
        upload=_at_most("link.upload", link.upload, MAX_RATE),
        download=_at_most("link.download", link.download, MAX_RATE),
        reach=message.reach if message.reach in REACHES else "",
        energy_joules=_measure("energy_joules", message.energy_joules, MAX_JOULES),
    )


@lru_cache(maxsize=20_000)
def _same(value: _Kept) -> _Kept:
    """An equal value that was seen before: thousands of reports tell the same, and are kept."""
    return value


def _outcome(peer_id: str, message: coordinator_pb2.RoundOutcome) -> Outcome:
    _at_most("bytes of an attempt", len(message.attempt), MAX_ATTEMPT_BYTES)
    if message.digest:
        _digest(message.digest)
    return Outcome(
        peer_id=peer_id,
        round=_at_most("outcome.round", message.round, MAX_ROUND),
        attempt=_same(message.attempt),
        committed=message.committed,
        included=message.committed and message.included,
        reason=line(message.reason, MAX_REASON),
        digest=_same(message.digest),
        run_tokens=_at_most("outcome.run_tokens", message.run_tokens, MAX_TOKENS),
        own_tokens=_at_most("outcome.own_tokens", message.own_tokens, MAX_TOKENS),
        bytes_sent=_at_most("outcome.bytes_sent", message.bytes_sent, MAX_BYTES),
        bytes_received=_at_most("outcome.bytes_received", message.bytes_received, MAX_BYTES),
        seconds=_measure("outcome.seconds", message.seconds, MAX_ROUND_SECONDS),
        members=_at_most("outcome.members", message.members, MAX_MEMBERS),
        finished_at_ms=_at_most("outcome.finished_at_ms", message.finished_at_ms, MAX_TIME_MS),
        train_loss=_loss(message.train_loss),
        round_seconds=_measure("outcome.round_seconds", message.round_seconds, MAX_ROUND_SECONDS),
    )


def _roster(message: coordinator_pb2.RoundRoster) -> Roster:
    _at_most("members of a roster", len(message.members), MAX_ROSTER_MEMBERS)
    _at_most("bytes of an attempt", len(message.attempt), MAX_ATTEMPT_BYTES)
    names = [member.peer_id for member in message.members]
    if not names or not message.attempt or not message.parts:
        raise InvalidReportError("report refused: a roster names no members, attempt or parts")
    if names != sorted(set(names)) or not all(map(_looks_like_peer_id, names)):
        raise InvalidReportError("report refused: a roster's members are no peer ids in order")
    return Roster(
        round=_at_most("roster.round", message.round, MAX_ROUND),
        attempt=message.attempt,
        digest=_digest(message.digest),
        parts=_at_most("roster.parts", message.parts, MAX_PARTS),
        members=tuple(_entry(member, message.parts) for member in message.members),
    )


def _entry(message: coordinator_pb2.RosterEntry, parts: int) -> RosterEntry:
    merged_parts = _at_most("parts of a member", message.parts, parts)
    return RosterEntry(
        peer_id=message.peer_id,
        tokens=_at_most("tokens of a member", message.tokens, MAX_TOKENS),
        parts=merged_parts,
        merged=message.merged and merged_parts > 0,
        reason=line(message.reason, MAX_REASON),
    )


def _looks_like_peer_id(text: str) -> bool:
    return 0 < len(text) <= MAX_PEER_ID and text.isascii() and text.isalnum()


def _digest(digest: bytes) -> bytes:
    if len(digest) != DIGEST_BYTES:
        raise InvalidReportError(
            f"report refused: a digest has {len(digest)} bytes, not {DIGEST_BYTES}"
        )
    return digest


def _at_most(what: str, value: int, top: int) -> int:
    if value > top:
        raise InvalidReportError(f"report refused: {what} is {value}; at most {top} is taken")
    return value


def _measure(what: str, value: float, top: float) -> float:
    # written so that NaN fails it too
    if not 0 <= value <= top:
        raise InvalidReportError(f"report refused: {what} is {value}, not between 0 and {top:g}")
    return value


def _loss(value: float) -> float | None:
    if not math.isfinite(value) or value < 0:
        return None
    return min(value, MAX_LOSS)


def line(text: str, limit: int) -> str:
    """`text` as at most `limit` printable characters: no line breaks, no escape sequences."""
    if len(text) <= limit and text.isprintable():
        return text
    shown = "".join(letter if letter.isprintable() else " " for letter in text[: limit + 1])
    return shown if len(shown) <= limit else shown[: limit - 1] + "…"

"""`peer receipts`: what this machine's peer was credited with, signed by who speaks for the run.

The coordinator is believed nothing that the run's owner has not let it say: the owner's key was
learnt when the run was joined, signs the charter, and so names the key that signs receipts.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from peer.coordinator_client import CoordinatorClient, CoordinatorUnreachable
from peer.membership_files import load_orders
from peer.run_metadata import RunMetadata, load_metadata, require_same_run
from peer.screen.plain import one_line
from swarmpb.exits import Exit, UserError
from swarmpb.membership import RunIdentity, read_orders
from swarmpb.receipts import read_receipt
from swarmpb.signing import BadSignatureError, PeerIdentity
from swarmpb.v1 import coordinator_pb2

MOST = 10_000
"""Receipts in one answer to the user."""

Receipt = coordinator_pb2.RoundReceipt


async def receipts_of(
    folder: Path, key: Path, client: CoordinatorClient, run_id: str, most: int
) -> list[Receipt]:
    """The newest receipts of the peer with this key, checked; at most `most`, the newest first.

    folder: the run's on this machine. Raises `UserError`.
    """
    kept, peer_id = _who_joined(folder, key, run_id)
    try:
        published = await client.run(run_id)
        require_same_run(kept, published)
        authority = _authority(published, folder)
        found: list[Receipt] = []
        while len(found) < min(most, MOST):
            before = found[-1].round if found else 0
            told = await client.receipts(run_id, peer_id, before)
            page = checked(told, kept.identity, authority, peer_id, before)
            if not page:
                break
            found += page
    except CoordinatorUnreachable as error:
        raise UserError(Exit.COORDINATOR_UNREACHABLE, str(error)) from error
    return found[:most]


def _who_joined(folder: Path, key: Path, run_id: str) -> tuple[RunMetadata, str]:
    """The run as this machine joined it, and its peer's id there."""
    kept = load_metadata(folder, run_id)
    if kept is None or not key.exists():
        raise UserError(
            Exit.NOT_RUNNING, f"this machine has never joined run {run_id}: it has no receipts"
        )
    return kept, PeerIdentity.load(key).peer_id


def checked(
    told: Sequence[coordinator_pb2.SignedReceipt],
    run: RunIdentity,
    authority: bytes,
    peer_id: str,
    before: int,
) -> list[Receipt]:
    """What was told, if all of it is signed and in its order; else `UserError`."""
    receipts: list[Receipt] = []
    for signed in told:
        try:
            receipt = read_receipt(signed, run, authority, peer_id)
        except BadSignatureError as error:
            raise UserError(
                Exit.WRONG_COORDINATOR, f"the coordinator tells a receipt that is none: {error}"
            ) from error
        if before and receipt.round >= before:
            raise UserError(Exit.WRONG_COORDINATOR, "the coordinator tells a receipt twice")
        receipts.append(receipt)
        before = receipt.round
    return receipts


def _authority(published: RunMetadata, folder: Path) -> bytes:
    """The key that speaks for the run, by its owner's word."""
    signed = published.orders or load_orders(folder)
    if signed is None:
        raise UserError(
            Exit.REFUSED,
            "nobody speaks for this run, so nobody signs receipts; its owner lets the coordinator"
            " by `coordinator run create` with the run's spec",
        )
    try:
        return read_orders(signed, published.identity).authority
    except BadSignatureError as error:
        raise UserError(
            Exit.WRONG_COORDINATOR, f"the coordinator does not speak for this run: {error}"
        ) from error


def describe(receipts: Sequence[Receipt]) -> str:
    """A line for each round and their sum."""
    if not receipts:
        return "no receipts yet: no round with this peer as a member has been told"
    lines = [f"{'round':>8}  {'when':<16}  {'claimed':>12}  {'merged':>12}  told by"]
    for it in receipts:
        when = time.strftime("%Y-%m-%d %H:%M", time.localtime(it.at_ms / 1000))
        teller = f"others, {it.witnesses} witnesses" if it.observed else "this peer only"
        why = f": {one_line(it.reason)}" if it.reason else ""
        numbers = f"{it.claimed_tokens:>12,}  {it.merged_tokens:>12,}"
        lines.append(f"{it.round:>8}  {when:<16}  {numbers}  {teller}{why}")
    merged = sum(it.merged_tokens for it in receipts)
    observed = sum(it.merged_tokens for it in receipts if it.observed)
    lines.append(f"{len(receipts)} receipts, all signed: {merged:,} tokens merged,"
                 f" {observed:,} of them told by others")  # fmt: skip
    return "\n".join(lines)


def facts(receipts: Sequence[Receipt]) -> list[dict[str, object]]:
    """The same for scripts."""
    return [
        {
            "round": it.round,
            "at": it.at_ms / 1000,
            "attempt": it.attempt.hex(),
            "claimed_tokens": it.claimed_tokens,
            "merged_tokens": it.merged_tokens,
            "included": it.included,
            "reason": it.reason,
            "observed": it.observed,
            "witnesses": it.witnesses,
        }
        for it in receipts
    ]

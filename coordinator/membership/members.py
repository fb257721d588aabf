"""The members of runs by invitation, and whom the owner has banned: in memory, and kept."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from coordinator.domain import Member, RunFullError
from coordinator.storage.membership import MembershipStore

MEMBERS_KEPT = 16_384
"""Of one run: an invitation for any number of uses does not fill the disk."""
WORTH_WRITING = 600.0
"""Seconds: a certificate that ends no later than this after the last one is not written down."""


class Members:
    """What is known of every run's members. Reports ask for each peer, so it is all in memory."""

    def __init__(self, kept: MembershipStore) -> None:
        self._kept = kept
        self._by_run: dict[str, dict[str, Member]] = {}

    def load(self, run_ids: Iterable[str]) -> None:
        """Read what is kept of these runs."""
        for run_id in run_ids:
            self._by_run[run_id] = {it.peer_id: it for it in self._kept.members(run_id)}

    def of(self, run_id: str) -> dict[str, Member]:
        """By peer id; not to be changed."""
        return self._by_run.get(run_id, {})

    def is_admitted(self, run_id: str, peer_id: str) -> bool:
        """Whether a peer was ever let in; a ban is another matter."""
        member = self.of(run_id).get(peer_id)
        return member is not None and member.admitted_at is not None

    def admit(
        self, run_id: str, peer_id: str, now: float, until: float, invitation: bytes = b""
    ) -> None:
        """Note a certificate that ends at `until`; `RunFullError` if there are too many members."""
        known = self.of(run_id).get(peer_id) or Member(peer_id)
        first = known.admitted_at is None
        if not first and until - (known.certified_until or 0.0) < WORTH_WRITING:
            return
        self._put(
            run_id,
            replace(
                known,
                admitted_at=now if first else known.admitted_at,
                certified_until=until,
                invitation=invitation or known.invitation,
            ),
        )

    def ban(self, run_id: str, peer_id: str, now: float, reason: str) -> None:
        """Note a ban and why."""
        known = self.of(run_id).get(peer_id) or Member(peer_id)
        self._put(run_id, replace(known, banned_at=known.banned_at or now, ban_reason=reason))

    def unban(self, run_id: str, peer_id: str) -> None:
        """Take a ban back; whoever was a member is one again."""
        known = self.of(run_id).get(peer_id)
        if known is not None:
            self._put(run_id, replace(known, banned_at=None, ban_reason=""))

    def forget(self, run_id: str) -> None:
        """The run has been deleted, in the store too."""
        self._by_run.pop(run_id, None)

    def _put(self, run_id: str, member: Member) -> None:
        of_run = self._by_run.setdefault(run_id, {})
        if member.peer_id not in of_run and len(of_run) >= MEMBERS_KEPT:
            raise RunFullError(f"run {run_id} has {MEMBERS_KEPT} members, as many as are kept")
        self._kept.put_member(run_id, member)
        of_run[member.peer_id] = member

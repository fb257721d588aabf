"""Who may take part in a run, by the newest orders that this peer knows: its network's gate. Pure.

Whatever is told here was signed by who speaks for the run, so it does not matter who hands it on.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from peer.orders import NO_RANK, Course, Rank, course_of
from peer.swarm.interface import Barred, short
from swarmpb.membership import RunIdentity, StandingOrders, id_digest, read_certificate, read_orders
from swarmpb.signing import BadSignatureError
from swarmpb.v1 import membership_pb2

_REMEMBERED = 4096


class Members:
    """The standing orders, this peer's own certificate, and who was let in by them."""

    def __init__(self, run: RunIdentity, own: str, now: Callable[[], float]) -> None:
        """own: this peer's id; now: the swarm's time, unix seconds."""
        self.run = run
        self.own = own
        self.orders: StandingOrders | None = None
        self.certificate = b""
        """This peer's own, a serialised SignedCertificate; empty: it has none."""
        self.on_change: list[Callable[[], None]] = []
        """Called when newer orders hold."""
        self._now = now
        self._let_in: dict[str, tuple[bytes, float]] = {}
        """By peer id: what it showed, and until when that holds. Orders that change end it."""

    # ---- orders ------------------------------------------------------------------------

    @property
    def rank(self) -> Rank:
        return self.orders.rank if self.orders is not None else NO_RANK

    @property
    def course(self) -> Course:
        return course_of(self.orders, self.own)

    def take(self, signed: membership_pb2.SignedOrders) -> bool:
        """Obey these orders from now on, if they are newer than those that hold; whether they are.

        `BadSignatureError` if they are not genuine.
        """
        orders = read_orders(signed, self.run)
        if self.orders is not None and orders.rank <= self.orders.rank:
            return False
        self.orders = orders
        self._let_in.clear()
        for tell in self.on_change:
            tell()
        return True

    # ---- the gate ----------------------------------------------------------------------

    def credentials(self) -> bytes:
        return self.certificate

    def check(self, peer_id: str, credentials: bytes | None) -> None:
        shown = self._let_in.get(peer_id)
        if shown is not None and credentials in (None, shown[0]) and self._now() <= shown[1]:
            return
        until = self._until(peer_id, credentials)
        if credentials is not None:
            if len(self._let_in) >= _REMEMBERED:
                self._let_in.clear()
            self._let_in[peer_id] = (credentials, until)

    def admits(self, peer_id: str, certificate: bytes) -> bool:
        """Whether a peer may take part that shows this certificate."""
        try:
            self.check(peer_id, certificate)
        except Barred:
            return False
        return True

    def bans(self, peer_id: str) -> bool:
        """Whether the run's owner has banned a peer."""
        return self.orders is not None and self.orders.bans(peer_id)

    def _until(self, peer_id: str, credentials: bytes | None) -> float:
        """Until when what a peer shows lets it in, unix seconds; `Barred` if it does not."""
        run_id = self.run.run_id
        if not id_digest(peer_id):
            raise Barred("this peer id is none that could be told from others by its key")
        if self.bans(peer_id):
            raise Barred(f"peer {short(peer_id)} is banned from run {run_id} by its owner")
        if credentials is None or not self.by_invitation:
            return math.inf
        try:
            return self._valid_until(peer_id, credentials)
        except BadSignatureError as error:
            raise Barred(f"peer {short(peer_id)} is no member of run {run_id}: {error}") from error

    def _valid_until(self, peer_id: str, certificate: bytes) -> float:
        assert self.orders is not None, "asked by invitation only"  # noqa: S101  an invariant
        authority = self.orders.authority
        read = read_certificate(certificate, self.run, authority, peer_id, self._now())
        return read.not_after_ms / 1000

    # ---- this peer's own membership ----------------------------------------------------

    @property
    def by_invitation(self) -> bool:
        """Whether only members may take part."""
        return self.orders is not None and self.orders.invite_only

    def own_certificate(self) -> membership_pb2.Certificate:
        """This peer's, if others accept it now; else `BadSignatureError` says why not."""
        if self.orders is None:
            raise BadSignatureError("nobody speaks for the run")
        return read_certificate(
            self.certificate, self.run, self.orders.authority, self.own, self._now()
        )

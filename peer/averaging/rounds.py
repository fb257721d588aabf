"""A peer's part in rounds: cut when a leader says so, exchange, agree, adopt.

`leader.py` is the other side. Whatever goes wrong with another peer ends here as a void round
or a peer left out, with its reason; the trainer never waits for any of it.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from random import Random
from typing import Any

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from peer.averaging import methods
from peer.averaging.adoption import Adoption
from peer.averaging.answers import silence_seconds
from peer.averaging.archive import Archive
from peer.averaging.attempt import Attempt, LocalCut, outcome_of
from peer.averaging.coverage import chunks_message
from peer.averaging.deadlines import DEADLINES, Deadlines
from peer.averaging.decision import Decision, Voters, answer, promise_message, recover, void
from peer.averaging.exchange import Exchange
from peer.averaging.history import History
from peer.averaging.links import Link, link_message
from peer.averaging.local import Local, sound_cut
from peer.averaging.malformed import Malformed
from peer.averaging.manifest import Manifest, parse_manifest, report_message, report_of
from peer.averaging.missed import MissedRounds
from peer.averaging.own_codec import choose_codec
from peer.averaging.parts import HeldPart
from peer.averaging.roster import ATTEMPT_BYTES, Roster, parse_roster
from peer.averaging.vigil import wait_while_there
from peer.swarm.interface import (
    Handler,
    Method,
    Network,
    Refused,
    Stream,
    Unreachable,
    short,
    unary,
)
from swarmpb.spec import RunSpec
from swarmpb.v1 import swarm_pb2

log = logging.getLogger(__name__)

KEPT_ATTEMPTS = 8
LAST_WORDS_SECONDS = 1.5


class Rounds:
    """Takes part in the rounds of one run."""

    def __init__(
        self,
        network: Network,
        spec: RunSpec,
        local: Local,
        tasks: TaskGroup,
        clock: Callable[[], float],
        random: Random,
        deadlines: Deadlines = DEADLINES,
        history: History | None = None,
        client_mode: Callable[[], bool] = lambda: False,
    ) -> None:
        """client_mode: whether it has turned out that others cannot dial this peer."""
        self.network = network
        self.spec = spec
        self.local = local
        self.random = random
        self.deadlines = deadlines
        self.history = history or History(spec.round.codec)
        self.archive = Archive(network, spec, random, self.history)
        self.adoption = Adoption(local, self.history, network.peer_id)
        self.missed = MissedRounds(local, self.archive, self.history, self.adoption)
        self._spec_hash = spec.hash()
        self.tasks = tasks
        self._clock = clock
        self._client_mode = client_mode
        self._active: Attempt | None = None
        self._attempts: OrderedDict[bytes, Attempt] = OrderedDict()

    def handlers(self) -> dict[Method[Any, Any], Handler]:
        """The streams that this peer answers."""
        return {
            methods.CUT: unary(self._on_cut),
            methods.ROSTER: unary(self._on_roster),
            methods.EXCHANGE: self._on_exchange,
            methods.PART: self._on_part,
            methods.AGREEMENT: unary(self._on_agreement),
            methods.MANIFEST: unary(self.archive.on_manifest),
            methods.LINEAGE: unary(self.archive.on_lineage),
        }

    @property
    def link(self) -> Link:
        """This peer's link as its last exchanges have shown it."""
        cannot_be_dialled = not self.network.addresses or self._client_mode()
        return replace(self.history.links.link, client_mode=cannot_be_dialled)

    # ---- an attempt, from cut to conclusion --------------------------------------------

    def enlist(self, attempt_id: bytes, leader: str) -> Attempt:
        """Be in an attempt from now on; `Refused` if this peer cannot take part in it."""
        if self._active is not None:
            raise Refused(f"round {self._active.base.round} is still being decided")
        if why := self.local.unwilling():
            raise Refused(why)
        self.local.began(leader)
        base = self.local.state
        nothing = LocalCut(base.parameters, 0, float("nan"))
        attempt = Attempt(attempt_id, leader, base, nothing, self._clock())
        self._active = attempt  # before the cut: a second leader must not cut in between
        self._attempts[attempt_id] = attempt
        while len(self._attempts) > KEPT_ATTEMPTS:
            self._attempts.popitem(last=False)
        return attempt

    async def cut(self, attempt: Attempt) -> None:
        """Cut for an attempt; after `Refused` it is over for this peer."""
        try:
            attempt.cut = await sound_cut(self.local, self.deadlines.cut)
        except Refused as refusal:
            await self.conclude(attempt, void(str(refusal)))
            raise
        except BaseException:
            self.abandon(attempt)
            raise

    async def exchange(self, attempt: Attempt, roster: Roster) -> Exchange:
        """Trade the parts of an attempt's roster."""
        self.adoption.forget_doubt()  # the cut in doubt from now on is this one
        base, cut = attempt.base.parameters, attempt.cut.parameters
        codec = choose_codec(self.history.links.user, self.spec.round, base.size)
        work = self.history.feedback.work(base, cut, codec.lossy)
        exchange = Exchange(self.network, roster, work, self.history.feedback, codec)
        attempt.exchange, attempt.roster = exchange, roster
        attempt.roster_known.set()
        await exchange.run(self.spec.round.exchange_seconds)
        attempt.traded.set()
        self.tasks.start_soon(self._foresee, attempt, exchange)
        self.history.links.add(exchange.traffic.link)
        self.history.suspect(roster.members[it] for it in exchange.lost)
        return exchange

    async def _foresee(self, attempt: Attempt, exchange: Exchange) -> None:
        """Do the outer step with the parts at hand while the others are being heard.

        Unless somebody was lost, it is the round's.
        """
        try:
            state = await self.archive.foresee(attempt.base, exchange.roster, exchange.held)
            attempt.foreseen = state if attempt is self._active else None
        finally:
            attempt.foresight.set()

    def abandon(self, attempt: Attempt) -> None:
        """Be free for another attempt. One that was cut short, the others may have committed."""
        if self._active is attempt:
            self._active = None
            if attempt is not self.history.doubt and self.local.state is attempt.base:
                self.adoption.keep_in_doubt(attempt)

    def leave(self) -> None:
        """The network is gone, and with it the tasks that saw an attempt through."""
        if self._active is not None:
            self.abandon(self._active)

    async def settle(self, attempt: Attempt) -> None:
        """End an attempt by its decision, found out from the others if need be."""
        decision = attempt.acceptor.decided
        if decision is None:
            decision = await recover(self.voters(attempt), self.random)
            await self.announce(attempt, decision)
        await self.conclude(attempt, decision)

    def voters(self, attempt: Attempt) -> Voters:
        """The members that decide an attempt; it must have a roster."""
        members = attempt.roster.members if attempt.roster else ()
        return Voters(self.network, attempt, members, self.deadlines)

    async def announce(self, attempt: Attempt, decision: Decision) -> None:
        """Tell the roster what was decided; only a leaving peer waits until it is told.

        What `recover` guessed without a majority is not decided and not told: the others may
        have accepted, or may yet decide, something else.
        """
        if attempt.acceptor.decided is None:
            return
        if self.local.unwilling():
            with anyio.move_on_after(LAST_WORDS_SECONDS):
                await self.voters(attempt).spread(decision)
        else:
            self.tasks.start_soon(self.voters(attempt).spread, decision)

    async def conclude(self, attempt: Attempt, decision: Decision) -> None:
        """Apply a decision: adopt a committed round, or note a void one."""
        attempt.ended, own = self._clock(), self.network.peer_id
        try:
            if not decision.HasField("manifest"):
                self.adoption.keep_in_doubt(attempt)
                await self.local.conclude(outcome_of(attempt, None, decision.reason, own))
                return
            manifest = parse_manifest(decision.manifest, self.spec, attempt.base.parameters.size)
            await self._adopt(attempt, manifest)
        except (Malformed, Unreachable, Refused) as error:
            self.adoption.keep_in_doubt(attempt)
            self.local.fell_behind(f"round {attempt.base.round} was committed, but {error}")
        finally:
            self.abandon(attempt)
            if attempt.exchange is not None and attempt.exchange.unsendable:
                # they would be refused in every round to come
                log.warning("training starts over: %s", attempt.exchange.unsendable)
                await self.local.start_over()
            if attempt is not self.history.doubt:
                attempt.shed()

    async def _adopt(self, attempt: Attempt, manifest: Manifest) -> None:
        if manifest.roster != attempt.roster:
            raise Malformed("its manifest is for another roster")
        if self.local.state.digest != attempt.base.digest:
            raise Malformed("this peer has moved on to another state meanwhile")
        have = attempt.exchange.held if attempt.exchange else {}
        if attempt.traded.is_set():
            with anyio.move_on_after(self.spec.round.exchange_seconds):
                await attempt.foresight.wait()
        held = await self.archive.gather(manifest.roster, manifest.parts, have)
        state = await self.archive.replay(attempt.base, manifest, held, attempt.foreseen)
        self.history.keep(manifest, held)
        await self.adoption.finish(attempt, manifest, state)

    # ---- seeing an attempt of another leader through -----------------------------------

    async def _follow(self, attempt: Attempt) -> None:
        """See an attempt of another leader through."""
        seconds = self.spec.round.exchange_seconds
        silence = silence_seconds(seconds)
        wait = partial(wait_while_there, self.network, attempt.leader)
        with attempt.waiting:
            await wait(attempt.roster_known, self.deadlines.cut + self.deadlines.roster, silence)
            if attempt.roster is not None:
                with anyio.move_on_after(seconds):
                    await attempt.traded.wait()  # what is on its way is not fetched a second time
                await wait(attempt.decided, self.deadlines.decision + silence, silence)
        if attempt.roster is None:
            silent = f"{short(attempt.leader)}, who leads, fell silent before the exchange"
            self.history.suspect([] if attempt.no_roster else [attempt.leader])
            await self.conclude(attempt, void(attempt.no_roster or silent))
            return
        if attempt.acceptor.decided is None:
            self.history.suspect([attempt.leader])
        await self.settle(attempt)

    def stood_still(self) -> None:
        """This peer was away: whatever it waits for, the others have done without it."""
        if self._active is not None:
            self._active.waiting.cancel()

    # ---- what other peers ask ----------------------------------------------------------

    async def _on_cut(self, caller: str, request: swarm_pb2.CutRequest) -> swarm_pb2.CutReply:
        if request.spec_hash != self._spec_hash:
            raise Refused("another run spec")
        if len(request.attempt) != ATTEMPT_BYTES or request.attempt in self._attempts:
            raise Refused("not a new attempt")
        state = self.local.state
        if (request.round, request.digest) != (state.round, state.digest):
            raise Refused(f"this peer is at round {state.round}, or has other parameters")
        attempt = self.enlist(request.attempt, caller)
        await self.cut(attempt)
        self.tasks.start_soon(self._follow, attempt)
        cut, link = attempt.cut, link_message(self.link)
        return swarm_pb2.CutReply(
            tokens=cut.tokens,
            link=link,
            chunks=chunks_message(cut.chunks),
            branch=self.history.branch_digest,
        )

    async def _on_roster(self, caller: str, message: swarm_pb2.Roster) -> swarm_pb2.ExchangeReport:
        attempt = self._active
        if attempt is None or attempt.id != message.attempt or attempt.leader != caller:
            raise Refused("no cut was made for this roster")
        if attempt.roster is not None:
            raise Refused("the roster is known already")
        try:
            roster = attempt.roster = self._checked(message, attempt)
        except Refused as refusal:
            attempt.release(str(refusal))
            raise
        exchange = await self.exchange(attempt, roster)
        return report_message(report_of(exchange.held))

    def _checked(self, message: swarm_pb2.Roster, attempt: Attempt) -> Roster:
        try:
            roster = parse_roster(message, self.spec, attempt.base.parameters.size)
            own = roster.index(self.network.peer_id)
        except ValueError as error:
            raise Refused(f"the roster is wrong: {error}") from error
        if (roster.leader, roster.round, roster.digest) != (
            attempt.leader,
            attempt.base.round,
            attempt.base.digest,
        ):
            raise Refused("the roster is for another round")
        cut = attempt.cut
        if (roster.tokens[own], roster.chunks[own]) != (cut.tokens, cut.chunks):
            raise Refused("the roster has other work than this peer claimed")
        return roster

    async def _on_exchange(self, caller: str, stream: Stream) -> None:
        seconds = self.spec.round.exchange_seconds
        first = await stream.receive(seconds)
        attempt = self._attempts.get(first.attempt) if first is not None else None
        if attempt is None:
            raise Refused("no such attempt here")
        with anyio.move_on_after(self.deadlines.roster):  # the roster may be a moment behind
            await attempt.roster_known.wait()
        if attempt.exchange is None:
            raise Refused("the roster is not known here")
        await attempt.exchange.serve(caller, stream, seconds, first.codec)

    async def _on_part(self, caller: str, stream: Stream) -> None:
        await self.archive.serve_parts(self._part, stream, self.deadlines.vote)

    def _part(self, attempt_id: bytes, index: int) -> HeldPart | None:
        """A part of a kept round, or of one that is being decided."""
        held, attempt = self.history.part(attempt_id, index), self._attempts.get(attempt_id)
        if held is None and attempt is not None and attempt.exchange is not None:
            held = attempt.exchange.held.get(index)
        return held

    async def _on_agreement(
        self, caller: str, request: swarm_pb2.AgreementRequest
    ) -> swarm_pb2.AgreementReply:
        attempt = self._attempts.get(request.attempt)
        if attempt is None:
            raise Refused("no such attempt here")
        return promise_message(answer(attempt, caller, request))

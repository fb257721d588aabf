"""State download: from several donors at once, each block checked before use, never begun anew."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

import anyio
import anyio.to_thread

from peer.averaging.malformed import DIGEST_BYTES, Malformed
from peer.averaging.state import STATE_BLOCK_BYTES, GlobalState, block_count
from peer.membership import Position
from peer.swarm.interface import Network, Refused, Stream, Unreachable, short
from peer.transfer.candidates import Candidates
from peer.transfer.incoming import OVERDUE_SECONDS, Incoming, NotFiniteError
from peer.transfer.messages import (
    BLOCK_SECONDS,
    BLOCKS_A_REQUEST,
    STATE,
    ask_for_blocks,
    ask_for_state,
    parse_description,
    parse_offer,
)
from peer.transfer.news import News
from peer.transfer.progress import Progress, Waiting
from swarmpb.v1 import swarm_pb2

REST_SECONDS = 1.0
"""A donor that broke off is tried again after that."""
CHOICE_SECONDS = 10.0
"""A donor waits no longer than `BLOCK_SECONDS` for the choice of another state."""
QUEUE_SECONDS = 120.0
"""A queue that stood still for so long is left, where there are other donors to ask."""
_FAREWELL_SECONDS = 1.0
_MAX_LAGS = 6
"""A donor that keeps a joiner waiting this many times `BLOCK_SECONDS` for a block is given up."""

Choose = Callable[[Sequence[Position]], Awaitable[Position | None]]
"""The state to download in place of one that is gone: the run's head as the caller knows it.

It is told what one donor has, which nobody vouches for. None: no other one.
"""


class _Lacks(Exception):
    """The donor has not got the wanted state any more."""


class _Crowded(Exception):
    """Enough others send by now."""


class Download:
    """A state on its way here.

    What has arrived stays, whatever happens to donors and networks: `run` it again with others.
    """

    def __init__(
        self,
        wanted: Position,
        parameters: int,
        choose: Choose,
        tell: Callable[[Progress], None],
    ) -> None:
        """parameters: length of the flat vector; tell: hears how far it is, at each change."""
        self.wanted = wanted
        self._parameters = parameters
        self._choose = choose
        self._tell = tell
        self._incoming: Incoming | None = None
        self._liars: dict[str, str] = {}
        self._candidates = Candidates(())
        self._news = News()
        self._of_no_use = ""

    @property
    def progress(self) -> Progress:
        """This moment."""
        arrived = self._incoming.arrived_bytes if self._incoming else 0
        total = self._incoming.total_bytes if self._incoming else 0
        sending = len(self._candidates.sending)
        return Progress(self.wanted.round, arrived, total, sending, self._candidates.waiting)

    @property
    def _complete(self) -> bool:
        return self._incoming is not None and not self._incoming.left

    async def run(self, network: Network, donors: Sequence[str]) -> GlobalState:
        """The state, from as many of `donors` as help; `Unreachable` if they cannot give it all.

        It is the one that `wanted` names in the end.
        """
        honest = [donor for donor in dict.fromkeys(donors) if donor not in self._liars]
        # in any order: else the first few would serve every newcomer of a large swarm
        candidates = self._candidates = Candidates(random.sample(honest, len(honest)))
        async with anyio.create_task_group() as tasks:
            while candidates.any and not self._complete and not self._of_no_use:
                while (donor := candidates.next()) is not None:
                    tasks.start_soon(self._visit, network, donor)
                await self._news.wait(BLOCK_SECONDS)
            tasks.cancel_scope.cancel()
        self._changed()
        if self._of_no_use:
            raise Unreachable(self._of_no_use)
        if self._incoming is None or self._incoming.left:
            raise Unreachable(self._why_not(donors))
        try:
            return await anyio.to_thread.run_sync(self._incoming.state)
        except Malformed as error:
            raise Unreachable(str(error)) from error

    def _why_not(self, donors: Sequence[str]) -> str:
        lied = [f"{short(donor)}: {why}" for donor, why in self._liars.items() if donor in donors]
        reasons = "; ".join((*lied, self._candidates.describe())).strip("; ")
        if self._incoming is None:
            return reasons or "nobody holds it"
        return f"{self._incoming.left} blocks are missing: {reasons or 'nobody holds them'}"

    def _changed(self) -> None:
        self._news.tell()
        self._tell(self.progress)

    # ---- one donor ---------------------------------------------------------------------

    async def _visit(self, network: Network, donor: str) -> None:
        """Get what one donor gives, and note how it ended."""
        candidates = self._candidates
        try:
            async with network.open(donor, STATE, BLOCK_SECONDS) as stream:
                incoming = await self._agree(stream, donor)
                await self._fetch(stream, donor, incoming)
                with anyio.CancelScope(shield=True):
                    await stream.finish(_FAREWELL_SECONDS)
        except _Crowded:
            pass
        except _Lacks as error:
            candidates.lacks(donor, str(error))
        except Malformed as error:
            self._liars[donor] = str(error)
            candidates.is_out(donor, str(error))
        except NotFiniteError as error:
            self._of_no_use = str(error)
        except (Unreachable, Refused) as error:
            if candidates.failed(donor, str(error)):
                self._changed()
                await anyio.sleep(REST_SECONDS)
                candidates.again(donor)
        self._changed()

    async def _agree(self, stream: Stream, donor: str) -> Incoming:
        """Wait for the turn, and settle on the state that is wanted and that the donor has."""
        while True:
            wanted, described = self.wanted, self._incoming is not None
            await stream.send(ask_for_state(wanted, described=described), BLOCK_SECONDS)
            reply = await self._turn(stream, donor)
            if reply.HasField("gone"):
                await self._choose_other(donor, wanted, parse_offer(reply.gone))
                continue
            header, size = parse_description(reply.description, wanted, self._parameters)
            if not described:
                count = DIGEST_BYTES * block_count(self._parameters)
                digests, coverage = await _data(stream, count), await _data(stream, size)
                if self._incoming is None and self.wanted == wanted:
                    self._incoming = Incoming(header, digests, coverage)
            if self._incoming is not None and self.wanted == wanted:
                if not self._candidates.begins(donor):
                    raise _Crowded
                self._changed()
                return self._incoming

    async def _turn(self, stream: Stream, donor: str) -> swarm_pb2.StateReply:
        """What a donor says when the turn has come."""
        best, since = math.inf, anyio.current_time()
        while (reply := await _reply(stream)).HasField("turn"):
            position, of = (min(it, 10_000) for it in (reply.turn.position, reply.turn.waiting))
            if position < best:
                best, since = position, anyio.current_time()
            stands = anyio.current_time() - since >= QUEUE_SECONDS
            if stands and self._candidates.willing:
                raise Unreachable("its queue does not move")
            self._candidates.waits(Waiting(donor, position, of))
            self._changed()
        return reply

    async def _choose_other(self, donor: str, gone: Position, offers: Sequence[Position]) -> None:
        """Want another state, if this one is not to be had from others; else `_Lacks`."""
        newest = max((it.round for it in offers), default=None)
        lacks = _Lacks("it holds no state" if newest is None else f"it holds round {newest} by now")
        chosen = None
        if self._may_change(donor):
            with anyio.move_on_after(CHOICE_SECONDS):
                chosen = await self._choose(offers)
        if self.wanted != gone:
            return  # somebody else has chosen meanwhile
        if chosen is None or chosen == gone or not self._may_change(donor):
            raise lacks
        self.wanted, self._incoming = chosen, None
        self._candidates.want_another()
        self._changed()

    def _may_change(self, donor: str) -> bool:
        if self._candidates.sending:
            return False
        begun = self._incoming is not None and self._incoming.arrived_bytes > 0
        return not begun or not self._candidates.others(donor)

    # ---- blocks ------------------------------------------------------------------------

    async def _fetch(self, stream: Stream, donor: str, incoming: Incoming) -> None:
        """Get blocks until none is missing. The next are asked for before the last have come."""
        asked: deque[int] = deque()
        block = memoryview(bytearray(STATE_BLOCK_BYTES))
        try:
            while incoming.left:
                if len(asked) <= BLOCKS_A_REQUEST // 2:
                    most, now = BLOCKS_A_REQUEST - len(asked), anyio.current_time()
                    more = incoming.take(donor, most, self._candidates.helping, now)
                    if not more and not asked:
                        more = incoming.take_overdue(donor, most, now)
                    if more:
                        asked.extend(more)
                        await stream.send(ask_for_blocks(more), BLOCK_SECONDS)
                if not asked:
                    await self._news.wait(OVERDUE_SECONDS / 2)
                    continue
                data = block[: incoming.size(asked[0])]
                await _block(stream, data)
                if not incoming.put(asked[0], data):
                    raise Malformed(f"it sent a wrong block {asked[0]}")
                asked.popleft()
                self._candidates.delivered(donor)
                self._changed()
        finally:
            incoming.give_up(donor)


async def _reply(stream: Stream) -> swarm_pb2.StateReply:
    reply: swarm_pb2.StateReply | None = await stream.receive(BLOCK_SECONDS)
    if reply is None:
        raise Unreachable("stopped before the end")
    if reply.WhichOneof("news") is None:
        raise Malformed("it sent an empty message")
    return reply


async def _data(stream: Stream, size: int) -> bytes:
    """So many bytes, of which nobody knows yet what they are."""
    data = bytearray(size)
    if await stream.receive_data(memoryview(data), BLOCK_SECONDS) < size:
        raise Unreachable("stopped within its description")
    return bytes(data)


async def _block(stream: Stream, into: memoryview) -> None:
    """Fill `into` with the next block, which may have to wait for the donor's other joiners."""
    with anyio.move_on_after(_MAX_LAGS * BLOCK_SECONDS):
        while not (received := await stream.receive_data(into, BLOCK_SECONDS)):
            if not (await _reply(stream)).HasField("turn"):
                raise Malformed("it spoke of something else in place of a block")
        if received < len(into):
            raise Unreachable("stopped within a block")
        return
    raise Unreachable("it sent no block for too long")


async def download(
    network: Network, donors: Sequence[str], at: Position, parameters: int
) -> GlobalState:
    """The state `at` and no other, in one go; `Unreachable` if `donors` cannot give it all."""

    async def no_other(offers: Sequence[Position]) -> None:
        return None

    return await Download(at, parameters, no_other, lambda progress: None).run(network, donors)

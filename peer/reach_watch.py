"""Finding out, again and again, how others get through to this peer: some of them dial it.

Whoever cannot be dialled says so in its record and in each round (client mode): it then owns no
part of a round, which others could not bring to it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from random import Random

import anyio

from peer.membership import PeerFacts
from peer.notices import Notices
from peer.swarm.dial_back import ask
from peer.swarm.interface import Network
from peer.swarm.reach import (
    ENOUGH_WITNESSES,
    MOST_WITNESSES,
    NO_ADDRESS,
    UNHEARD,
    Word,
    counted,
    is_settled,
    likeliest,
    ports_of,
    reach_of,
    whom_to_ask,
)

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
"""How often addresses and witnesses are looked at."""
REVIEW_SECONDS = 3600.0
"""Who was reached is dialled again after so long."""
DOUBT_SECONDS = 600.0
"""The same for who was not, or by one witness only: routers are set right, peers come."""
UNHEARD_SECONDS = 30.0
"""The same while nobody answered."""
JITTER = 0.1
MEET_SECONDS = 60.0
"""Who cannot be dialled sees to its connections so often: idle ones are closed by some."""
_MET_AT_ONCE = 8


class Inquiry:
    """One time of asking around, at unchanging addresses."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = tuple(addresses)
        self.words: list[Word] = []
        self.asked: set[str] = set()

    @property
    def wanted(self) -> int:
        """How many more witnesses, as far as is known now; 0 when all is clear."""
        if is_settled(self.words):
            return 0
        heard = len(counted(self.words))
        return (ENOUGH_WITNESSES if heard < ENOUGH_WITNESSES else MOST_WITNESSES) - heard


class ReachWatch:
    """What is known of this peer's reachability; `watch` it in each network."""

    def __init__(self, initial_peers: Iterable[str], notices: Notices) -> None:
        """initial_peers: addresses, each ending with a peer id."""
        self.reach = UNHEARD
        self._initial = {it.rpartition("/")[2]: (it,) for it in initial_peers}
        self._live: dict[str, PeerFacts] = {}
        self._met: dict[str, float] = {}
        """When each was dialled, while this peer cannot be; monotonic seconds."""
        self._notices = notices

    def see(self, others: Iterable[PeerFacts]) -> None:
        """These others are in view."""
        self._live = {it.peer_id: it for it in others if it.addresses and not it.link.client_mode}

    async def watch(self, network: Network, random: Random) -> None:
        """Keep `reach` true in this network, until cancelled."""
        self.reach = UNHEARD
        self._met.clear()
        inquiry, due = Inquiry(network.addresses), math.inf
        while True:
            await network.refresh()
            moved = set(network.addresses) != set(inquiry.addresses)
            if moved or time.monotonic() >= due:
                inquiry, due = Inquiry(network.addresses), math.inf
            asked = await ask_around(network, inquiry, self._known(network.peer_id), random)
            if asked or due == math.inf:
                self._learn(inquiry)
                jitter = random.uniform(1 - JITTER, 1 + JITTER)
                due = time.monotonic() + self._pause(inquiry) * jitter
            if self.reach.client_mode:
                await self._reach_out(network, time.monotonic())
            await anyio.sleep(LOOK_SECONDS)

    def announced(self, addresses: tuple[str, ...], own: str) -> tuple[str, ...]:
        """This peer's own addresses, and before them the one that others have reached it at."""
        if not self.reach.announced:
            return addresses
        return tuple(dict.fromkeys((f"{self.reach.announced}/p2p/{own}", *addresses)))

    def _known(self, own: str) -> dict[str, tuple[str, ...]]:
        known = self._initial | {peer_id: it.addresses for peer_id, it in self._live.items()}
        known.pop(own, None)
        return known

    def _pause(self, inquiry: Inquiry) -> float:
        """Until the next inquiry; newcomers are asked earlier, while this one is not settled."""
        if not inquiry.words:
            return UNHEARD_SECONDS
        unclear = self.reach.client_mode or inquiry.wanted
        return DOUBT_SECONDS if unclear else REVIEW_SECONDS

    def _learn(self, inquiry: Inquiry) -> None:
        if inquiry.addresses and not inquiry.words:
            return  # what was known before still is the best word
        before = self.reach
        self.reach = reach_of(inquiry.words) if inquiry.addresses else NO_ADDRESS
        if self.reach != before:
            log.info("others get through to this peer: %s", self.reach.describe())
        if self.reach.client_mode:
            self._notices.trouble("reach", f"{self.reach.describe()}; {advice(inquiry.addresses)}")
        else:
            self._notices.over("reach", f"others can dial this peer: {self.reach.reason}")

    async def _reach_out(self, network: Network, now: float) -> None:
        """Dial those who could not dial this peer: what they want of it then has a way."""
        self._met = {
            it: at for it, at in self._met.items() if it in self._live and now - at < MEET_SECONDS
        }
        due = [it for peer_id, it in self._live.items() if peer_id not in self._met]
        due = due[:_MET_AT_ONCE]
        self._met |= dict.fromkeys((it.peer_id for it in due), now)
        if due:
            await network.reconnect([likeliest(it.addresses, network.addresses) for it in due])


async def ask_around(
    network: Network,
    inquiry: Inquiry,
    known: Mapping[str, Sequence[str]],
    random: Random,
) -> bool:
    """Ask as many of those known as it takes; whether anybody was left to be asked."""
    ports = ports_of(inquiry.addresses)
    anybody = False

    async def hear(witness: str) -> None:
        words = []
        for port in ports:
            word = await ask(network, witness, port)
            if word is not None:
                words.append(word)
            if word is None or word.reached:
                break
        inquiry.words.extend(words[-1:] if words and words[-1].reached else words[:1])

    while ports and inquiry.wanted:
        order = {peer_id: random.random() for peer_id in known}
        witnesses = whom_to_ask(known, inquiry.asked, order)[: inquiry.wanted]
        if not witnesses:
            break
        anybody = True
        inquiry.asked.update(witnesses)
        async with anyio.create_task_group() as tasks:
            for witness in witnesses:
                tasks.start_soon(hear, witness)
    return anybody


def advice(addresses: Sequence[str]) -> str:
    """What it means for a peer with these addresses that it cannot be dialled, and what to do."""
    ports = ports_of(addresses)
    now = f" (now {ports[0]})" if ports else ""
    return (
        "it trains, and owns no part of a round: to be of more use set p2p_port and forward that "
        f"TCP port{now} to this machine"
    )

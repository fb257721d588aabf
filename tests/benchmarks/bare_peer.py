"""A peer without a trainer as a process: the real network and rounds, inner work from a vector.

Orders: settings first (`row`, `peers`, `values`, `folder`, `codec`), then `do` one of
join, load, match, go, store; see `contenders.py`, which gives them to rivals as well.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import anyio
import anyio.to_thread
import numpy as np
import uvloop

from peer.averaging.attempt import Attempt, LocalCut, Outcome
from peer.averaging.codecs import FlatVector
from peer.averaging.exchange import Exchange
from peer.averaging.leader import lead
from peer.averaging.local import Fate
from peer.averaging.roster import Roster
from peer.averaging.rounds import Rounds
from peer.averaging.state import GlobalState
from peer.swarm.libp2p import Libp2pNetwork
from swarmpb.signing import PeerIdentity
from swarmpb.spec import RunSpec
from tests.benchmarks.nursery import Orders
from tests.benchmarks.vectors import Vectors
from tests.tiny import tiny_spec

EXCHANGE_SECONDS = 60.0
TOKENS = 1000
"""What every peer claims for a cut, so that all weigh the same."""


def averaging_spec(codec: str) -> RunSpec:
    """A run whose outer step is the mean itself: the parameters move by the result."""
    return tiny_spec(
        outer={"learning_rate": 1.0, "momentum": 0.0},
        round={"codec": codec, "exchange_seconds": EXCHANGE_SECONDS, "min_peers": 2},
    )


class BareLocal:
    """The `Local` of a peer whose inner work is a given vector."""

    def __init__(self, values: int) -> None:
        zeros = np.zeros(values, np.float32)
        self.state = GlobalState(0, 0, zeros, zeros.copy())
        self.before = self.state
        """The state before the last committed round."""
        self.parameters = zeros.copy()
        self.outcome: Outcome | None = None
        self.problem = ""
        self.concluded = anyio.Event()
        self.concluded_at = 0.0
        self._snapshot = np.zeros_like(zeros)

    def trains(self, gradient: FlatVector) -> None:
        """Inner work since the last round that amounts to a pseudo-gradient of shape (n,)."""
        np.subtract(self.state.parameters, gradient, out=self.parameters)
        self.outcome, self.problem = None, ""
        self.concluded = anyio.Event()

    def unwilling(self) -> str:
        return ""

    def began(self, leader: str) -> None:
        pass

    async def take_cut(self) -> LocalCut:
        await anyio.to_thread.run_sync(np.copyto, self._snapshot, self.parameters)
        return LocalCut(self._snapshot, TOKENS, 1.0)

    async def adopt(self, state: GlobalState, shift: FlatVector, outcome: Outcome) -> None:
        def add() -> None:
            self.parameters += shift

        await anyio.to_thread.run_sync(add)
        self.before, self.state = self.state, state
        self._conclude(outcome)

    async def follow(
        self, state: GlobalState, shift: FlatVector, fate: Fate, outcome: Outcome | None
    ) -> None:
        raise NotImplementedError("nobody is behind in this benchmark")

    @property
    def holds_cut(self) -> bool:
        return True

    def recalled(self, outcome: Outcome) -> None:
        """Nothing here counts them."""

    def settle_resumed(self, tokens: int) -> None:
        raise NotImplementedError("nobody resumes in this benchmark")

    async def start_over(self) -> None:
        np.copyto(self.parameters, self.state.parameters)

    async def conclude(self, outcome: Outcome) -> None:
        self.problem = f"void: {outcome.reason}"
        self._conclude(outcome)

    def fell_behind(self, reason: str) -> None:
        self.problem = reason
        self._conclude(None)

    def _conclude(self, outcome: Outcome | None) -> None:
        self.outcome = outcome
        self.concluded_at = time.monotonic()
        self.concluded.set()


class TimedRounds(Rounds):
    """Rounds that note when the exchange itself began and ended."""

    exchanged = (0.0, 0.0)

    async def exchange(self, attempt: Attempt, roster: Roster) -> Exchange:
        began = time.monotonic()
        exchange = await super().exchange(attempt, roster)
        self.exchanged = began, time.monotonic()
        return exchange


class BarePeer:
    """Answers orders, one at a time."""

    def __init__(self, network: Libp2pNetwork, rounds: TimedRounds, local: BareLocal) -> None:
        self.network = network
        self.rounds = rounds
        self.local = local
        self._vectors: Vectors
        self._row = 0

    def use(self, vectors: Vectors, row: int) -> None:
        """Take inner work from, and put results into, this row."""
        self._vectors, self._row = vectors, row

    async def load(self, order: dict[str, Any]) -> dict[str, Any]:
        self.local.trains(self._vectors.inputs[self._row])
        return {}

    async def match(self, order: dict[str, Any]) -> dict[str, Any]:
        """Nothing: whom a round is made of is settled by its cut."""
        return {}

    async def go(self, order: dict[str, Any]) -> dict[str, Any]:
        """One round; the first peer leads the others."""
        if self._row == 0:
            await lead(self.rounds, order["others"])
        await self.local.concluded.wait()
        outcome, state = self.local.outcome, self.local.state
        return {
            "ended": self.local.concluded_at,
            "exchanged": self.rounds.exchanged,
            "problem": self.local.problem or (outcome.reason if outcome else ""),
            "sent": outcome.bytes_sent if outcome else 0,
            "round": state.round,
            "digest": state.digest.hex(),
        }

    async def store(self, order: dict[str, Any]) -> dict[str, Any]:
        result = self._vectors.results[self._row]
        np.subtract(self.local.before.parameters, self.local.state.parameters, out=result)
        return {}


def run(orders: Orders) -> None:
    """The process."""
    uvloop.run(_run(orders))


async def _run(orders: Orders) -> None:
    settings = orders.hear()
    initial_peers = orders.hear()["initial_peers"]  # join
    folder = Path(settings["folder"])
    identity = folder / "identity"
    identity.write_bytes(PeerIdentity.generate().to_bytes())
    network = await Libp2pNetwork.start(identity, folder, "127.0.0.1", 0, initial_peers)
    local = BareLocal(settings["values"])
    async with anyio.create_task_group() as tasks:
        spec, random = averaging_spec(settings["codec"]), Random(settings["row"])
        rounds = TimedRounds(network, spec, local, tasks, time.monotonic, random)
        await network.serve(rounds.handlers())
        peer = BarePeer(network, rounds, local)
        peer.use(Vectors.shared(settings["peers"], settings["values"]), settings["row"])
        orders.reply(addresses=network.addresses, name=network.peer_id)
        answers: dict[str, Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]] = {
            "load": peer.load,
            "match": peer.match,
            "go": peer.go,
            "store": peer.store,
        }
        while True:
            order = await anyio.to_thread.run_sync(orders.hear, abandon_on_cancel=True)
            orders.reply(**await answers[order["do"]](order))

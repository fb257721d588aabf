"""A run's owner has the last word, and it reaches real peers while their coordinator is gone."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from peer.averaging.methods import LINEAGE
from peer.membership_files import load_orders
from peer.orders_exchange import ORDERS
from peer.swarm.interface import Refused, call, unary
from peer.swarm.libp2p import Libp2pNetwork
from swarmpb.exits import Exit
from swarmpb.membership import RunState, id_digest, sign_orders
from swarmpb.signing import PeerIdentity, SigningKey
from swarmpb.v1 import membership_pb2, swarm_pb2
from tests.e2e.processes import (
    DEATH_SECONDS,
    JOIN_SECONDS,
    SOON_SECONDS,
    PeerProcess,
    alive_after,
    create_run,
    eventually,
    home_in,
    rounds_go_on,
    start_server,
)
from tests.e2e.test_peers import NAMES, ROUND, Swarm
from tests.tiny import tiny_spec

pytestmark = pytest.mark.timeout(400)

OBEYED_SECONDS = 60.0
"""In which every peer obeys what one has heard."""
BACKEND = {"use_uvloop": True}


@pytest.fixture(scope="module")
def swarm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    with home_in(tmp_path_factory.mktemp("orders")) as home:
        swarm = Swarm(home, tiny_spec(round=ROUND, stop={"tokens": 10**12}))
        yield swarm
        for peer in swarm.peers:
            if peer.alive:
                peer.leave()


def next_orders(swarm: Swarm, state: RunState, **fields: Any) -> membership_pb2.SignedOrders:
    """As the coordinator, which is gone, would have signed them."""
    standing = eventually(
        lambda: load_orders(swarm.peers[0].folder), SOON_SECONDS, "orders that are kept"
    )
    before = membership_pb2.Orders.FromString(standing.orders)
    orders = membership_pb2.Orders(
        run_id=before.run_id,
        spec_hash=before.spec_hash,
        sequence=time.time_ns(),
        state=state,
        **fields,
    )
    authority = SigningKey.load_or_create(swarm.home.state / "authority.key")
    return sign_orders(authority, standing.charter, orders)


def tell_one_peer(swarm: Swarm, signed: membership_pb2.SignedOrders) -> None:
    """Be in the swarm until one of the peers has asked for these orders, and no longer."""
    known = json.loads((swarm.peers[0].folder / "run.json").read_text())["initial_peers"]
    anyio.run(partial(_herald, known, signed), backend_options=BACKEND)


async def _herald(known: list[str], signed: membership_pb2.SignedOrders) -> None:
    identity, heard = PeerIdentity.generate(), anyio.Event()
    orders = membership_pb2.Orders.FromString(signed.orders)
    charter = membership_pb2.Charter.FromString(signed.charter.charter)

    async def give(caller: str, request: object) -> membership_pb2.SignedOrders:
        heard.set()
        return signed

    with tempfile.TemporaryDirectory(prefix="mt-") as name:
        folder = Path(name)
        (folder / "id").write_bytes(identity.to_bytes())
        network = await Libp2pNetwork.start(folder / "id", folder, "127.0.0.1", 0, known)
        await network.serve({ORDERS: unary(give)})
        with anyio.fail_after(OBEYED_SECONDS):
            while not heard.is_set():
                record = swarm_pb2.PeerRecord(
                    peer_id=identity.peer_id,
                    phase="starting",
                    written_at=time.time(),
                    orders_serial=charter.serial,
                    orders_sequence=orders.sequence,
                )
                await network.publish(f"record:{orders.run_id}", record.SerializeToString(), 5)
                with anyio.move_on_after(1):
                    await heard.wait()
        await anyio.sleep(0.5)  # the answer is on its way
        await network.close()


def rounds_told(peer: PeerProcess) -> list[int]:
    return [int(it) for line in peer.out.all() for it in re.findall(r"at round (\d+)", line)]


def test_pause_ban_and_end_reach_all_through_one_peer_without_the_coordinator(
    swarm: Swarm,
) -> None:
    swarm.make_whole()
    anna, bert, cleo = swarm.peers
    assert swarm.server.stop()[0] == 0

    # a pause: everybody holds still, and says why
    tell_one_peer(swarm, next_orders(swarm, RunState.PAUSED, reason="a holiday"))
    for peer in swarm.peers:
        paused = peer.until(lambda it: it.phase == "paused", OBEYED_SECONDS, "a pause")
        assert paused.reason == "paused by the run's owner: a holiday"
    held = {
        it.name: it.until(lambda now: bool(now.digest), SOON_SECONDS, "a state")
        for it in swarm.peers
    }
    # who comes back meanwhile knows of it, from its disk, and gets what the others hold
    bert.kill()
    bert.start()
    bert.until(lambda it: it.phase == "paused", JOIN_SECONDS, "the same pause")
    still = [
        peer.until(lambda it: bool(it.digest), SOON_SECONDS, "a state") for peer in (anna, cleo)
    ]
    assert [it.inner_steps for it in still] == [held[n].inner_steps for n in ("anna", "cleo")]
    assert len({it.round for it in still}) == 1

    # its end, and a ban
    banned = id_digest(held["cleo"].peer_id)
    children = cleo.children()
    tell_one_peer(swarm, next_orders(swarm, RunState.OPEN, banned=[banned]))
    assert cleo.wait(OBEYED_SECONDS) == Exit.BANNED
    assert "is banned from run tiny by its owner" in "\n".join(cleo.err.to_the_end())
    assert alive_after(DEATH_SECONDS, children) == []
    rounds_go_on([anna, bert])
    cleo.start()
    assert cleo.wait(JOIN_SECONDS) == Exit.BANNED
    for peer in (anna, bert):
        peer.until(lambda it: it.peers == 2, SOON_SECONDS, "the banned one out of its view")

    # the end is brought forward: both stop with the same round
    status = anna.until(lambda it: bool(it.digest), SOON_SECONDS, "a state")
    ending = status.run_tokens + 20_000
    orders = next_orders(
        swarm, RunState.FINISHING, stop_tokens=ending, cooldown_tokens=20_000, banned=[banned]
    )
    tell_one_peer(swarm, orders)
    for peer in (anna, bert):
        assert peer.wait(SOON_SECONDS) == 0, peer.told()
        assert "stopped: the run has reached its target" in "\n".join(peer.out.to_the_end())
    assert max(rounds_told(anna)) == max(rounds_told(bert)) > status.round


# ---- a run by invitation ---------------------------------------------------------------


class Guest(PeerProcess):
    """A peer whose user types what the owner has sent: a join link."""

    link = ""

    @property
    def arguments(self) -> tuple[str, ...]:
        command, *how = super().arguments
        named = (self.link,) if self.link else tuple(how[:4])
        return (command, *named, *how[4:])


async def _asked_by_a_stranger(known: list[str], peer_id: str) -> str:
    """What somebody without a certificate hears who is in the DHT and asks for a state."""
    with tempfile.TemporaryDirectory(prefix="mt-") as name:
        folder = Path(name)
        (folder / "id").write_bytes(PeerIdentity.generate().to_bytes())
        network = await Libp2pNetwork.start(folder / "id", folder, "127.0.0.1", 0, known)
        try:
            await call(network, peer_id, LINEAGE, swarm_pb2.LineageRequest(most=1), 10)
        except Refused as refusal:
            return str(refusal)
        finally:
            await network.close()
    return ""


def test_only_who_was_invited_takes_part_until_it_is_banned(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with home_in(tmp_path_factory.mktemp("invited")) as home:
        spec = tiny_spec(round=ROUND, stop={"tokens": 10**12})
        server = start_server(home)
        where = ("--run", "tiny", "--coordinator", server.address)
        create_run(home, server.address, spec, invite_only=True)
        link = home.run("invite", "create", *where, "--uses", "2").stdout.strip()
        anna, bert, cleo = (Guest(home, name, server.address, "tiny") for name in NAMES)
        for guest in (anna, bert):
            guest.link = link
            guest.start()
        for guest in (anna, bert):
            status = guest.until(lambda it: it.tokens > 0, JOIN_SECONDS, "a round with its work")
            assert status.membership.startswith("member until ")

        # without an invitation, and with one that is used up
        for cleo.link in ("", link):
            cleo.start()
            assert cleo.wait(JOIN_SECONDS) == Exit.NOT_ADMITTED, cleo.told()
        known = json.loads((anna.folder / "run.json").read_text())["initial_peers"]
        members = {it.peer_id for it in (anna.status(), bert.status()) if it is not None}
        for peer_id in members:
            ask = partial(_asked_by_a_stranger, known, peer_id)
            refusal = anyio.run(ask, backend_options=BACKEND)
            assert "no member of run tiny: no membership certificate" in refusal

        # a member is one without the coordinator, and comes back as one
        assert server.stop()[0] == 0
        bert.kill()
        bert.start()
        bert.until(lambda it: it.tokens > 0, JOIN_SECONDS, "a round with its work")
        rounds_go_on([anna, bert])

        # until the owner bans it
        server = start_server(home, *server.same_ports)
        banned = home.run("peers", "ban", *where, "bert", "--reason", "sends noise")
        assert banned.returncode == 0, banned.stderr
        assert bert.wait(OBEYED_SECONDS) == Exit.BANNED, bert.told()
        anna.until(lambda it: it.peers == 1, OBEYED_SECONDS, "being alone")
        assert anna.leave() == 0
        assert server.stop()[0] == 0

"""How others get through to a peer: what witnesses found who dialled it, put together. Pure.

A witness dials the address that it sees a peer come from, so its word holds for the places that see
that address: one on the same machine or in the same private network says nothing about a router's
other side. So of several words those count that come from farthest away. In a swarm that lives in
one private network, or on one machine, these are the words from there.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from swarmpb.v1 import swarm_pb2

DIRECT = "direct"
RELAYED = "relayed"
OUTGOING_ONLY = "outgoing only"

ENOUGH_WITNESSES = 2
MOST_WITNESSES = 3
"""So many are heard where two contradict each other."""
MOST_PORTS = 2

_PLACES = ("on this machine", "in this private network", "on the internet")
_CIRCUIT = "/p2p-circuit"
"""In a libp2p multiaddress that leads over another peer."""
_AT = re.compile(r"/ip[46]/([0-9A-Fa-f.:]{2,45})/(?:tcp|udp)/(\d{1,5})(?:/|$)")

Found = swarm_pb2.DialBackReply
_WHY: dict[int, str] = {
    Found.NOT_OPEN: "refuses connections",
    Found.SILENT: "lets no connection in (a router or a firewall in between)",
    Found.SOMETHING_ELSE: "is answered by another program",
}


@dataclass(frozen=True)
class Word:
    """What one witness says."""

    witness: str
    """Its peer id."""
    found: int
    """A `DialBackReply.Found`."""
    address: str = ""
    """The IP address that it dialled."""
    port: int = 0

    @property
    def reached(self) -> bool:
        return self.found == Found.LIBP2P


@dataclass(frozen=True)
class Reach:
    """How others get through to a peer, as far as is known."""

    kind: str = ""
    """One of the three words above; empty while nobody has said anything."""
    reason: str = "no peer has dialled this one yet"
    announced: str = ""
    """The address behind which it was reached, `/ip4/…/tcp/…`, if two witnesses agree on it."""

    @property
    def client_mode(self) -> bool:
        """Whether it must own nothing, as not everybody could bring it his part."""
        return self.kind in (RELAYED, OUTGOING_ONLY)

    def describe(self) -> str:
        """For people."""
        return f"{self.kind} ({self.reason})" if self.kind else f"not known: {self.reason}"


UNHEARD = Reach()
NO_ADDRESS = Reach(OUTGOING_ONLY, "it listens at no address")


def parse_word(witness: str, reply: swarm_pb2.DialBackReply, port: int) -> Word | None:
    """A witness's answer, within bounds; None if it says nothing."""
    if reply.found == Found.RELAYED:
        return Word(witness, reply.found)
    ip = _parsed(reply.address) if len(reply.address) <= 45 else None
    if ip is None or reply.found not in (Found.LIBP2P, *_WHY):
        return None
    return Word(witness, reply.found, str(ip), port)


def counted(words: Sequence[Word]) -> list[Word]:
    """Those that count: from as far away as anybody's."""
    farthest = max((_distance(it.address) for it in words), default=0)
    return [it for it in words if _distance(it.address) == farthest]


def is_settled(words: Sequence[Word]) -> bool:
    """Whether nobody else needs to be asked."""
    heard = counted(words)
    alike = {it.found == Found.RELAYED or it.reached for it in heard}
    return len(heard) >= (ENOUGH_WITNESSES if len(alike) == 1 else MOST_WITNESSES)


def reach_of(words: Sequence[Word]) -> Reach:
    """What the words come to: what most of those say that count; a tie is a no."""
    heard = counted(words)
    if not heard:
        return UNHEARD
    reached = [it for it in heard if it.reached]
    place = _PLACES[_distance(heard[0].address)]
    if 2 * len(reached) > len(heard):
        at = reached[0]
        same = [it for it in reached if (it.address, it.port) == (at.address, at.port)]
        announced = _multiaddress(at) if len(same) >= ENOUGH_WITNESSES else ""
        by = f"dialled by {_peers(len(reached))} {place}, at port {at.port}"
        return Reach(DIRECT, by, announced)
    if any(it.found == Found.RELAYED for it in heard):
        return Reach(RELAYED, "others see it through a relay only")
    at = next(it for it in heard if not it.reached)
    tried = f"tried by {_peers(len(heard))} {place}"
    return Reach(OUTGOING_ONLY, f"port {at.port} {_WHY[at.found]}; {tried}")


def ports_of(addresses: Sequence[str]) -> tuple[int, ...]:
    """The ports that a peer may be reached at, the likeliest first; `addresses` are its own."""
    places = [(_distance(match[1]), int(match[2])) for it in addresses if (match := _AT.match(it))]
    found = [port for _, port in sorted(places, key=lambda it: -it[0]) if 0 < port < 65536]
    return tuple(dict.fromkeys(found))[:MOST_PORTS]


def whom_to_ask(
    known: Mapping[str, Sequence[str]], asked: Collection[str], order: Mapping[str, float]
) -> list[str]:
    """Peer ids of those that have not been asked: far away and in other places first.

    known: addresses by peer id; order: random numbers by peer id, which break ties.
    """
    places = {peer_id: _place(addresses) for peer_id, addresses in known.items()}
    used = {places[it] for it in asked if it in places}

    def rank(peer_id: str) -> tuple[int, bool, float]:
        place = places[peer_id]
        return -_distance(place), place in used, order.get(peer_id, 0.0)

    return sorted(known.keys() - set(asked), key=rank)


def likeliest(addresses: Sequence[str], own: Sequence[str]) -> str:
    """The one of a peer's addresses to dial it at; `own` are those of who dials.

    In one network that is the address there, since many routers do not lead back to themselves;
    from elsewhere the public one.
    """
    here = {_network(match[1]) for it in own if (match := _AT.match(it))}

    def rank(address: str) -> tuple[bool, int]:
        match = _AT.match(address)
        if match is None or _CIRCUIT in address:
            return False, 2 if match is None else -1  # a name, for a machine that has one
        distance = _distance(match[1])
        return distance == 1 and _network(match[1]) in here, distance

    return max(addresses, key=rank)


def observed_address(remote: str) -> str:
    """The IP address in the multiaddress of a connection's other end; empty if it has none.

    Raises `ValueError` for a connection over a relay: its address is another peer's.
    """
    if _CIRCUIT in remote:
        raise ValueError("it comes over a relay")
    match = _AT.match(remote)
    ip = _parsed(match[1]) if match else None
    return "" if ip is None or ip.is_multicast or ip.is_unspecified else str(ip)


def network_of(address: str) -> str:
    """What one asker may own of addresses like this one: itself, or an IPv6 /64."""
    ip = ipaddress.ip_address(address)
    return str(ip if ip.version == 4 else ipaddress.ip_network(f"{ip}/64", strict=False))


def is_this_machine(address: str) -> bool:
    """Whether an IP address is that of a process on the same machine."""
    return ipaddress.ip_address(address).is_loopback


def _network(address: str) -> str:
    """What most private networks are: as many addresses as share all but the last number."""
    ip = _parsed(address)
    bits = 24 if ip is not None and ip.version == 4 else 64
    return str(ipaddress.ip_network(f"{ip}/{bits}", strict=False)) if ip is not None else ""


@lru_cache(maxsize=4096)
def _distance(address: str) -> int:
    """0: this machine, or no address; 1: a private network; 2: the internet."""
    ip = _parsed(address)
    if ip is None or ip.is_loopback:
        return 0
    return 2 if ip.is_global else 1


def _place(addresses: Sequence[str]) -> str:
    """The one of a peer's IP addresses that is seen from farthest away."""
    found = [match[1] for it in addresses if (match := _AT.match(it)) and _CIRCUIT not in it]
    return max(found, key=_distance, default="")


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return None
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


def _multiaddress(word: Word) -> str:
    return f"/ip{ipaddress.ip_address(word.address).version}/{word.address}/tcp/{word.port}"


def _peers(count: int) -> str:
    return "1 peer" if count == 1 else f"{count} peers"

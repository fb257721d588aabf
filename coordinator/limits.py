"""How often strangers may ask. Pure: `now` is an argument, tables are bounded.

Where a thousand peers share one address (a university, a provider's gateway) all of them must be
able to report every 2 s, to join at once, and to come back at once after an outage; so what one
address may do is what a thousand peers need. This machine's own address has no limit: it is where
owners work, and the benchmark. One peer, known by its signature, has a far lower limit. What a call
can make the coordinator *write* is bounded apart from this, whoever asks and however slowly:

| call | what it writes | bounded by |
| --- | --- | --- |
| Report | its peer's row, rows for its rounds, events | `room.Limits` by run and peer |
| Admit | a member's row for each use of an invitation | the owner's invitations; `MEMBERS_KEPT` |
| RestoreRun | a run, orders | what the run's owner has signed, if they are restored here |
| GetRun, ListRuns, GetProgress, GetReceipts | nothing | |
| Admin.* | anything | the admin token |
"""

from __future__ import annotations

import ipaddress
from collections import Counter, OrderedDict
from dataclasses import dataclass
from urllib.parse import unquote


@dataclass(frozen=True)
class Rate:
    """So many at once, and so many a second from then on."""

    per_second: float
    at_once: float


CALLS_OF_ADDRESS = Rate(per_second=600, at_once=6000)
"""A thousand peers, a report every 2 s each, and a fifth more."""
OF_ADDRESS: dict[str, Rate] = {
    "Admit": Rate(per_second=20, at_once=1200),
    "RestoreRun": Rate(per_second=2, at_once=20),
    "GetRun": Rate(per_second=20, at_once=1200),
    "ListRuns": Rate(per_second=20, at_once=200),
    "GetProgress": Rate(per_second=0.5, at_once=20),
    "GetReceipts": Rate(per_second=20, at_once=200),
}
"""By method, besides. Those that read much, check signatures or write are dearer than a report;
the progress of 10,000 peers takes half a second, and reports wait meanwhile."""
REPORTS_OF_PEER = Rate(per_second=10, at_once=100)
"""A peer reports every 2 s, and after an outage up to ten times a second until all is told."""
ADMISSIONS_OF_PEER = Rate(per_second=0.1, at_once=10)
BODIES_AWAITED = 256
"""Calls of one address whose request is still on its way, at one time."""
BODY_SECONDS = 10.0
"""A request that is not here by then is given up."""
STREAMS_OF_ADDRESS = 16
"""Answers without an end at one time: who watches its health, or asks what it can be asked."""
STREAMS = 256
"""Of all addresses together: an open one takes the place of a report."""
KEYS_KEPT = 32_768


class Buckets:
    """A bucket of tokens for each key; full at first. Who was not seen for longest is forgotten."""

    def __init__(self, rate: Rate, most: int = KEYS_KEPT) -> None:
        self._rate = rate
        self._most = most
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By key: tokens left, and when that was."""

    def __len__(self) -> int:
        return len(self._levels)

    def take(self, key: str, now: float) -> float:
        """Take one; 0, or in how many seconds there will be one. `now`: seconds of any clock."""
        rate = self._rate
        left, then = self._levels.pop(key, (rate.at_once, now))
        left = min(rate.at_once, left + max(0.0, now - then) * rate.per_second)
        granted = left >= 1
        self._levels[key] = (left - 1 if granted else left, max(now, then))
        if len(self._levels) > self._most:
            self._levels.popitem(last=False)
        return 0.0 if granted else (1 - left) / rate.per_second


class CallLimits:
    """What each address may still ask."""

    def __init__(self) -> None:
        self._calls = Buckets(CALLS_OF_ADDRESS)
        self._methods = {method: Buckets(rate) for method, rate in OF_ADDRESS.items()}
        self._awaited: dict[str, int] = {}
        self._streams = Counter[str]()

    def take(self, address: str, method: str, now: float) -> float:
        """Whether an address may call a method: 0, or in how many seconds it may."""
        if not address:
            return 0.0
        wait = self._calls.take(address, now)
        apart = self._methods.get(method)
        return wait or (apart.take(address, now) if apart is not None else 0.0)

    def await_body(self, address: str) -> bool:
        """Whether one more request of an address may be on its way; if so, `body_came` follows."""
        waiting = self._awaited.get(address, 0)
        if address and waiting >= BODIES_AWAITED:
            return False
        self._awaited[address] = waiting + 1
        return True

    def body_came(self, address: str) -> None:
        """Or it was given up."""
        left = self._awaited.pop(address) - 1
        if left:
            self._awaited[address] = left

    def open_stream(self, address: str) -> bool:
        """Whether an address may hold one more stream open; if so, `stream_ended` follows."""
        if address:
            held = self._streams[address]
            if held >= STREAMS_OF_ADDRESS or self._streams.total() >= STREAMS:
                return False
            self._streams[address] += 1
        return True

    def stream_ended(self, address: str) -> None:
        """By whatever."""
        self._streams[address] -= 1
        self._streams = +self._streams  # those that have none are not kept in mind


def address_of(caller: str) -> str:
    """Whom to count a call for, by gRPC's name of the caller, such as `ipv4:10.0.0.7:40000`.

    Empty for this machine.
    """
    kind, _, rest = caller.partition(":")
    if kind == "unix":
        return ""
    host = unquote(rest).rpartition(":")[0].strip("[]").partition("%")[0]
    return household(host) if host else caller[:64]


def household(host: str) -> str:
    """Whom to count an IP address for; empty for this machine, where a reverse proxy may stand.

    Of IPv6 the first 64 bits: a household has as many addresses as it likes beyond them. What is no
    address stands for itself.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host[:64]
    mapped = getattr(address, "ipv4_mapped", None)
    address = mapped or address
    if address.is_loopback:
        return ""
    if address.version == 6:
        return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)))
    return str(address)

"""A peer of OpenDiLoCo's loop with hivemind's own averager, under the same plan as ours.

It trains (a paced sleep for each inner step), then waits until it has averaged, and so on. What
an averaging that failed did not merge stays for the next one. A fault at a point of our protocol
hits it half a second into an averaging, where its bytes travel. Forked by `nursery.py`.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

# both are read when hivemind is imported
os.environ.setdefault("HIVEMIND_LOGLEVEL", "ERROR")
os.environ.setdefault("HIVEMIND_MEMORY_SHARING_STRATEGY", "file_descriptor")

import hivemind
import torch
from hivemind import compression
from hivemind.p2p import P2P

from tests.benchmarks.churn_launchers import PACE, STEPS
from tests.benchmarks.namespaces import Site
from tests.benchmarks.nursery import Orders
from tests.benchmarks.witnessed_peer import write
from tests.faults.plan import Fault, Freeze, Kill, parse

__all__ = ["run"]

_INTO_AVERAGING = 0.5
_STEP_SECONDS = 30.0
"""After so long an averaging is given up, and training goes on."""
_CHUNK_SECONDS = 3.0
"""As long as we wait for a silent peer."""


def run(orders: Orders) -> None:
    """The process."""
    order = orders.hear()
    os.environ.update(order["environment"])
    host = "127.0.0.1"
    if order["site"]:
        site = Site(*order["site"])
        site.enter()
        host = site.address
    torch.set_num_threads(1)
    P2P._UNIX_SOCKET_PREFIX = f"/unix{order['runtime']}/"
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))  # its session is ended with it
    dht = hivemind.DHT(
        start=True, initial_peers=order["initial_peers"], host_maddrs=[f"/ip4/{host}/tcp/0"]
    )
    write(how="connected", address=str(dht.get_visible_maddrs()[0]))
    _Loop(order, dht).run()


class _Loop:
    def __init__(self, order: dict[str, Any], dht: Any) -> None:
        self._order = order
        self._faults = [it for line in order["faults"] for it in parse(line).faults]
        self._pace = float(os.environ[PACE])
        self._round = 0
        self._tokens = 0
        """Trained and not merged."""
        tensor = torch.randn(order["values"], generator=torch.Generator().manual_seed(1))
        self._averager = hivemind.DecentralizedAverager(
            [tensor],
            dht,
            start=True,
            prefix="rival",
            target_group_size=order["peers"],
            min_group_size=2,
            min_matchmaking_time=3.0,
            request_timeout=1.0,
            next_chunk_timeout=_CHUNK_SECONDS,
            sender_timeout=_CHUNK_SECONDS,
            reducer_timeout=2 * _CHUNK_SECONDS,
            bandwidth=1.0,  # the same for all: equal parts
            compression=compression.Uniform8BitQuantization(),
        )

    def run(self) -> None:
        if self._order["initial_peers"]:
            self._averager.load_state_from_peers(timeout=_STEP_SECONDS)
        with Path(os.environ[STEPS]).open("a", buffering=1) as steps:
            while True:
                for _ in range(self._order["inner_steps"]):
                    began = time.time()
                    time.sleep(self._pace)
                    steps.write(f"[{began:.4f}, {time.time():.4f}]\n")
                    self._tokens += self._order["tokens_per_step"]
                self._average()

    def _average(self) -> None:
        self._meet_faults()
        began = time.monotonic()
        gathered = {"round": self._round, "tokens": self._tokens}
        try:
            group = self._averager.step(gather=gathered, timeout=_STEP_SECONDS)
        except Exception as error:  # whatever hivemind raises, the loop goes on
            group, reason = None, type(error).__name__
        else:
            reason = "no group"
        if group is None:
            attempt = f"{os.getpid()} {time.time()}"
            write(how="void", attempt=attempt, reason=reason)
            return
        # who was away has the others' round now
        self._round = max(it["round"] for it in group.values()) + 1
        tokens, self._tokens = self._tokens, 0
        write(
            how="merged", attempt=str(self._round), round=self._round, tokens=tokens,
            seconds=time.monotonic() - began, members=len(group),
        )  # fmt: skip

    def _meet_faults(self) -> None:
        due = next((it for it in self._faults if it.round <= self._round), None)
        if due is not None:
            self._faults.remove(due)
            threading.Timer(_INTO_AVERAGING, _strike, [due]).start()


def _strike(fault: Fault) -> None:
    write(how="struck", fault=str(fault))
    if isinstance(fault, Kill):
        os.kill(os.getpid(), signal.SIGKILL)
    elif isinstance(fault, Freeze):
        os.killpg(0, signal.SIGSTOP)

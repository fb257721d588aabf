"""What our averaging is compared with, as processes that obey the same orders as `bare_peer`.

Stock: `hivemind.DecentralizedAverager` 1.1.12, its parameters one flat tensor. Gloo: the
all-reduce of `torch.distributed`, a lower bound that tolerates nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# both are read when hivemind is imported; its own way of sharing leaves files when it is killed
os.environ.setdefault("HIVEMIND_LOGLEVEL", "ERROR")
os.environ.setdefault("HIVEMIND_MEMORY_SHARING_STRATEGY", "file_descriptor")

import hivemind
import torch
import torch.distributed
from hivemind import compression
from hivemind.averaging.control import AveragingStage
from hivemind.p2p import P2P

from tests.benchmarks.nursery import Orders
from tests.benchmarks.vectors import Vectors

SECONDS = 120.0
_POLL_SECONDS = 0.005
_FP16_SCALE = 1024.0
"""Keeps small values out of float16's subnormal range; the largest stay far from its end."""

CODECS: dict[str, Callable[[], Any]] = {
    "fp32": compression.NoCompression,
    "uniform8": compression.Uniform8BitQuantization,
    "quantile8": compression.Quantile8BitQuantization,
    "blockwise8": compression.BlockwiseQuantization,
}


class Stock:
    """hivemind's averager: a DHT process and an averager process, forked from this one."""

    def __init__(self, settings: dict[str, Any], initial_peers: list[str]) -> None:
        P2P._UNIX_SOCKET_PREFIX = f"/unix{settings['folder']}/"
        self.tensor = torch.zeros(settings["values"])
        self._peers = settings["peers"]
        self._dht = hivemind.DHT(
            start=True, initial_peers=initial_peers, host_maddrs=["/ip4/127.0.0.1/tcp/0"]
        )
        self.addresses = [str(address) for address in self._dht.get_visible_maddrs()]
        self._averager = hivemind.DecentralizedAverager(
            [self.tensor],
            self._dht,
            start=True,
            prefix="benchmark",
            target_group_size=self._peers,
            min_group_size=self._peers,
            min_matchmaking_time=3.0,
            request_timeout=1.0,
            bandwidth=1.0,  # the same for all: equal parts
            compression=CODECS[settings["codec"]](),
            part_size_bytes=settings["part_bytes"],
            allreduce_timeout=SECONDS,
        )
        self._step: Any = None

    def load(self, vector: torch.Tensor) -> None:
        with self._averager.get_tensors() as (tensor,):
            tensor.copy_(vector)

    def match(self) -> None:
        self._step = self._averager.step(wait=False, require_trigger=True, timeout=SECONDS)
        while self._step.stage != AveragingStage.AWAITING_TRIGGER:
            if self._step.done():
                self._step.result()
                raise RuntimeError("averaged before it was told to")
            time.sleep(_POLL_SECONDS)

    def reduce(self) -> None:
        self._step.allow_allreduce()
        members = self._step.result(timeout=SECONDS)
        if len(members) != self._peers:
            raise RuntimeError(f"a group of {len(members)} instead of {self._peers}")


class Gloo:
    """An all-reduce among a fixed number of processes."""

    addresses: tuple[str, ...] = ()

    def __init__(self, settings: dict[str, Any], initial_peers: list[str]) -> None:
        os.environ["GLOO_SOCKET_IFNAME"] = "lo"
        self.tensor = torch.zeros(settings["values"])
        self._half = settings["codec"] == "fp16"
        self._peers, self._row = settings["peers"], settings["row"]
        self._store = Path(settings["folder"]).parent / "gloo"

    def load(self, vector: torch.Tensor) -> None:
        self.tensor.copy_(vector)

    def match(self) -> None:
        if not torch.distributed.is_initialized():
            torch.distributed.init_process_group(
                "gloo",
                init_method=f"file://{self._store}",
                rank=self._row,
                world_size=self._peers,
            )

    def reduce(self) -> None:
        if self._half:
            travelling = (self.tensor * _FP16_SCALE).half()
            torch.distributed.all_reduce(travelling)
            torch.mul(travelling.float(), 1 / (_FP16_SCALE * self._peers), out=self.tensor)
        else:
            torch.distributed.all_reduce(self.tensor)
            self.tensor /= self._peers


def stock(orders: Orders) -> None:
    """The process of a stock averager."""
    _obey(orders, Stock)


def gloo(orders: Orders) -> None:
    """The process of a member of an all-reduce."""
    _obey(orders, Gloo)


def _obey(orders: Orders, kind: type[Stock] | type[Gloo]) -> None:
    torch.set_num_threads(1)
    settings = orders.hear()
    vectors = Vectors.shared(settings["peers"], settings["values"])
    row = settings["row"]
    rival = kind(settings, orders.hear()["initial_peers"])
    orders.reply(addresses=rival.addresses, name=str(row))
    while True:
        order, reply = orders.hear()["do"], {}
        if order == "load":
            rival.load(torch.from_numpy(vectors.inputs[row]))
        elif order == "match":
            rival.match()
        elif order == "go":
            rival.reduce()
            reply = {"ended": time.monotonic(), "problem": ""}
        elif order == "store":
            vectors.results[row] = rival.tensor.numpy()
        orders.reply(**reply)

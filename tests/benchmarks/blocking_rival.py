"""The loop of OpenDiLoCo with hivemind's own averager: train, then wait until it has averaged.

`python -m tests.benchmarks.blocking_rival JSON` is one peer of it; see `Rival` for the keys. It
prints its address first, and in the end one JSON object with where its time went. hivemind's
processes outlive their parent: run it in a namespace that is removed afterwards.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from functools import partial

_JOIN_SECONDS = 120.0


@dataclass(frozen=True)
class Rival:
    """One peer of the blocking loop."""

    index: int
    host: str
    initial_peers: tuple[str, ...]
    peers: int
    values: int
    codec: str
    """fp32 or int8 (hivemind's `Uniform8BitQuantization`)."""
    rounds: int
    inner_steps: int
    """In each round."""
    step_seconds: float

    def arguments(self) -> list[str]:
        return ["-m", "tests.benchmarks.blocking_rival", json.dumps(asdict(self))]


def main() -> None:
    rival = Rival(**json.loads(sys.argv[1]))
    import hivemind
    import torch
    from hivemind.compression import NoCompression, Uniform8BitQuantization

    codecs = {"fp32": NoCompression, "int8": Uniform8BitQuantization}
    dht = hivemind.DHT(
        host_maddrs=[f"/ip4/{rival.host}/tcp/0"],
        initial_peers=list(rival.initial_peers),
        start=True,
    )
    print(next(str(it) for it in dht.get_visible_maddrs() if rival.host in str(it)), flush=True)
    sys.stdin.readline()  # the others are there
    vector = torch.randn(rival.values, generator=torch.Generator().manual_seed(rival.index))
    averager = hivemind.DecentralizedAverager(
        [vector],
        dht,
        prefix="rival",
        target_group_size=rival.peers,
        min_group_size=rival.peers,
        compression=codecs[rival.codec](),
        start=True,
    )
    average = partial(averager.step, timeout=_JOIN_SECONDS, wait=True)
    average()  # the group's first meeting is not counted
    blocked: list[float] = []
    began = time.monotonic()
    for _ in range(rival.rounds):
        time.sleep(rival.inner_steps * rival.step_seconds)
        asked = time.monotonic()
        if average() is None:
            raise SystemExit("hivemind's averager gave up")
        blocked.append(time.monotonic() - asked)
    trained = rival.rounds * rival.inner_steps * rival.step_seconds
    share = trained / (time.monotonic() - began)
    print(json.dumps({"blocked": blocked, "share": share}), flush=True)
    sys.stdin.readline()  # the others are done
    os._exit(0)  # the namespace's end takes hivemind's processes


if __name__ == "__main__":
    main()

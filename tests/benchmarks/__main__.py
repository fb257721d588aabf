"""`python -m tests.benchmarks NAME [ARGUMENTS]` runs one benchmark; README.md keeps results."""

from __future__ import annotations

import importlib
import signal
import sys

NAMES = {
    "churn": "peers killed, frozen, cut off and joining: what is lost, who waits (root)",
    "averaging": "our averaging against stock hivemind's and gloo's: speed, cost, error",
    "agreement": "one digest after each of 200 rounds, while peers are killed and join",
    "coordinator": "one coordinator under 10,000 reporting peers and 200 dashboards, then killed",
    "history_size": "a coordinator's database after a year of a thousand peers",
    "inner_outer": "inner and outer settings of the demo, simulated",
    "limits": "each limit of a volunteer: the value set and the value measured (root)",
    "links": "rounds over slow links: round time, trainer's share, a blocking rival (root)",
    "pausing": "how soon a pause gives the machine back, and how soon it trains again",
    "peer_figures": "start-up, round time, cost of averaging and memory of real peers",
    "quality": "loss of rare, lossy, late exchanges against data parallel, simulated",
    "soak": "memory and descriptors of daemon, trainer and p2pd over 500 rounds",
    "speeds": "peers of speeds 1, 1, 0.5 and 0.1: merged tokens a second against the ideal",
    "state_download": "a state from one donor and from three, with the cap and without",
}


def main() -> None:
    if len(sys.argv) < 2 or sys.argv[1] not in NAMES:
        known = "\n".join(f"  {name:14} {what}" for name, what in NAMES.items())
        raise SystemExit(f"usage: python -m tests.benchmarks NAME [ARGUMENTS]\n{known}")
    # as Ctrl-C does: what a benchmark has started, it ends
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    name = sys.argv.pop(1)
    importlib.import_module(f"tests.benchmarks.{name}").main()


main()

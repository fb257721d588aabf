"""A process without tensors, as a daemon is, has the network without torch."""

from __future__ import annotations

import subprocess
import sys

NETWORK_ALONE = """
import sys
import peer.daemon, peer.joining
from peer.swarm.libp2p import Libp2pNetwork
heavy = {"torch", "transformers", "hivemind.averaging", "hivemind.moe"} & set(sys.modules)
print(Libp2pNetwork.__name__, sorted(heavy))
"""

AND_THEN_ALL = """
from peer.swarm.hivemind_parts import DHTNode
import hivemind
from hivemind.dht import DHTNode as theirs
print(hivemind.Optimizer.__name__, theirs is DHTNode)
"""


def told_by(script: str) -> str:
    # in a process of its own: others of this suite have imported both
    told = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", script],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (told.returncode, told.stderr) == (0, "")
    return told.stdout


def test_libp2p_is_there_and_torch_is_not() -> None:
    assert told_by(NETWORK_ALONE) == "Libp2pNetwork []\n"


def test_who_imports_hivemind_afterwards_gets_all_of_it() -> None:
    assert told_by(AND_THEN_ALL) == "Optimizer True\n"

"""The network of a process that has no tensors comes without torch."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
from peer.swarm.without_tensors import import_network_alone
import_network_alone()
import_network_alone()
from peer.swarm.libp2p import Libp2pNetwork
heavy = {"torch", "transformers", "hivemind.averaging", "hivemind.moe"} & set(sys.modules)
print(Libp2pNetwork.__name__, sorted(heavy))
"""


def test_libp2p_is_there_and_torch_is_not() -> None:
    # in a process of its own: others of this suite have imported both
    told = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=120, check=False
    )
    assert (told.returncode, told.stderr) == (0, "")
    assert told.stdout == "Libp2pNetwork []\n"

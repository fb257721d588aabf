"""What is used of hivemind: libp2p and the DHT, without torch. The only importer of hivemind.

Whoever imports a module of hivemind runs its packages first, and they import everything that it
has, torch included: two seconds of a processor and 190 MB for every daemon and coordinator, none
of which has tensors. So those packages are known, while this module is imported, without having
been run.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

os.environ.setdefault("HIVEMIND_LOGLEVEL", "ERROR")  # read when hivemind is imported

_PACKAGES = ("hivemind", "hivemind.dht", "hivemind.utils")
"""Those that would import the rest; a package after the one that it is in."""
_EXPECTED = {
    "get_logger": "logging",
    "MSGPackSerializer": "serializer",
    "SerializerBase": "serializer",
    "get_dht_time": "timed_storage",
}
"""What the parts used here expect in `hivemind.utils`, and the module that it comes from."""


@contextmanager
def _packages_not_run() -> Iterator[None]:
    """Without effect where somebody has imported hivemind as it is."""
    if "hivemind" in sys.modules:
        yield
        return
    for name in _PACKAGES:
        sys.modules[name] = _hollow(name)
    try:
        for name, home in _EXPECTED.items():
            module = importlib.import_module(f"hivemind.utils.{home}")
            setattr(sys.modules["hivemind.utils"], name, getattr(module, name))
        yield
    finally:
        for name in _PACKAGES:  # who imports hivemind later gets all of it
            del sys.modules[name]


def _hollow(name: str) -> ModuleType:
    """A package whose modules can be imported, and that was not run itself."""
    found = importlib.util.find_spec(name)
    if found is None:
        raise ImportError(f"{name} is not installed")
    return importlib.util.module_from_spec(found)


with _packages_not_run():
    from hivemind.dht.node import DHTNode
    from hivemind.dht.routing import DHTID
    from hivemind.dht.validation import DHTRecord, RecordValidatorBase
    from hivemind.p2p import P2P, PeerID
    from hivemind.p2p.p2p_daemon_bindings.datastructures import StreamInfo
    from hivemind.p2p.p2p_daemon_bindings.utils import (
        P2PDaemonError,
        raise_if_failed,
        read_pbmsg_safe,
        write_pbmsg,
    )
    from hivemind.proto import dht_pb2, p2pd_pb2
    from hivemind.utils.multiaddr import Multiaddr
    from hivemind.utils.serializer import MSGPackSerializer

__all__ = [
    "DHTID",
    "P2P",
    "DHTNode",
    "DHTRecord",
    "MSGPackSerializer",
    "Multiaddr",
    "P2PDaemonError",
    "PeerID",
    "RecordValidatorBase",
    "StreamInfo",
    "dht_pb2",
    "p2pd_pb2",
    "raise_if_failed",
    "read_pbmsg_safe",
    "write_pbmsg",
]

"""hivemind without torch, for a process that has no tensors: the coordinator, 190 MB lighter.

hivemind's package imports all of its parts, and those that the coordinator needs (libp2p and the
DHT) name torch only where tensors are sent or futures shared between processes, which it never
does. So here its package is known without having been run, and what asks for torch while it is
imported gets a stand-in that fails nowhere and does nothing.
"""

from __future__ import annotations

import importlib
import importlib.util
import multiprocessing.connection  # noqa: F401  hivemind counts on torch having imported it
import sys
import types
from typing import Any


class _Absent:
    """Stands for whatever is asked of it."""

    def __getattr__(self, name: str) -> _Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *_arguments: Any, **_named: Any) -> _Absent:
        return self


class _NoTorch(types.ModuleType):
    def __getattr__(self, name: str) -> _Absent:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Absent()


def import_network_alone() -> None:
    """Import `peer.swarm.libp2p` so; without effect once hivemind or torch is imported.

    To be called once in a process that does nothing with tensors, before anything else of
    hivemind is imported. torch itself can be imported afterwards.
    """
    if "hivemind" in sys.modules or "torch" in sys.modules:
        return
    found = importlib.util.find_spec("hivemind")
    if found is None or found.submodule_search_locations is None:
        raise ImportError("hivemind is not installed")
    package = types.ModuleType("hivemind")
    package.__spec__ = found
    package.__path__ = list(found.submodule_search_locations)
    sys.modules["hivemind"] = package
    sys.modules["torch"] = _NoTorch("torch")
    try:
        importlib.import_module("peer.swarm.libp2p")
    finally:
        del sys.modules["torch"]

"""Simulations run in simulated time."""

from __future__ import annotations

from typing import Any

import anyio.to_thread
import pytest

from tests.sim.clock import SimulatedLoop, run_at_once


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """An event loop that jumps over every wait."""
    return "asyncio", {"loop_factory": SimulatedLoop}


@pytest.fixture(autouse=True)
def _no_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still while something is computed."""
    monkeypatch.setattr(anyio.to_thread, "run_sync", run_at_once)

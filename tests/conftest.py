"""Fixtures that every test may use, how examples are drawn, and in which order files are run."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Nobody times an example: the machine may be doing other things. And what is red was made so by a
# change, not by the day's luck: the same examples until a test changes. To look for others:
# `pytest --hypothesis-profile=explore`
settings.register_profile("suite", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("suite")

LONGEST = (
    "tests/e2e/test_peers.py",
    "tests/e2e/test_coordinator_gone.py",
    "tests/benchmarks/test_swarms.py",
    "tests/e2e/test_dashboard.py",
    "tests/e2e/test_orders.py",
    "tests/e2e/test_demo.py",
    "tests/e2e/test_hardships.py",
    "tests/e2e/test_resuming.py",
    "tests/unit/test_repository.py",
    "tests/e2e/test_trainer.py",
    "tests/e2e",
    "tests/benchmarks",
    "tests/contract",
    "tests/sim",
)
"""Files that take a minute or more, the longest first, then folders; the rest comes last."""


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Asynchronous tests run on the event loop that the daemon uses."""
    return "asyncio", {"use_uvloop": True}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long files first: one that began last would keep one process busy and the others idle."""
    items.sort(key=lambda item: _place(item.nodeid.partition("::")[0]))


def _place(file: str) -> int:
    return next((at for at, it in enumerate(LONGEST) if file.startswith(it)), len(LONGEST))

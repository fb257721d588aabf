"""Fixtures that every test may use, and how examples are drawn."""

from __future__ import annotations

import pytest
from hypothesis import settings

# Nobody times an example: the machine may be doing other things. And what is red was made so by a
# change, not by the day's luck: the same examples until a test changes. To look for others:
# `pytest --hypothesis-profile=explore`
settings.register_profile("suite", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile("suite")


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, bool]]:
    """Asynchronous tests run on the event loop that the daemon uses."""
    return "asyncio", {"use_uvloop": True}

"""Stores on both databases. The server is started once in each process of the tests."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from coordinator.storage.store import Store
from tests.contract.stores import RUN, Where
from tests.postgresql import fresh_schema, running_server


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a server."""
    with running_server() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Where]:
    """A place for a new database."""
    if request.param == "sqlite":
        yield tmp_path / "coordinator.sqlite"
    else:
        with fresh_schema(request.getfixturevalue("postgresql")) as url:
            yield url


@pytest.fixture
def store(where: Where) -> Iterator[Store]:
    """With the run `demo`."""
    with closing(Store.open(where)) as opened:
        opened.add_run(RUN)
        yield opened

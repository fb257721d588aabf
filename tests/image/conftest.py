"""What the tests of this folder need of the machine, and the image, built once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.image import PATH, Image, built

REQUIRE_ALL = "MURMURATION_REQUIRE_ALL"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("image")
            # whichever is the first to ask for the image waits until it is built
            item.add_marker(pytest.mark.timeout(2400))


def needs(*programs: str) -> None:
    """Skip, or fail where CI says that all is there."""
    missing = [it for it in programs if shutil.which(it, path=PATH) is None]
    if missing:
        if os.environ.get(REQUIRE_ALL):
            pytest.fail(f"{', '.join(missing)} not found, and {REQUIRE_ALL} is set")
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    """Built on a Debian of its own; it is gone afterwards, with all that came of it."""
    needs("buildah", "debootstrap", "docker-compose", "ip", "runc")
    if os.geteuid() != 0:
        pytest.skip("an image is built here by root only")
    with built(tmp_path_factory.mktemp("image")) as it:
        yield it

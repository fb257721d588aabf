"""What a coordinator asks of the system that it runs on."""

from __future__ import annotations

import resource

from coordinator.interpreter import many_connections


def test_as_many_files_may_be_open_as_the_system_grants() -> None:
    soft, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = min(512, soft)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
        many_connections()
        allowed, still = resource.getrlimit(resource.RLIMIT_NOFILE)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert few < allowed <= hard or few == hard
    assert still == hard

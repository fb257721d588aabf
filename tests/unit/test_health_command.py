"""`coordinator health`: what an image's health check hears."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from click.testing import CliRunner, Result
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from coordinator.cli import main
from swarmpb.exits import Exit


class Coordinator:
    """Answers health checks, and nothing else."""

    def __init__(self, server: grpc.Server) -> None:
        self.servicer = health.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self.servicer, server)
        self.address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"

    def asked(self) -> Result:
        return CliRunner().invoke(main, ["health", "--coordinator", self.address])


@pytest.fixture
def coordinator() -> Iterator[Coordinator]:
    server = grpc.server(ThreadPoolExecutor(1))
    it = Coordinator(server)
    server.start()
    yield it
    server.stop(None).wait()


def test_one_that_serves_is_healthy_and_says_nothing(coordinator: Coordinator) -> None:
    coordinator.servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    end = coordinator.asked()
    assert (end.exit_code, end.output) == (0, "")


def test_one_that_takes_nothing_is_not_though_it_answers(coordinator: Coordinator) -> None:
    coordinator.servicer.set("", health_pb2.HealthCheckResponse.NOT_SERVING)
    end = coordinator.asked()
    assert end.exit_code == Exit.STATE_FOLDER
    assert f"the coordinator at {coordinator.address} answers, but takes nothing" in end.stderr


def test_where_none_answers_that_is_what_is_said() -> None:
    end = CliRunner().invoke(main, ["health", "--coordinator", "127.0.0.1:9"])
    assert end.exit_code == Exit.COORDINATOR_UNREACHABLE
    assert "no coordinator answers at 127.0.0.1:9" in end.stderr

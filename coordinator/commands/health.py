"""`coordinator health`: whether one answers and does its work, for health checks of containers."""

from __future__ import annotations

import click

from coordinator.commands.options import ask, asked
from swarmpb.endpoints import Endpoint
from swarmpb.exits import Exit, UserError


@click.command(epilog="Example: coordinator health && echo it serves")
@ask
def health(told: Endpoint | None) -> None:
    """Say nothing and end with 0 if the coordinator serves.

    Else one line says what is wrong, and the exit code is 11 if none answers, 15 if it takes
    nothing: its disk is full, or it is about to stop.
    """
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from coordinator.commands.client import Connection

    where = asked(told)
    with Connection(where.endpoint) as connection:
        stub = health_pb2_grpc.HealthStub(connection.channel)
        answer = connection.call(stub.Check, health_pb2.HealthCheckRequest())
        if answer.status != health_pb2.HealthCheckResponse.SERVING:
            raise UserError(
                Exit.STATE_FOLDER,
                f"the coordinator at {where.endpoint.address} answers, but takes nothing: it is"
                " about to stop, or cannot write; its /healthz and its log say which",
            )

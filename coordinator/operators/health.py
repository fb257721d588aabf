"""gRPC's own health checks and reflection, for load balancers, orchestrators and `grpcurl`.

The coordinator is NOT_SERVING while its store takes nothing, and from the moment it begins to
stop. Peers do not ask: they report, and come again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from swarmpb.v1 import admin_pb2, coordinator_pb2

SERVICES = tuple(
    file.services_by_name[name].full_name
    for file, name in (
        (coordinator_pb2.DESCRIPTOR, "Coordinator"),
        (admin_pb2.DESCRIPTOR, "Admin"),
    )
)
LOOK_SECONDS = 1.0

_Status = health_pb2.HealthCheckResponse


class Health:
    """Says of this coordinator's services whether they can do their work."""

    def __init__(self, server: grpc.aio.Server) -> None:
        """Adds the services to `server`, which must not have been started."""
        self._servicer = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)
        names = (*SERVICES, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name)
        reflection.enable_server_reflection((*names, reflection.SERVICE_NAME), server)
        self._told: bool | None = None

    async def tell(self, serving: bool) -> None:
        """Let those who watch know, if it is not what they know."""
        if serving is self._told:
            return
        self._told = serving
        for name in ("", *SERVICES):
            await self._servicer.set(name, _Status.SERVING if serving else _Status.NOT_SERVING)

    async def stop(self) -> None:
        """From now on nothing is served, whatever is told later."""
        await self._servicer.enter_graceful_shutdown()

    async def follow(self, storing: Callable[[], bool]) -> None:
        """Tell for ever whether the store takes what is written."""
        while True:
            await self.tell(storing())
            await asyncio.sleep(LOOK_SECONDS)

"""Composition root of `coordinator serve`: what is started, in which order, and how it ends."""

from __future__ import annotations

import asyncio
import ipaddress
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import grpc

from coordinator import finding, interpreter
from coordinator.beside import beside, watch_time
from coordinator.config import ServeSettings
from coordinator.dht_peer import Whereabouts, keep_in_touch, start_dht_peer
from coordinator.domain import Run, SpecChangedError
from coordinator.limits import CallLimits
from coordinator.membership import admin_token
from coordinator.membership.administration import Administration
from coordinator.membership.admission import Admissions
from coordinator.membership.authority import Authority
from coordinator.membership.restoring import Restoring, Tombstones
from coordinator.model_keeper import KeptModels, ModelKeeper
from coordinator.operators import logs
from coordinator.operators.disk import disk_trouble
from coordinator.operators.health import Health
from coordinator.operators.observing import Observatory
from coordinator.operators.webhooks import Webhooks, load_secret
from coordinator.registration import known_owner, load_authority_key, load_owner_key, sign
from coordinator.rpc.admin import AdminServicer
from coordinator.rpc.call_gate import CallGate
from coordinator.rpc.desk import Desk
from coordinator.rpc.listening import bind, bind_grpc, check_port, dialled_host, host_port
from coordinator.rpc.servicer import MAX_CALLS, SERVER_OPTIONS, CoordinatorServicer
from coordinator.rpc.transport import Transport, transport
from coordinator.service import CoordinatorService
from coordinator.spectators.parameter_counts import ParameterCounts
from coordinator.spectators.reading import Reading
from coordinator.spectators.sampling import Sampling
from coordinator.storage.store import Store
from coordinator.storage.upkeep import Upkeep
from coordinator.web.serving import dashboard
from peer.runtime import RuntimeFolder
from peer.swarm.clock import CLOCK
from swarmpb.endpoints import Endpoint, JoinLink
from swarmpb.exits import Exit, UserError
from swarmpb.spec import preset
from swarmpb.v1 import admin_pb2_grpc, coordinator_pb2_grpc, membership_pb2, swarm_pb2

GRACE_SECONDS = 2.0
"""How long calls under way may take to finish when the coordinator stops."""

Announce = Callable[[str], None]


def serve(settings: ServeSettings, announce: Announce) -> None:
    """Serve until SIGINT or SIGTERM; a second one ends the process at once.

    `announce` gets the lines for people and scripts: where the coordinator listens, and how to
    join. Raises `UserError`: ALREADY_RUNNING, STATE_FOLDER, PORT_IN_USE, BAD_CONFIG, SPEC_CHANGED.
    """
    interpreter.one_heap()
    interpreter.many_connections()
    logs.begin(settings.log_format, settings.log_level)
    anyio.run(_serve, settings, announce, backend_options={"use_uvloop": True})


async def _serve(settings: ServeSettings, announce: Announce) -> None:
    with _cancelled_by_signals():
        async with _running(settings, announce) as keep_going:
            await keep_going()


@contextmanager
def _cancelled_by_signals() -> Iterator[None]:
    """Cancel what runs inside at the first SIGINT or SIGTERM, and end there without an error."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None  # noqa: S101  inside a coroutine there is one
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if stopping:
            os._exit(Exit.INTERRUPTED)
        stopping = True
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    try:
        yield
    except asyncio.CancelledError:
        if not stopping:
            raise


@asynccontextmanager
async def _running(
    settings: ServeSettings, announce: Announce
) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """A coordinator that serves, and what it does besides, for ever.

    Everything it holds is let go of in reverse order.
    """
    async with AsyncExitStack() as held:
        folder = RuntimeFolder.claim(settings.state_dir, "a coordinator")
        held.callback(folder.close)
        store = Store.open(settings.database)
        held.callback(store.close)
        worker = held.enter_context(ThreadPoolExecutor(1, thread_name_prefix="service"))
        authority = Authority(
            load_authority_key(settings.authority_key), store.membership, CLOCK.now
        )
        service = CoordinatorService(store, owners=_restorable(settings), authority=authority)
        token = admin_token.load_or_create(settings.admin_token)
        if settings.demo:
            _register_demo(service, authority, settings)

        secured = transport(settings, CLOCK.now())
        check_port(settings.host, settings.grpc_port)
        listener = bind(settings.host, settings.http_port, "--http-port")
        held.callback(listener.close)
        # the network first: it starts a process, and gRPC and fork do not mix
        network = await start_dht_peer(
            settings.identity, folder.path, settings.host, settings.p2p_port
        )
        held.push_async_callback(network.close)
        observatory = Observatory(service, worker, CLOCK.now)
        if isinstance(settings.database, Path):
            observatory.measure_files(settings.database)
        server = grpc.aio.server(
            interceptors=[
                CallGate(CallLimits(), CLOCK.now),
                observatory.calls,
                admin_token.TokenGate(token),
            ],
            options=SERVER_OPTIONS,
            maximum_concurrent_rpcs=MAX_CALLS,
        )
        credentials = secured.credentials() if secured else None
        grpc_port = bind_grpc(server, settings.host, settings.grpc_port, credentials)
        desk = Desk(service, authority, worker, network.addresses)
        admissions = Admissions(service, authority, store, CLOCK.now)
        keeper = _model_keeper(settings, service, admissions, worker, network.addresses)
        service.wants_model = keeper.wants
        await held.enter_async_context(beside(keeper.keep))
        tombstones = Tombstones(settings.tombstones)
        restoring = Restoring(service, authority, tombstones, settings.owner_key)
        servicer = CoordinatorServicer(desk, admissions, restoring, observatory.reports)
        coordinator_pb2_grpc.add_CoordinatorServicer_to_server(servicer, server)
        administration = Administration(service, authority, store.membership, tombstones, CLOCK.now)
        administration.forget_model = keeper.forget
        admin = AdminServicer(desk, administration, admissions)
        admin_pb2_grpc.add_AdminServicer_to_server(admin, server)
        health = Health(server)
        held.push_async_callback(server.stop, GRACE_SECONDS)
        held.push_async_callback(health.stop)
        await server.start()
        sampling, upkeep = Sampling(service, store, CLOCK.now), Upkeep(store, CLOCK.now)
        looks = service.pass_time, administration.pass_time, sampling.pass_time, upkeep.pass_time
        for look in looks:
            await held.enter_async_context(beside(partial(watch_time, look, worker)))
        await held.enter_async_context(beside(partial(health.follow, observatory.is_storing)))
        await held.enter_async_context(observatory.delivering(_webhooks(settings)))

        found = _whereabouts(settings, network.addresses, grpc_port, secured)
        finding.write(settings.state_dir, found)

        def join_command(run_id: str) -> str:
            return f"peer join {JoinLink(found.public, run_id)}"

        counts = ParameterCounts(settings.parameter_counts)
        await held.enter_async_context(beside(counts.keep_counting))
        reading = Reading(service, store, authority.orders, join_command, CLOCK.now, counts.of)
        http_port = listener.getsockname()[1]
        trouble = partial(disk_trouble, settings.state_dir)
        await held.enter_async_context(
            dashboard(
                reading,
                worker,
                listener,
                trouble,
                secured.files if secured else None,
                observatory.metrics,
            )
        )

        interpreter.settle()
        announce(f"grpc {host_port(settings.host, grpc_port)}")
        for address in network.addresses:
            announce(f"p2p {address}")
        scheme = "https" if secured else "http"
        shown = host_port(dialled_host(settings.host, network.addresses), http_port)
        announce(f"dashboard {scheme}://{shown}/")
        announce(f"join with: {join_command('demo' if settings.demo else 'RUN')}")

        async def whereabouts() -> Whereabouts:
            return await asyncio.get_running_loop().run_in_executor(worker, service.whereabouts)

        yield partial(keep_in_touch, network, whereabouts)


def _whereabouts(
    settings: ServeSettings, p2p_addresses: Sequence[str], port: int, secured: Transport | None
) -> finding.Whereabouts:
    """How this machine and others reach the coordinator."""
    pin = secured.pin if secured else b""
    everywhere = ipaddress.ip_address(settings.host).is_unspecified
    loopback = "::1" if ":" in settings.host else "127.0.0.1"
    local = Endpoint(loopback if everywhere else settings.host, port, pin)
    if settings.advertise is not None:
        return finding.Whereabouts(local, replace(settings.advertise, pin=pin))
    dialled = dialled_host(settings.host, p2p_addresses)
    return finding.Whereabouts(local, Endpoint(dialled, port, pin))


def _model_keeper(
    settings: ServeSettings,
    service: CoordinatorService,
    admissions: Admissions,
    worker: ThreadPoolExecutor,
    addresses: Sequence[str],
) -> ModelKeeper:
    async def ended() -> Sequence[Run]:
        return await asyncio.get_running_loop().run_in_executor(worker, service.ended_runs)

    def admit(envelope: swarm_pb2.Envelope) -> membership_pb2.Admission:
        return worker.submit(admissions.admit_guest, envelope).result()

    return ModelKeeper(KeptModels(settings.models), ended, addresses, admit)


def _webhooks(settings: ServeSettings) -> Webhooks | None:
    if not settings.webhooks:
        return None
    secret = load_secret(settings.webhook_secret_file, settings.webhook_secret)
    return Webhooks(settings.webhooks, secret, settings.webhook_memory)


def _restorable(settings: ServeSettings) -> list[bytes]:
    """The owners whose lost runs peers may restore: this machine's own, and those named."""
    own = known_owner(settings.owner_key)
    return [*settings.restore_owners, *([own] if own is not None else [])]


def _register_demo(
    service: CoordinatorService, authority: Authority, settings: ServeSettings
) -> None:
    owner = load_owner_key(settings.owner_key)
    try:
        run = service.register(sign(preset("demo"), owner))
        if not authority.speaks_for(run.run_id):
            authority.grant_itself(run, owner)
    except SpecChangedError as error:
        raise UserError(
            Exit.SPEC_CHANGED,
            f"{error}; for a new demo name another folder with --state-dir",
        ) from error

"""Composition root of `peer join`: what is claimed, found and started, and in which order."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import anyio.to_thread

from peer import events
from peer.admission import Admission
from peer.checkpoint_keeper import FoundCheckpoints
from peer.config import PeerConfig
from peer.connecting import Connector
from peer.control import serve_control
from peer.coordinator_client import CoordinatorClient, CoordinatorUnreachable
from peer.credited import Receipt, receipts_of
from peer.daemon import Daemon
from peer.departure import Departure
from peer.energy.meter import EnergyMeter, rapl_here
from peer.files import set_aside
from peer.join_request import JoinRequest
from peer.journal import Journal
from peer.limits.disk import Disk
from peer.limits.in_force import LimitsInForce
from peer.limits.micro_batches import MicroBatches
from peer.limits.resources import Resources
from peer.limits.traffic import Traffic
from peer.local_runs import run_folder
from peer.members import Members
from peer.membership_files import load_membership, load_orders
from peer.notices import Notices
from peer.reporter import Reporter
from peer.resting.lookout import Lookout, keep_looking
from peer.run_log import log_changes
from peer.run_metadata import RunMetadata, load_metadata, require_same_run, save_metadata
from peer.runtime import RuntimeFolder, state_folder_error
from peer.screen.show import show_live
from peer.settings import Settings
from peer.steering import LivePeer
from peer.swarm.clock import CLOCK
from peer.swarm.interface import Network, short
from peer.swarm.shaping import Shaper
from peer.training.options import TrainerOptions
from swarmpb.exits import Exit, UserError
from swarmpb.files import write_private
from swarmpb.signing import BadSignatureError, PeerIdentity
from swarmpb.v1 import membership_pb2

log = logging.getLogger(__name__)

_IDENTITY = "identity.key"
_JOURNAL = "journal.sqlite"


async def join(
    request: JoinRequest, runtime: RuntimeFolder, limits: LimitsInForce, lookout: Lookout
) -> events.Stop:
    """Take part in a run until it ends, its user stops it, or it has to rest.

    Raises `UserError`. The claim on the folders stays the caller's.
    """
    failure: UserError | None = None
    async with anyio.create_task_group() as tasks:
        departure = Departure(runtime, tasks)
        tasks.start_soon(departure.obey_signals)
        tasks.start_soon(keep_looking, lookout, departure.rest)
        live = LivePeer(request, limits, departure, lookout)
        try:
            async with serve_control(runtime.path, live):
                departure.stop = await _take_part(request, runtime, limits, live, lookout.rested)
        except UserError as error:
            failure = error  # raised below: a task group would wrap it
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return departure.ended()


async def _take_part(
    request: JoinRequest,
    runtime: RuntimeFolder,
    limits: LimitsInForce,
    live: LivePeer,
    rested: bool,
) -> events.Stop:
    async with AsyncExitStack() as stack:
        coordinator = CoordinatorClient(request.config.coordinator)
        stack.push_async_callback(coordinator.close)
        try:
            metadata = await _find_run(request, coordinator)
            identity = _identity(request.folder / _IDENTITY)
            members = _members(request, metadata, identity)
            found = await anyio.to_thread.run_sync(FoundCheckpoints, request.folder)
        except OSError as error:
            raise state_folder_error(request.folder, error) from error

        notices = Notices()
        traffic = Traffic(limits, request.config.state_dir, request.run_id, notices)
        connector = _connector(request, runtime, members, traffic.shaper)

        async def connect(again: bool) -> Network:
            if again:
                return await connector.join_again(notices)
            if rested:
                return await connector.join_after_rest(metadata.initial_peers, notices)
            return await connector.join(metadata.initial_peers)

        spec = metadata.spec
        sizes = MicroBatches(request.folder, spec.hash(), spec.inner.batch_size, notices)
        resources = Resources(limits, sizes, Disk(limits, request.folder))
        resources.give_way()
        place = (request.config.state_dir, request.run_id)
        meter = EnergyMeter(request.config.energy, resources, place, notices, rapl_here())
        settings = _settings(request, identity, members, limits, traffic, resources, meter)
        admission = Admission(coordinator, identity, members, request.folder, notices)
        await admission.enter(request.invite)
        journal = Journal(request.folder / _JOURNAL)
        await journal.open()
        stack.push_async_callback(journal.close)
        reporter = Reporter(coordinator, identity, journal, metadata.signed_spec(), members)
        daemon = Daemon(settings, metadata, members, reporter, found, connect, notices)
        live.takes_part(daemon, notices, admission)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(show_live, live.status)
            tasks.start_soon(log_changes, live.status)
            tasks.start_soon(admission.keep)
            tasks.start_soon(traffic.keep)
            stop = await daemon.run()
            log.info("stopped: %s", stop.reason)
            tasks.cancel_scope.cancel()
        return stop


async def receipts_here(config: PeerConfig, run_id: str, most: int) -> list[Receipt]:
    """What this machine's peer was credited with in a run, the newest first; raises `UserError`."""
    folder = run_folder(config.state_dir, run_id)
    client = CoordinatorClient(config.coordinator)
    try:
        return await receipts_of(folder, folder / _IDENTITY, client, run_id, most)
    finally:
        await client.close()


async def _find_run(request: JoinRequest, coordinator: CoordinatorClient) -> RunMetadata:
    """From the coordinator, or from what was kept when it could be reached."""
    kept = load_metadata(request.folder, request.run_id)
    try:
        published = await coordinator.run(request.run_id)
    except CoordinatorUnreachable as error:
        if kept is None:
            raise UserError(
                Exit.COORDINATOR_UNREACHABLE,
                f"{error}; start one with `coordinator serve --demo`, or name the run's with "
                "--coordinator HOST:PORT",
            ) from error
        log.warning("%s: joining run %s through the peers known here", error, request.run_id)
        return kept
    except UserError as error:
        if kept is None or error.code is not Exit.UNKNOWN_RUN:
            raise
        published = await _give_back(coordinator, kept, load_orders(request.folder))
    if kept is not None:
        require_same_run(kept, published)
        published = published.after(kept)
    save_metadata(request.folder, published)
    return published


def _members(request: JoinRequest, metadata: RunMetadata, identity: PeerIdentity) -> Members:
    """Who may take part, as far as is known before the others are asked."""
    members = Members(metadata.identity, identity.peer_id, CLOCK.now)
    load_membership(request.folder, members)
    if metadata.orders is not None:
        try:
            members.take(metadata.orders)
        except BadSignatureError as error:
            raise UserError(
                Exit.BAD_SPEC,
                f"the coordinator's orders for run {request.run_id} are not valid: {error}",
            ) from error
    return members


async def _give_back(
    coordinator: CoordinatorClient,
    kept: RunMetadata,
    orders: membership_pb2.SignedOrders | None,
) -> RunMetadata:
    """To a coordinator that has lost the run; what it then publishes, or what was kept here."""
    try:
        return await coordinator.restored(kept, orders)
    except (UserError, CoordinatorUnreachable) as error:
        log.warning("%s; joining through the peers known here", error)
        return kept


def _connector(
    request: JoinRequest, runtime: RuntimeFolder, members: Members, shaper: Shaper
) -> Connector:
    config = request.config
    key = request.folder / _IDENTITY
    return Connector(key, runtime.path, config.host, config.p2p_port, members, shaper)


def _identity(path: Path) -> PeerIdentity:
    """This peer's key: kept since it first joined the run, or made now."""
    try:
        return PeerIdentity.load(path)
    except FileNotFoundError:
        pass
    except ValueError as error:
        set_aside(path, str(error))
    identity = PeerIdentity.generate()
    write_private(path, identity.to_bytes())
    return identity


def _settings(
    request: JoinRequest,
    identity: PeerIdentity,
    members: Members,
    limits: LimitsInForce,
    traffic: Traffic,
    resources: Resources,
    meter: EnergyMeter,
) -> Settings:
    config = request.config
    by_owner = f"its owner makes a link with `coordinator invite create --run {request.run_id}`"
    return Settings(
        folder=request.folder,
        name=config.name or f"peer-{short(identity.peer_id)}",
        trainer=TrainerOptions(
            cache_folder=request.folder / "data",
            device=config.device,
        ),
        limits=limits,
        traffic=traffic,
        resources=resources,
        energy=meter,
        invitation=by_owner if members.by_invitation else request.invitation,
        export=request.export,
    )

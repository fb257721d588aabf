"""Composition root of `peer join`: what is claimed, found and started, and in which order."""

from __future__ import annotations

import logging
import os
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread
import psutil

from peer import events
from peer.admission import Admission
from peer.checkpoint_keeper import FoundCheckpoints
from peer.config import PeerConfig
from peer.connecting import Connector
from peer.control import serve_control
from peer.coordinator_client import CoordinatorClient, CoordinatorUnreachable
from peer.credited import Receipt, receipts_of
from peer.daemon import Daemon, Settings
from peer.departure import Departure
from peer.files import set_aside
from peer.journal import Journal
from peer.limits.in_force import LimitsInForce
from peer.local_runs import run_folder
from peer.members import Members
from peer.membership_files import load_membership, load_orders
from peer.notices import Notices
from peer.reporter import Reporter
from peer.run_log import kept_log, log_changes
from peer.run_metadata import RunMetadata, load_metadata, require_same_run, save_metadata
from peer.runtime import RuntimeFolder, state_folder_error
from peer.screen.show import show_live
from peer.status import add_limits, add_outlook, status_reply
from peer.steering import LivePeer
from peer.swarm.clock import CLOCK
from peer.swarm.interface import Network, short
from peer.training.options import TrainerOptions
from swarmpb.endpoints import JoinLink, parse_endpoint
from swarmpb.exits import Exit, UserError
from swarmpb.files import write_private
from swarmpb.signing import BadSignatureError, PeerIdentity
from swarmpb.v1 import control_pb2, membership_pb2

log = logging.getLogger(__name__)

_IDENTITY = "identity.key"
_JOURNAL = "journal.sqlite"


@dataclass(frozen=True)
class JoinRequest:
    """What `peer join` was asked for."""

    run_id: str
    config: PeerConfig
    export: Path | None
    invite: str = ""
    """Secret of an invitation."""

    @property
    def folder(self) -> Path:
        return run_folder(self.config.state_dir, self.run_id)

    @property
    def invitation(self) -> str:
        endpoint = parse_endpoint(self.config.coordinator)
        return f"peer join {JoinLink(endpoint, self.run_id)}"


async def join(request: JoinRequest) -> events.Stop:
    """Take part in a run until it ends or the user stops it; raises `UserError`."""
    runtime = RuntimeFolder.claim(request.folder, f"a peer of run {request.run_id}")
    stop = events.Stop(0, "left before it had joined")
    failure: UserError | None = None
    try:
        async with anyio.create_task_group() as tasks:
            departure = Departure(runtime, tasks.cancel_scope)
            tasks.start_soon(departure.obey_signals)
            try:
                stop = await _take_part(request, runtime, departure)
            except UserError as error:
                failure = error  # raised below: a task group would wrap it
            tasks.cancel_scope.cancel()
    finally:
        runtime.close()
    if failure is not None:
        raise failure
    return stop


async def _take_part(
    request: JoinRequest, runtime: RuntimeFolder, departure: Departure
) -> events.Stop:
    async with AsyncExitStack() as stack:
        stack.enter_context(kept_log(request.folder))
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
        connector = _connector(request, runtime, members)

        async def connect(again: bool) -> Network:
            if again:
                return await connector.join_again(notices)
            return await connector.join(metadata.initial_peers)

        settings = _settings(request, identity, members)
        admission = Admission(coordinator, identity, members, request.folder, notices)
        await admission.enter(request.invite)
        journal = Journal(request.folder / _JOURNAL)
        await journal.open()
        stack.push_async_callback(journal.close)
        reporter = Reporter(coordinator, identity, journal, metadata.signed_spec(), members)
        daemon = Daemon(settings, metadata, members, reporter, found, connect, notices)
        departure.daemon = daemon
        return await _run(request, daemon, runtime, notices, admission)


async def receipts_here(config: PeerConfig, run_id: str, most: int) -> list[Receipt]:
    """What this machine's peer was credited with in a run, the newest first; raises `UserError`."""
    folder = run_folder(config.state_dir, run_id)
    client = CoordinatorClient(config.coordinator)
    try:
        return await receipts_of(folder, folder / _IDENTITY, client, run_id, most)
    finally:
        await client.close()


async def _run(
    request: JoinRequest,
    daemon: Daemon,
    runtime: RuntimeFolder,
    notices: Notices,
    admission: Admission,
) -> events.Stop:
    started = time.monotonic()

    def status() -> control_pb2.StatusReply:
        reply = _status(request, daemon, started)
        reply.notices.extend(notices.current())
        reply.membership = admission.describe()
        return reply

    async with serve_control(runtime.path, LivePeer(status)), anyio.create_task_group() as tasks:
        tasks.start_soon(show_live, status)
        tasks.start_soon(log_changes, status)
        tasks.start_soon(admission.keep)
        stop = await daemon.run()
        log.info("stopped: %s", stop.reason)
        tasks.cancel_scope.cancel()
    return stop


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


def _connector(request: JoinRequest, runtime: RuntimeFolder, members: Members) -> Connector:
    config = request.config
    key = request.folder / _IDENTITY
    return Connector(key, runtime.path, config.host, config.p2p_port, members)


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


def _settings(request: JoinRequest, identity: PeerIdentity, members: Members) -> Settings:
    config = request.config
    by_owner = f"its owner makes a link with `coordinator invite create --run {request.run_id}`"
    return Settings(
        folder=request.folder,
        name=config.name or f"peer-{short(identity.peer_id)}",
        trainer=TrainerOptions(
            cache_folder=request.folder / "data",
            threads=config.limits.threads,
            device=config.device,
        ),
        limits=LimitsInForce(config.limits),
        invitation=by_owner if members.by_invitation else request.invitation,
        export=request.export,
    )


def _status(request: JoinRequest, daemon: Daemon, started: float) -> control_pb2.StatusReply:
    reply = status_reply(daemon.snapshot())
    add_outlook(reply, daemon.outlook(), daemon.losses())
    add_limits(reply, daemon.limits)
    reply.pid = os.getpid()
    reply.uptime_seconds = time.monotonic() - started
    reply.coordinator = request.config.coordinator
    reply.coordinator_state = daemon.reporter.contact.describe(CLOCK.now())
    reply.checkpoint_seconds = daemon.checkpoint_seconds
    reply.daemon_rss_bytes = _resident(os.getpid())
    trainer = daemon.work.trainer
    if trainer is not None:
        reply.trainer_pid = trainer.pid
        reply.trainer_rss_bytes = _resident(trainer.pid)
    return reply


def _resident(pid: int) -> int:
    try:
        return int(psutil.Process(pid).memory_info().rss)
    except psutil.NoSuchProcess:
        return 0

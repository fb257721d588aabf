"""What `peer doctor` looks at, one after the other; what cannot be seen is left out, and said.

Nothing is left behind: keys, sockets and text that had to be fetched lie in a temporary folder.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import anyio
import anyio.to_thread

from peer.config import PeerConfig
from peer.control import ask_status
from peer.coordinator_client import CoordinatorClient, CoordinatorUnreachable
from peer.doctor.dialling import reach_here
from peer.doctor.findings import Findings, Machine, Swarm
from peer.doctor.leftovers import PREFIX, folders_of_killed
from peer.doctor.trial import NoTrial, text_here, try_training
from peer.hardware import this_machine
from peer.limits.disk import Disk
from peer.limits.in_force import LimitsInForce
from peer.limits.micro_batches import MicroBatches
from peer.limits.resources import Resources
from peer.members import Members
from peer.membership import MAX_ROUND, MAX_TOKENS_PER_SECOND
from peer.membership_files import load_membership
from peer.notices import Notices
from peer.orders import BANNED
from peer.run_metadata import RunMetadata, load_metadata, require_same_run
from peer.runtime import running
from peer.swarm.clock import CLOCK
from peer.swarm.reach import Reach
from peer.training.machine_memory import free_memory
from peer.training.options import TrainerOptions
from swarmpb.exits import Exit, UserError
from swarmpb.signing import BadSignatureError, PeerIdentity
from swarmpb.v1 import control_pb2, membership_pb2

log = logging.getLogger(__name__)

MOST_PEERS = 1_000_000


@dataclass(frozen=True)
class Question:
    """Which machine and which run."""

    config: PeerConfig
    run_id: str | None
    folder: Path | None
    """Of the run on this machine; it need not exist."""
    invite: str = ""


async def look(question: Question, tell: Callable[[str], None]) -> Findings:
    """Find out all that can be; tell: takes what is being done."""
    tell("looking at this machine")
    found = Findings(_machine(question.config), question.config.limits, question.config.p2p_port)
    if question.run_id is None or question.folder is None:
        return found
    with _own_folder() as own:
        tell("asking the coordinator")
        found, metadata = await _run(question, question.folder, found)
        if metadata is None:
            return found
        tell("having other peers dial this machine")
        found = await _reach(question, question.folder, found, metadata, own)
        tell("training a few seconds with the run's model")
        return await _trial(question, question.folder, found, metadata, own)


@contextmanager
def _own_folder() -> Iterator[Path]:
    """A private folder that goes in the end; those of killed processes go now."""
    place = Path(tempfile.gettempdir())
    for left in folders_of_killed(place):
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(
        prefix=f"{PREFIX}{os.getpid()}-", ignore_cleanup_errors=True
    ) as folder:
        yield Path(folder)


def _machine(config: PeerConfig) -> Machine:
    place = config.state_dir
    while not place.exists() and place != place.parent:
        place = place.parent
    told = this_machine()
    try:
        free = shutil.disk_usage(place).free
    except OSError as error:
        raise UserError(
            Exit.STATE_FOLDER, f"cannot look at the disk of {config.state_dir}: {error.strerror}"
        ) from error
    return Machine(told.processor, told.cores, free_memory(), free, str(config.state_dir))


# ---- the run ---------------------------------------------------------------------------


async def _run(
    question: Question, folder: Path, found: Findings
) -> tuple[Findings, RunMetadata | None]:
    """What the coordinator says of it, or what was kept here of it."""
    run_id = question.run_id or ""
    client = CoordinatorClient(question.config.coordinator)
    try:
        kept = load_metadata(folder, run_id)
        try:
            metadata = await client.run(run_id)
            source = f"from the coordinator at {client.address}"
            swarm = await _swarm(client, run_id)
        except CoordinatorUnreachable as error:
            if kept is None:
                return replace(found, run_trouble=f"{error}; is the address right?"), None
            metadata, source, swarm = kept, f"as it was when it was joined here ({error})", None
        except UserError as error:
            if error.code is Exit.CLOCK_OFF:
                # everything else can be told, and the clock is one of the checks
                found = replace(found, clock_ahead=client.clock_ahead)
            return replace(found, run_trouble=str(error)), None
        if kept is not None:
            require_same_run(kept, metadata)
    except UserError as error:
        return replace(found, run_trouble=str(error)), None
    finally:
        await client.close()
    found = replace(
        found, spec=metadata.spec, source=source, swarm=swarm, clock_ahead=client.clock_ahead,
        runs_here=await anyio.to_thread.run_sync(running, folder) is not None,
    )  # fmt: skip
    return _standing(question, folder, found, metadata), metadata


async def _swarm(client: CoordinatorClient, run_id: str) -> Swarm | None:
    """Who trains, within bounds: a coordinator is a stranger, too. None if it does not say."""
    try:
        told = await client.progress(run_id)
    except (CoordinatorUnreachable, UserError) as error:
        log.debug("no word on the run's peers: %s", error)
        return None
    speed = told.tokens_per_second
    return Swarm(
        min(told.peers_live, MOST_PEERS),
        speed if 0 <= speed <= MOST_PEERS * MAX_TOKENS_PER_SECOND else 0.0,
        min(told.tokens, MAX_ROUND),
    )


def _standing(question: Question, folder: Path, found: Findings, metadata: RunMetadata) -> Findings:
    """What the run's owner wants of it, and whether this machine may take part."""
    own = _own_id(folder)
    members = Members(metadata.identity, own, CLOCK.now)
    try:
        load_membership(folder, members)
        if metadata.orders is not None:
            members.take(metadata.orders)
    except BadSignatureError as error:
        return replace(found, run_trouble=f"its orders are not genuine: {error}")
    course = members.course
    if course.banned:
        return replace(found, run_trouble=BANNED.format(run=metadata.spec.run_id))
    if course.finished:
        return replace(found, run_trouble=course.finished)
    orders = members.orders
    if orders is not None and orders.state == membership_pb2.DRAFT:
        return replace(found, run_trouble="it is a draft: its owner has not opened it yet")
    needed = members.by_invitation and not question.invite and not _is_member(members)
    return replace(found, standing=course.paused, needs_invitation=needed)


def _own_id(folder: Path) -> str:
    """The peer id that this machine has in the run; empty if it has none."""
    with suppress(OSError, ValueError):
        return PeerIdentity.load(folder / "identity.key").peer_id
    return ""


def _is_member(members: Members) -> bool:
    try:
        members.own_certificate()
    except BadSignatureError:
        return False
    return True


# ---- the network and the trainer -------------------------------------------------------


async def _reach(
    question: Question, folder: Path, found: Findings, metadata: RunMetadata, own: Path
) -> Findings:
    if found.runs_here:
        with suppress(UserError):
            status: control_pb2.StatusReply = await anyio.to_thread.run_sync(ask_status, folder)
            return replace(found, reach=Reach(status.reach, status.reach_reason))
    config = question.config
    try:
        reach = await reach_here(
            own, (config.host, config.p2p_port), metadata.spec.run_id, metadata.initial_peers,
            Random(),
        )  # fmt: skip
    except UserError as error:
        return replace(found, reach_trouble=str(error))
    return replace(found, reach=reach)


async def _trial(
    question: Question, folder: Path, found: Findings, metadata: RunMetadata, own: Path
) -> Findings:
    spec = metadata.spec
    limits = LimitsInForce(question.config.limits)
    sizes = MicroBatches(folder, spec.hash(), spec.inner.batch_size, Notices())
    allow = Resources(limits, sizes, Disk(limits, own)).allow()
    options = TrainerOptions(folder / "data", question.config.device, allow)
    here = text_here(spec, options.cache_folder)
    try:
        trial = await try_training(spec, options, own / "data")
    except NoTrial as error:
        return replace(found, trial_trouble=str(error), too_large=error.too_large, text_here=here)
    return replace(found, trial=trial, text_here=here)

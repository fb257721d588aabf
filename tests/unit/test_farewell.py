"""A daemon that has stopped says goodbye, and begins nothing more whatever it hears then."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from peer.checkpoint_keeper import FoundCheckpoints
from peer.daemon import Daemon
from peer.energy.meter import EnergyMeter
from peer.limits.disk import Disk
from peer.limits.in_force import LimitsInForce
from peer.limits.micro_batches import MicroBatches
from peer.limits.resources import Resources
from peer.limits.settings import Energy, Limits
from peer.limits.traffic import Traffic
from peer.members import Members
from peer.notices import Notices
from peer.reporter import Reporter
from peer.run_metadata import RunMetadata
from peer.settings import Settings
from peer.swarm.interface import Network
from peer.training.client import Trainer
from peer.training.options import TrainerOptions
from swarmpb.exits import Exit, UserError
from swarmpb.membership import RunState
from tests.standing import NOON, Throne
from tests.tiny import tiny_spec

pytestmark = pytest.mark.anyio


class LastWord:
    """A reporter whose coordinator answers the goodbye with new orders: the run has finished."""

    model_wanted = False

    def __init__(self, members: Members, throne: Throne) -> None:
        self._members = members
        self._throne = throne
        self.heard = False

    async def run(self) -> None:
        await anyio.sleep_forever()

    async def send(self) -> None:
        self.heard = self._members.take(self._throne.orders(RunState.FINISHED))


async def no_trainer(*_arguments: Any) -> None:
    await anyio.sleep_forever()


async def no_swarm(again: bool) -> Network:
    raise UserError(Exit.SWARM_UNREACHABLE, "nobody is there")


async def test_orders_that_come_with_the_goodbye_are_no_trouble(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "start", no_trainer)
    spec = tiny_spec()
    throne = Throne(spec.run_id, spec.hash())
    metadata = RunMetadata(spec, throne.run.owner_key, b"", ())
    members = Members(throne.run, "anna", lambda: NOON)
    reporter = LastWord(members, throne)
    options = TrainerOptions(tmp_path)
    limits, notices = LimitsInForce(Limits()), Notices()
    traffic = Traffic(limits, tmp_path, "run", notices)
    sizes = MicroBatches(tmp_path, spec.hash(), spec.inner.batch_size, notices)
    resources = Resources(limits, sizes, Disk(limits, tmp_path))
    meter = EnergyMeter(Energy(), resources, (tmp_path, "run"), notices)
    settings = Settings(tmp_path, "anna", options, limits, traffic, resources, meter, "peer join")
    daemon = Daemon(
        settings,
        metadata,
        members,
        cast(Reporter, reporter),
        FoundCheckpoints(tmp_path),
        no_swarm,
        notices,
    )
    with anyio.fail_after(10):
        stop = await daemon.run()
    assert (stop.code, stop.reason) == (Exit.SWARM_UNREACHABLE, "nobody is there")
    assert reporter.heard
    assert daemon.work.leaving, "and takes part in no round"

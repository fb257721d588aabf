"""A peer's own membership: asked for, kept, shown, and renewed; and the words when it cannot be."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import anyio
import anyio.lowlevel
import pytest

from peer import admission as module
from peer.admission import FIRST_PAUSE, LONGEST_PAUSE, Admission, pause, renewal_due
from peer.coordinator_client import CoordinatorClient, CoordinatorUnreachable
from peer.members import Members
from peer.membership_files import load_membership, save_certificate, save_orders
from peer.notices import Notices
from peer.swarm.clock import CLOCK
from swarmpb.exits import Exit, UserError
from swarmpb.membership import RunState
from swarmpb.signing import PeerIdentity
from swarmpb.v1 import membership_pb2
from tests.standing import HOUR, NOON, Throne

pytestmark = pytest.mark.anyio

ANNA = PeerIdentity.generate()
INVITED = "by-anna"


class FakeCoordinator:
    """Admits whoever asks; it may be away, or refuse."""

    def __init__(self, throne: Throne) -> None:
        self.throne = throne
        self.away = False
        self.refusal = ""
        self.standing: membership_pb2.SignedOrders | None = None
        self.asked: list[membership_pb2.AdmissionRequest] = []

    async def admit(
        self, identity: PeerIdentity, request: membership_pb2.AdmissionRequest
    ) -> membership_pb2.Admission:
        await anyio.lowlevel.checkpoint()
        self.asked.append(request)
        if self.away:
            raise CoordinatorUnreachable("no coordinator answers at there:7700")
        if self.refusal:
            raise UserError(Exit.NOT_ADMITTED, self.refusal)
        certificate = membership_pb2.SignedCertificate.FromString(
            self.throne.certificate(identity.peer_id, CLOCK.now() - 60)
        )
        return membership_pb2.Admission(certificate=certificate, orders=self.standing)


class Place:
    """Anna's folder, and what becomes of her membership in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.throne = Throne()
        self.coordinator = FakeCoordinator(self.throne)
        self.notices = Notices()
        self.begin_anew()

    def begin_anew(self) -> None:
        """As after a start of the peer."""
        self.members = Members(self.throne.run, ANNA.peer_id, CLOCK.now)
        load_membership(self.folder, self.members)
        client = cast(CoordinatorClient, self.coordinator)
        self.admission = Admission(client, ANNA, self.members, self.folder, self.notices)

    def hold(self, hours_ago: float) -> None:
        """Have a certificate of so long ago in the folder."""
        begin = CLOCK.now() - hours_ago * HOUR
        save_certificate(self.folder, self.throne.certificate(ANNA.peer_id, begin))
        self.begin_anew()

    def by_invitation(self) -> None:
        signed = self.throne.orders(invite_only=True)
        self.members.take(signed)
        save_orders(self.folder, signed)

    async def refused(self, invite: str = "") -> UserError:
        with pytest.raises(UserError) as error:
            await self.admission.enter(invite)
        return error.value


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


# ---- at the join -------------------------------------------------------------------------


async def test_nobody_is_asked_in_a_run_that_is_open(place: Place) -> None:
    await place.admission.enter("")
    place.members.take(place.throne.orders())
    await place.admission.enter("")
    assert place.coordinator.asked == []
    assert place.admission.describe() == ""


async def test_who_has_an_invitation_becomes_a_member_and_stays_one(place: Place) -> None:
    place.by_invitation()
    await place.admission.enter(INVITED)
    assert place.coordinator.asked[0].invite == INVITED
    assert place.members.own_certificate().peer_id == ANNA.peer_id
    assert place.admission.describe().startswith("member until ")
    assert stat.S_IMODE((place.folder / "certificate.bin").stat().st_mode) == 0o600

    # the next time it needs neither the invitation nor the coordinator
    place.begin_anew()
    place.coordinator.away = True
    await place.admission.enter("")
    assert place.members.credentials()
    assert len(place.coordinator.asked) == 1


async def test_the_coordinators_answer_may_bring_the_first_orders(place: Place) -> None:
    place.coordinator.standing = place.throne.orders(invite_only=True)
    await place.admission.enter(INVITED)
    assert place.members.by_invitation


async def test_a_certificate_that_is_due_is_renewed_at_the_join(place: Place) -> None:
    place.by_invitation()
    place.hold(hours_ago=7)
    await place.admission.enter("")
    assert place.coordinator.asked[0].invite == ""
    assert place.coordinator.asked[0].certificate, (
        "a coordinator that lost its disk knows it by that"
    )
    assert renewal_due(place.members.own_certificate()) > CLOCK.now()


@pytest.mark.parametrize("why", ["away", "refusing"])
async def test_a_membership_that_still_holds_is_enough_without_the_coordinator(
    place: Place, why: str
) -> None:
    place.by_invitation()
    place.hold(hours_ago=23)
    place.coordinator.away = why == "away"
    place.coordinator.refusal = "the invitation is used up"
    await place.admission.enter(INVITED)
    assert place.members.own_certificate()


async def test_one_that_has_ended_is_not_and_one_hears_what_to_do(place: Place) -> None:
    place.by_invitation()
    place.hold(hours_ago=25)
    place.coordinator.away = True
    error = await place.refused()
    assert error.code is Exit.COORDINATOR_UNREACHABLE
    assert str(error) == (
        "run tiny: the membership of this machine has ended, and no coordinator answers at "
        "there:7700; join again when the coordinator is back"
    )


async def test_a_stranger_hears_that_the_run_is_by_invitation(place: Place) -> None:
    place.by_invitation()
    place.coordinator.away = True
    assert "this run is by invitation, and no coordinator answers" in str(await place.refused())


async def test_a_bad_invitation_is_refused_in_the_coordinators_words(place: Place) -> None:
    place.by_invitation()
    place.coordinator.refusal = "the invitation is used up; ask for another"
    error = await place.refused(INVITED)
    assert (error.code, str(error)) == (
        Exit.NOT_ADMITTED,
        "the invitation is used up; ask for another",
    )


async def test_an_invitation_to_an_open_run_is_no_reason_to_wait_for_its_coordinator(
    place: Place,
) -> None:
    place.members.take(place.throne.orders())
    place.coordinator.away = True
    await place.admission.enter(INVITED)


@pytest.mark.parametrize("learnt", ["kept", "told"])
async def test_a_banned_peer_does_not_join_with_or_without_the_coordinator(
    place: Place, learnt: str
) -> None:
    ban = place.throne.orders(invite_only=True, banned=(ANNA.peer_id,))
    if learnt == "kept":
        save_orders(place.folder, ban)
        place.begin_anew()
        place.coordinator.away = True
    else:
        place.by_invitation()
        place.coordinator.standing = place.throne.orders(
            invite_only=True, banned=(ANNA.peer_id,), sequence=99
        )
    error = await place.refused(INVITED)
    assert error.code is Exit.BANNED
    assert str(error) == "this peer is banned from run tiny by its owner; ask them why"


async def test_a_draft_cannot_be_joined_yet(place: Place) -> None:
    place.members.take(place.throne.orders(RunState.DRAFT))
    error = await place.refused()
    assert error.code is Exit.RUN_CLOSED
    assert "is a draft: its owner has not opened it yet" in str(error)


# ---- while it takes part -----------------------------------------------------------------


@asynccontextmanager
async def kept(place: Place) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(place.admission.keep)
        yield
        tasks.cancel_scope.cancel()


async def until(true: Callable[[], object]) -> None:
    with anyio.fail_after(10):
        while not true():  # noqa: ASYNC110  of files and answers no one event tells
            await anyio.sleep(0.01)


async def test_orders_that_come_are_on_disk_for_the_next_start(place: Place) -> None:
    async with kept(place):
        place.members.take(place.throne.orders(RunState.PAUSED, reason="a holiday"))
        await until((place.folder / "orders.bin").exists)
    place.begin_anew()
    assert place.members.course.paused == "paused by the run's owner: a holiday"


async def test_a_membership_is_renewed_before_it_ends(place: Place) -> None:
    place.by_invitation()
    place.hold(hours_ago=7)
    async with kept(place):
        await until(lambda: renewal_due(place.members.own_certificate()) > CLOCK.now())
    assert len(place.coordinator.asked) == 1
    assert place.notices.current() == []


async def test_a_run_that_is_by_invitation_from_now_on_makes_a_peer_ask_at_once(
    place: Place,
) -> None:
    place.members.take(place.throne.orders())
    async with kept(place):
        place.by_invitation()
        await until(lambda: place.members.certificate)


async def test_a_coordinator_that_does_not_renew_is_asked_again_and_the_user_hears_why(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.02)
    place.by_invitation()
    place.hold(hours_ago=25)
    place.coordinator.away = True
    async with kept(place):
        await until(lambda: len(place.coordinator.asked) > 2)
        (told,) = place.notices.current()
        assert told == (
            "the others refuse this peer (the certificate has expired), and it cannot become a "
            "member now: no coordinator answers at there:7700"
        )
        assert place.admission.describe() == "none that holds: the certificate has expired"
        place.coordinator.away = False
        await until(lambda: place.notices.current() == ["this peer's membership is renewed"])


async def test_a_folder_that_takes_nothing_is_said_and_tried_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def full(*_: object) -> None:
        tried.append(1)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "save_orders", full)
    async with kept(place):
        place.members.take(place.throne.orders())
        await until(lambda: tried)
        await until(place.notices.current)
        assert "cannot keep the membership" in place.notices.current()[0]
        monkeypatch.undo()
        place.members.take(place.throne.orders())
        await until((place.folder / "orders.bin").exists)


def test_pauses_grow_to_the_longest_and_are_partly_chance() -> None:
    assert pause(1, 0.0) == FIRST_PAUSE / 2
    assert [pause(tries, 0.99) < pause(tries + 1, 0.99) for tries in range(1, 5)] == [True] * 4
    assert LONGEST_PAUSE / 2 <= pause(10**6, 0.0) < pause(10**6, 0.99) <= LONGEST_PAUSE


def test_a_day_long_certificate_is_renewed_after_six_hours() -> None:
    certificate = membership_pb2.Certificate(
        not_before_ms=int(NOON * 1000), not_after_ms=int((NOON + 24 * HOUR) * 1000)
    )
    assert renewal_due(certificate) == NOON + 6 * HOUR


# ---- what is on disk ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [b"\xff\xff", b"x" * 10**6, Throne().orders().SerializeToString()],
    ids=["garbage", "too long", "of another run"],
)
def test_kept_orders_that_are_damaged_or_anothers_are_set_aside(
    place: Place, content: bytes
) -> None:
    (place.folder / "orders.bin").write_bytes(content)
    place.begin_anew()
    assert place.members.orders is None
    (aside,) = place.folder.iterdir()
    assert aside.name.startswith("orders.bin.damaged-")


def test_a_kept_certificate_that_is_too_long_is_set_aside(place: Place) -> None:
    (place.folder / "certificate.bin").write_bytes(bytes(10_000))
    place.begin_anew()
    assert place.members.certificate == b""

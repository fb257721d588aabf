"""What an owner says of those that it left out."""

from __future__ import annotations

import anyio
import numpy as np
import pytest

from peer.averaging.codecs import UNIT, Fp32, encode
from peer.averaging.links import UNKNOWN
from peer.averaging.owner import PartOwner
from peer.averaging.roster import Pledge, Roster, form_roster
from peer.averaging.state import GlobalState

pytestmark = pytest.mark.anyio

ANNA, BERT = "QmAnna", "QmBert"


def a_roster() -> Roster:
    zeros = np.zeros(2 * UNIT, np.float32)
    base = GlobalState(0, 0, zeros, zeros.copy())
    pledges = {name: Pledge(100, UNKNOWN) for name in (ANNA, BERT)}
    return form_roster(b"a" * 16, base, ANNA, pledges, "fp32")


def owner_of(roster: Roster) -> PartOwner:
    return PartOwner(roster, roster.parts[0], Fp32(), None)


async def test_whose_part_comes_after_the_answer_hears_how_late_it_was() -> None:
    roster = a_roster()
    owner, values = owner_of(roster), np.zeros(roster.parts[0].values, np.float32)
    owner.offer(0, encode(Fp32(), values.copy()))
    await owner.answer(6.0)
    assert owner.held is not None
    digest = owner.held.digest
    assert [it.reason for it in owner.held.left_out] == ["did not arrive within 6.0 s"]
    await anyio.sleep(3.2)
    owner.offer(1, encode(Fp32(), values))
    assert [it.reason for it in owner.held.left_out] == ["arrived 3.2 s late"]
    assert (owner.held.digest, owner.held.included) == (digest, (0,)), "the answer stays the same"


async def test_whose_values_are_no_numbers_hears_which_one() -> None:
    roster = a_roster()
    owner, values = owner_of(roster), np.zeros(roster.parts[0].values, np.float32)
    owner.offer(0, encode(Fp32(), values.copy()))
    values[17] = np.nan
    owner.offer(1, values.tobytes())
    await owner.answer(6.0)
    assert owner.held is not None
    assert [it.reason for it in owner.held.left_out] == ["refused: not finite (parameter 17)"]

"""`peer receipts` believes only what the run's authority has signed for this very peer."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from peer.coordinator_client import CoordinatorClient
from peer.credited import checked, describe, facts, receipts_of
from swarmpb.exits import Exit, UserError
from swarmpb.membership import RunIdentity
from swarmpb.receipts import sign_receipt
from swarmpb.signing import SigningKey
from swarmpb.v1 import coordinator_pb2

KEY, OTHER = SigningKey.generate(), SigningKey.generate()
RUN = RunIdentity("demo", b"h" * 32, b"o" * 32)
ANNA = "QmAnna"


def receipt(round_: int, **fields: object) -> coordinator_pb2.RoundReceipt:
    told = coordinator_pb2.RoundReceipt(
        run_id="demo", spec_hash=RUN.spec_hash, peer_id=ANNA, round=round_, claimed_tokens=300
    )
    for name, value in fields.items():
        setattr(told, name, value)
    return told


def read(*told: coordinator_pb2.RoundReceipt, before: int = 0, key: SigningKey = KEY) -> list[int]:
    signed = [sign_receipt(key, it) for it in told]
    return [it.round for it in checked(signed, RUN, KEY.public_key, ANNA, before)]


def test_signed_receipts_are_taken_in_their_order() -> None:
    assert read(receipt(7), receipt(5), receipt(4)) == [7, 5, 4]
    assert read(receipt(3), before=4) == [3]


@pytest.mark.parametrize("told", [[receipt(7), receipt(7)], [receipt(5), receipt(7)], [receipt(9)]])
def test_a_receipt_that_comes_again_is_not_counted_twice(
    told: list[coordinator_pb2.RoundReceipt],
) -> None:
    with pytest.raises(UserError, match="twice") as error:
        read(*told, before=9)
    assert error.value.code is Exit.WRONG_COORDINATOR


def test_another_keys_word_is_no_receipt() -> None:
    with pytest.raises(UserError, match="signature") as error:
        read(receipt(7), key=OTHER)
    assert error.value.code is Exit.WRONG_COORDINATOR


def test_a_machine_that_never_joined_has_no_receipts(tmp_path: Path) -> None:
    nobody = CoordinatorClient("127.0.0.1:1")
    with pytest.raises(UserError, match="never joined") as error:
        anyio.run(receipts_of, tmp_path, tmp_path / "identity.key", nobody, "demo", 20)
    assert error.value.code is Exit.NOT_RUNNING


def test_what_is_shown_says_who_told_it_and_why_not_all_is_merged() -> None:
    late = "left out: arrived 3.2 s late"
    told = [
        receipt(7, merged_tokens=300, observed=True, witnesses=3),
        receipt(6, reason=late, witnesses=1),
    ]
    shown = describe(told).splitlines()
    assert "others, 3 witnesses" in shown[1]
    assert shown[2].endswith(f"this peer only: {late}")
    assert shown[-1] == "2 receipts, all signed: 300 tokens merged, 300 of them told by others"
    assert describe([]).startswith("no receipts yet")
    assert [it["round"] for it in facts(told)] == [7, 6]

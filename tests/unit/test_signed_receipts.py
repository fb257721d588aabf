"""A receipt is worth something away from its coordinator: whoever is shown one can check it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from coordinator.domain import Receipt, Run
from coordinator.membership.authority import Authority, identity
from coordinator.membership.refusals import NotInChargeError
from coordinator.registration import sign
from coordinator.rpc.desk import Desk
from coordinator.rpc.servicer import MAX_RECEIPTS, CoordinatorServicer
from coordinator.service import CoordinatorService
from coordinator.storage.store import Store
from swarmpb.membership import RunIdentity
from swarmpb.receipts import MAX_RECEIPT_BYTES, read_receipt, sign_receipt
from swarmpb.signing import BadSignatureError, SigningKey
from swarmpb.spec import preset
from swarmpb.v1 import coordinator_pb2
from tests.reporting import outcome, report

OWNER, KEY, OTHER = (SigningKey.generate() for _ in range(3))
RUN = RunIdentity("demo", b"h" * 32, OWNER.public_key)
ANNA = "QmAnna"


def a_receipt(**fields: Any) -> coordinator_pb2.RoundReceipt:
    values: dict[str, Any] = {
        "run_id": "demo",
        "spec_hash": RUN.spec_hash,
        "peer_id": ANNA,
        "round": 7,
        "claimed_tokens": 300,
        "reason": "left out: arrived 3.2 s late",
    }
    return coordinator_pb2.RoundReceipt(**(values | fields))


def test_a_receipt_says_what_was_signed() -> None:
    told = read_receipt(sign_receipt(KEY, a_receipt()), RUN, KEY.public_key, ANNA)
    assert told == a_receipt()


@pytest.mark.parametrize(
    ("receipt", "complaint"),
    [
        (a_receipt(run_id="other"), "another run"),
        (a_receipt(spec_hash=b"s" * 32), "another run"),
        (a_receipt(peer_id="QmBert"), "another peer's"),
        (a_receipt(reason="x" * MAX_RECEIPT_BYTES), "bytes"),
    ],
)
def test_a_receipt_of_another_run_or_peer_proves_nothing(
    receipt: coordinator_pb2.RoundReceipt, complaint: str
) -> None:
    with pytest.raises(BadSignatureError, match=complaint):
        read_receipt(sign_receipt(KEY, receipt), RUN, KEY.public_key, ANNA)


def test_a_receipt_that_was_changed_or_signed_by_another_proves_nothing() -> None:
    signed = sign_receipt(KEY, a_receipt())
    with pytest.raises(BadSignatureError, match="signature"):
        read_receipt(signed, RUN, OTHER.public_key, ANNA)
    signed.receipt = a_receipt(merged_tokens=10**9).SerializeToString()
    with pytest.raises(BadSignatureError, match="signature"):
        read_receipt(signed, RUN, KEY.public_key, ANNA)
    garbage = coordinator_pb2.SignedReceipt(receipt=b"\xff", signature=KEY.sign("receipt", b"\xff"))
    with pytest.raises(BadSignatureError, match="decoded"):
        read_receipt(garbage, RUN, KEY.public_key, ANNA)


def test_a_signature_over_something_else_is_none_over_a_receipt() -> None:
    data = a_receipt().SerializeToString(deterministic=True)
    signed = coordinator_pb2.SignedReceipt(receipt=data, signature=KEY.sign("orders", data))
    with pytest.raises(BadSignatureError, match="signature"):
        read_receipt(signed, RUN, KEY.public_key, ANNA)


# ---- the coordinator's answer ----------------------------------------------------------


class Counter:
    """A coordinator of one run, asked for receipts."""

    def __init__(self, store: Store, worker: ThreadPoolExecutor) -> None:
        self.store = store
        self.authority = Authority(KEY, store.membership, lambda: 1000.0)
        service = CoordinatorService(store, now=lambda: 1000.0, authority=self.authority)
        self.run: Run = service.register(sign(preset("demo"), OWNER))
        desk = Desk(service, self.authority, worker, ())
        self._servicer = CoordinatorServicer(desk, cast(Any, None), cast(Any, None))

    def ask(self, before_round: int = 0) -> list[coordinator_pb2.RoundReceipt]:
        request = coordinator_pb2.ReceiptsRequest(
            run_id="demo", peer_id=ANNA, before_round=before_round
        )
        told = anyio.run(self._servicer.GetReceipts, request, cast(Any, None))
        run = identity(self.run)
        return [read_receipt(it, run, KEY.public_key, ANNA) for it in told.receipts]


@pytest.fixture
def counter(tmp_path: Path) -> Iterator[Counter]:
    with (
        closing(Store.open(tmp_path / "coordinator.sqlite")) as store,
        ThreadPoolExecutor(1) as worker,
    ):
        yield Counter(store, worker)


def test_a_peers_receipts_come_signed_the_newest_first(counter: Counter) -> None:
    rounds = range(1, MAX_RECEIPTS + 11)
    kept = [Receipt(ANNA, it, b"a", 300, 300, True, "", True, 3, 1000.5) for it in rounds]
    told = [outcome(it, ANNA, attempt=b"a") for it in rounds]
    counter.store.keep_all([report(told, peer_id=ANNA)])
    counter.store.receipts.keep("demo", kept)
    counter.authority.grant_itself(counter.run, OWNER)
    newest = counter.ask()
    assert [it.round for it in newest] == list(reversed(rounds))[:MAX_RECEIPTS]
    assert [it.round for it in counter.ask(newest[-1].round)] == list(range(10, 0, -1))
    assert (newest[0].merged_tokens, newest[0].observed, newest[0].witnesses) == (300, True, 3)
    assert newest[0].at_ms == 1_000_500


def test_who_does_not_speak_for_a_run_signs_nothing_for_it(counter: Counter) -> None:
    receipt = Receipt(ANNA, 1, b"a", 300, 300, True, "", True, 3, 1000.5)
    with pytest.raises(NotInChargeError):
        counter.authority.receipt(counter.run, receipt)

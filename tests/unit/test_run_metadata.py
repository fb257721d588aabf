"""What a coordinator publishes of a run is checked; what is kept of it survives damage."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from peer.run_metadata import (
    MAX_INITIAL_PEERS,
    RunMetadata,
    check_clock,
    check_published,
    load_metadata,
    require_same_run,
    save_metadata,
)
from swarmpb.exits import Exit, UserError
from swarmpb.signing import SigningKey
from swarmpb.spec import RunSpec
from swarmpb.v1 import coordinator_pb2
from swarmpb.version import PROTOCOL_VERSION
from tests.tiny import tiny_spec

SPEC = tiny_spec()
CACHE = "run.json"
BERT = "QmXoypizjW3WknFiJnKLwHCnL72vedxjQkDDP1mXWo6uco"
ADDRESS = f"/ip4/10.0.0.1/tcp/1/p2p/{BERT}"


@pytest.fixture(scope="module")
def owner(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.load_or_create(tmp_path_factory.mktemp("owner") / "key")


@pytest.fixture(scope="module")
def stranger(tmp_path_factory: pytest.TempPathFactory) -> SigningKey:
    return SigningKey.load_or_create(tmp_path_factory.mktemp("stranger") / "key")


def published(owner: SigningKey, spec: RunSpec = SPEC, **fields: Any) -> coordinator_pb2.RunInfo:
    """A run as a good coordinator publishes it; `fields` replace its values."""
    signed = coordinator_pb2.SignedSpec(
        spec=spec.canonical(),
        hash=spec.hash(),
        owner_key=owner.public_key,
        signature=owner.sign("spec", spec.hash()),
    )
    values: dict[str, Any] = {
        "run_id": spec.run_id,
        "spec": signed,
        "initial_peers": [ADDRESS],
        "protocol_version": PROTOCOL_VERSION,
        "round": 9,
        "tokens": 900,
    }
    return coordinator_pb2.RunInfo(**(values | fields))


def known(owner: SigningKey) -> RunMetadata:
    return check_published(published(owner), SPEC.run_id)


def refusal(code: Exit, call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    assert caught.value.code == code
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- what is published -------------------------------------------------------------------


def test_a_genuine_run_is_taken(owner: SigningKey) -> None:
    metadata = known(owner)
    assert metadata.spec == SPEC
    assert metadata.owner_key == owner.public_key
    assert metadata.initial_peers == (ADDRESS,)
    assert (metadata.known_round, metadata.known_tokens) == (9, 900)


def test_a_spec_that_its_owner_did_not_sign_is_refused(
    owner: SigningKey, stranger: SigningKey
) -> None:
    changed = tiny_spec(stop={"tokens": 2_000_000})
    signature = owner.sign("spec", SPEC.hash())

    def with_signed(**fields: Any) -> coordinator_pb2.RunInfo:
        info = published(owner)
        info.spec.MergeFrom(coordinator_pb2.SignedSpec(**fields))
        return info

    for info in (
        with_signed(signature=stranger.sign("spec", SPEC.hash())),
        with_signed(owner_key=stranger.public_key),
        with_signed(owner_key=b"short"),
        with_signed(signature=b"short"),
        with_signed(spec=changed.canonical(), hash=changed.hash(), signature=signature),
    ):
        line = refusal(Exit.BAD_SPEC, partial(check_published, info, SPEC.run_id))
        assert line.startswith("the coordinator's spec of run tiny is not valid: ")
        assert "signature" in line


def test_another_runs_genuine_spec_is_refused(owner: SigningKey) -> None:
    other = tiny_spec().model_copy(update={"run_id": "other"})
    line = refusal(Exit.BAD_SPEC, lambda: check_published(published(owner, other), "tiny"))
    assert line.endswith("it belongs to run other")


@pytest.mark.parametrize("data", [b"", b"{}", b"\xff", b"[" * 60_000, b"1" * 5000, b"null"])
def test_bytes_that_are_no_spec_are_refused(owner: SigningKey, data: bytes) -> None:
    info = published(owner)
    info.spec.spec = data
    refusal(Exit.BAD_SPEC, lambda: check_published(info, SPEC.run_id))


@pytest.mark.parametrize(
    ("version", "who"),
    [(PROTOCOL_VERSION + 1, "this peer"), (PROTOCOL_VERSION - 1, "the coordinator")],
)
def test_who_speaks_the_older_protocol_is_to_be_updated(
    owner: SigningKey, version: int, who: str
) -> None:
    """Said before anything else is read: the rest may mean something else."""
    info = coordinator_pb2.RunInfo(protocol_version=version)
    line = refusal(Exit.PROTOCOL_MISMATCH, lambda: check_published(info, SPEC.run_id))
    assert line.endswith(f"update {who}")
    assert str(version) in line


def test_initial_peers_are_bounded(owner: SigningKey) -> None:
    many = [f"/ip4/10.0.0.1/tcp/{port}/p2p/{BERT}" for port in range(1000)]
    addresses = ["garbage", f"/dns4/{'x' * 300}/tcp/1/p2p/{BERT}", *many]
    metadata = check_published(published(owner, initial_peers=addresses), SPEC.run_id)
    assert metadata.initial_peers == tuple(many[:MAX_INITIAL_PEERS])


# ---- clocks ------------------------------------------------------------------------------


@pytest.mark.parametrize("off", [0.0, 2.9, -2.9])
def test_a_clock_that_is_nearly_right_passes(off: float) -> None:
    check_clock(1_000_000, 1000.0 + off, 1000.0 + off)


@pytest.mark.parametrize(("off", "direction"), [(3.5, "ahead of"), (-3.5, "behind")])
def test_a_clock_that_is_off_is_told_by_how_much(off: float, direction: str) -> None:
    line = refusal(Exit.CLOCK_OFF, lambda: check_clock(1_000_000, 1000.0 + off, 1000.0 + off))
    assert f"3.5 s {direction} the coordinator's" in line
    assert "timedatectl" in line


def test_a_slow_answer_is_not_held_against_the_clock() -> None:
    """The server's time was taken at some moment between question and answer."""
    check_clock(1_000_000, 1000.0, 1010.0)
    check_clock(1_010_000, 1000.0, 1010.0)
    refusal(Exit.CLOCK_OFF, lambda: check_clock(1_014_000, 1000.0, 1010.0))
    refusal(Exit.CLOCK_OFF, lambda: check_clock(996_000, 1000.0, 1010.0))


# ---- what is kept ------------------------------------------------------------------------


def test_what_is_kept_comes_back(owner: SigningKey, tmp_path: Path) -> None:
    assert load_metadata(tmp_path, "tiny") is None
    for round_ in (9, 10):
        kept = replace(known(owner), known_round=round_)
        save_metadata(tmp_path, kept)
        assert load_metadata(tmp_path, "tiny") == kept
    assert [path.name for path in tmp_path.iterdir()] == [CACHE]


def damaged(content: dict[str, Any], **fields: Any) -> bytes:
    return json.dumps(content | fields).encode()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"\xff\xfe",
        lambda content: b"null",
        lambda content: b"[]",
        lambda content: b"[" * 100_000,
        lambda content: damaged(content)[:-20],
        lambda content: damaged(content, spec=content["spec"].replace('"seed":7', '"seed":8')),
        lambda content: damaged(content, spec=7),
        lambda content: damaged(content, owner_key="zz"),
        lambda content: damaged(content, signature="00" * 64),
        lambda content: damaged(content, initial_peers=None),
        lambda content: damaged(content, known_round="nine"),
        lambda content: damaged(content, known_round=float("inf")),
        lambda content: json.dumps({"spec": content["spec"]}).encode(),
    ],
    ids=range(14),
)
def test_a_damaged_copy_is_set_aside_and_said(
    owner: SigningKey,
    tmp_path: Path,
    damage: Callable[[dict[str, Any]], bytes],
    caplog: pytest.LogCaptureFixture,
) -> None:
    save_metadata(tmp_path, known(owner))
    path = tmp_path / CACHE
    data = damage(json.loads(path.read_bytes()))
    path.write_bytes(data)
    assert load_metadata(tmp_path, "tiny") is None
    (aside,) = tmp_path.iterdir()
    assert aside.name.startswith(f"{CACHE}.damaged-")
    assert aside.read_bytes() == data
    assert aside.name in caplog.text


def test_the_copy_of_another_run_is_not_taken_for_this_one(
    owner: SigningKey, tmp_path: Path
) -> None:
    save_metadata(tmp_path, known(owner))
    assert load_metadata(tmp_path, "other") is None


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.data())
def test_no_damage_to_a_few_bytes_raises_or_changes_the_run(
    owner: SigningKey, tmp_path: Path, data: st.DataObject
) -> None:
    save_metadata(tmp_path, known(owner))
    path = tmp_path / CACHE
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content)
    back = load_metadata(tmp_path, "tiny")
    assert back is None or back.spec == SPEC


def test_live_peers_are_met_first_and_the_coordinators_address_is_never_pushed_out(
    owner: SigningKey,
) -> None:
    metadata = known(owner)
    own = metadata.initial_peers[0]
    assert metadata.meeting(("/a", "/b", own)).initial_peers == ("/a", "/b", own)
    crowd = tuple(f"/live/{number}" for number in range(1000))
    met = metadata.meeting(crowd).initial_peers
    assert own in met
    assert met[:3] == crowd[:3]
    assert len(met) == len(set(met)) == MAX_INITIAL_PEERS


def test_a_coordinator_that_lost_its_disk_does_not_take_a_run_back_to_its_beginning(
    owner: SigningKey,
) -> None:
    restored = replace(known(owner), known_round=0, known_tokens=0, initial_peers=("/new",))
    after = restored.after(known(owner))
    assert (after.known_round, after.known_tokens) == (9, 900)
    assert after.initial_peers == ("/new", ADDRESS)


def test_the_signed_spec_is_given_back_as_it_was_published(owner: SigningKey) -> None:
    assert known(owner).signed_spec() == published(owner).spec


def test_a_run_that_changed_under_its_name_is_refused(
    owner: SigningKey, stranger: SigningKey
) -> None:
    kept = known(owner)
    require_same_run(kept, replace(kept, known_round=99, initial_peers=()))
    changed = check_published(published(owner, tiny_spec(stop={"tokens": 10**6 + 1})), "tiny")
    for other in (changed, known(stranger)):
        line = refusal(Exit.SPEC_CHANGED, partial(require_same_run, kept, other))
        assert "--state-dir" in line

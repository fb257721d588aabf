"""A run as its coordinator publishes it: checked, and kept for when the coordinator is away."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from peer.files import set_aside
from swarmpb.addresses import dialable
from swarmpb.exits import Exit, UserError
from swarmpb.files import write_whole
from swarmpb.membership import RunIdentity
from swarmpb.signing import BadSignatureError, verify_owner
from swarmpb.spec import RunSpec, SpecError, parse_canonical
from swarmpb.v1 import coordinator_pb2, membership_pb2
from swarmpb.version import PROTOCOL_VERSION

MAX_INITIAL_PEERS = 32
CLOCK_TOLERANCE = 3.0
_CACHE = "run.json"


@dataclass(frozen=True)
class RunMetadata:
    """What a peer must know to take part in a run."""

    spec: RunSpec
    owner_key: bytes
    signature: bytes
    initial_peers: tuple[str, ...]
    known_round: int = 0
    """The run's round as the coordinator last knew it,"""
    known_tokens: int = 0
    """and the tokens merged in it."""
    orders: membership_pb2.SignedOrders | None = None
    """As the coordinator gave them, not checked; what is kept of them lies in another file."""

    @property
    def identity(self) -> RunIdentity:
        """What all signed words about the run are bound to."""
        return RunIdentity(self.spec.run_id, self.spec.hash(), self.owner_key)

    def signed_spec(self) -> coordinator_pb2.SignedSpec:
        """As its owner published it."""
        return coordinator_pb2.SignedSpec(
            spec=self.spec.canonical(),
            hash=self.spec.hash(),
            owner_key=self.owner_key,
            signature=self.signature,
        )

    def after(self, kept: RunMetadata) -> RunMetadata:
        """With what was known of the run before: a coordinator may know less than it once did."""
        return replace(
            self.meeting(self.initial_peers + kept.initial_peers),
            known_round=max(self.known_round, kept.known_round),
            known_tokens=max(self.known_tokens, kept.known_tokens),
        )

    def meeting(self, addresses: tuple[str, ...]) -> RunMetadata:
        """With addresses of live peers put before those known earlier.

        However many live there are, those known earlier keep half of the places: the
        coordinator's own is the one that stays.
        """
        half = MAX_INITIAL_PEERS // 2
        merged = dict.fromkeys((*addresses[:half], *self.initial_peers, *addresses[half:]))
        return replace(self, initial_peers=tuple(merged)[:MAX_INITIAL_PEERS])


def check_published(info: coordinator_pb2.RunInfo, run_id: str) -> RunMetadata:
    """A run's metadata if it is genuine. Raises `UserError` PROTOCOL_MISMATCH or BAD_SPEC."""
    if info.protocol_version != PROTOCOL_VERSION:
        who = "this peer" if info.protocol_version > PROTOCOL_VERSION else "the coordinator"
        raise UserError(
            Exit.PROTOCOL_MISMATCH,
            f"the coordinator speaks protocol {info.protocol_version}, this peer "
            f"{PROTOCOL_VERSION}: update {who}",
        )
    signed = info.spec
    peers = info.initial_peers
    try:
        checked = _verified(signed.spec, signed.owner_key, signed.signature, peers, run_id)
    except (SpecError, BadSignatureError) as error:
        raise UserError(
            Exit.BAD_SPEC, f"the coordinator's spec of run {run_id} is not valid: {error}"
        ) from error
    orders = info.orders if info.HasField("orders") else None
    return replace(checked, known_round=info.round, known_tokens=info.tokens, orders=orders)


def check_clock(server_time_ms: int, asked: float, answered: float) -> None:
    """`UserError` CLOCK_OFF if this clock is over 3 s off; asked, answered: its unix seconds."""
    off = (asked + answered) / 2 - server_time_ms / 1000
    if abs(off) > CLOCK_TOLERANCE + (answered - asked) / 2:
        raise UserError(
            Exit.CLOCK_OFF,
            f"this machine's clock is {abs(off):.1f} s {'ahead of' if off > 0 else 'behind'} the "
            "coordinator's; set it (for example `timedatectl set-ntp true`) and join again",
        )


def save_metadata(folder: Path, metadata: RunMetadata) -> None:
    """Keep a run's metadata; `OSError` if the folder does not take it."""
    content = {
        "spec": metadata.spec.canonical().decode(),
        "owner_key": metadata.owner_key.hex(),
        "signature": metadata.signature.hex(),
        "initial_peers": metadata.initial_peers,
        "known_round": metadata.known_round,
        "known_tokens": metadata.known_tokens,
    }
    data = json.dumps(content, indent=1).encode()
    write_whole(folder / _CACHE, lambda file: file.write(data))


def load_metadata(folder: Path, run_id: str) -> RunMetadata | None:
    """What was kept of a run; a damaged file is set aside, and said."""
    path = folder / _CACHE
    try:
        content = json.loads(path.read_bytes())
        metadata = _verified(
            content["spec"].encode(),
            bytes.fromhex(content["owner_key"]),
            bytes.fromhex(content["signature"]),
            tuple(str(address) for address in content["initial_peers"]),
            run_id,
        )
        return replace(
            metadata,
            known_round=int(content["known_round"]),
            known_tokens=int(content["known_tokens"]),
        )
    except FileNotFoundError:
        return None
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        set_aside(path, str(error) or type(error).__name__)
        return None


def require_same_run(kept: RunMetadata, published: RunMetadata) -> None:
    """`UserError` SPEC_CHANGED if this machine joined another run under the same name."""
    same = kept.spec == published.spec and kept.owner_key == published.owner_key
    if not same:
        raise UserError(
            Exit.SPEC_CHANGED,
            f"run {published.spec.run_id} was joined here with another spec "
            f"({kept.spec.hash().hex()[:12]}, now {published.spec.hash().hex()[:12]}); a run never "
            "changes: ask its owner, or choose another --state-dir to join the new one",
        )


def _verified(
    spec_bytes: bytes, owner_key: bytes, signature: bytes, peers: Iterable[str], run_id: str
) -> RunMetadata:
    spec = parse_canonical(spec_bytes)
    if spec.run_id != run_id:
        raise SpecError([f"it belongs to run {spec.run_id}"])
    verify_owner(owner_key, spec.hash(), signature)
    return RunMetadata(spec, owner_key, signature, dialable(peers)[:MAX_INITIAL_PEERS])

"""Whether a signed spec holds, and is that of a known run."""

from __future__ import annotations

import hashlib

from coordinator.domain import InvalidSpecError, Run, SpecChangedError
from swarmpb.signing import BadSignatureError, verify_owner
from swarmpb.spec import RunSpec, SpecError, parse_canonical
from swarmpb.v1 import coordinator_pb2


def verified(signed: coordinator_pb2.SignedSpec) -> RunSpec:
    """The spec in a signed one whose form, hash and signature hold."""
    try:
        spec = parse_canonical(signed.spec)
        verify_owner(signed.owner_key, signed.hash, signed.signature)
    except (SpecError, BadSignatureError) as error:
        raise InvalidSpecError(f"spec refused: {error}") from error
    if hashlib.sha256(signed.spec).digest() != signed.hash:
        raise InvalidSpecError("spec refused: its hash is another spec's")
    return spec


def require_same(known: Run, signed: coordinator_pb2.SignedSpec) -> Run:
    """The run, if a signed spec is its own; `SpecChangedError` if it is another of its name."""
    if known.owner_key != signed.owner_key:
        raise SpecChangedError(
            f"run {known.run_id} belongs to another owner; choose another run_id"
        )
    if known.spec != signed.spec:
        raise SpecChangedError(
            f"run {known.run_id} exists with another spec, and specs never change;"
            " choose another run_id"
        )
    return known

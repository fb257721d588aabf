"""From an owner's TOML to a signed spec at a coordinator."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from coordinator.commands.client import AdminClient
from swarmpb.exits import Exit, UserError
from swarmpb.membership import RunIdentity, read_charter, sign_charter
from swarmpb.signing import BadSignatureError, SigningKey
from swarmpb.spec import RunSpec, SpecError, parse_toml
from swarmpb.v1 import admin_pb2, coordinator_pb2

log = logging.getLogger(__name__)

MAX_TOML_BYTES = 256 * 1024


@dataclass(frozen=True)
class Publication:
    """How a run is to begin."""

    draft: bool = False
    invite_only: bool | None = None
    """None: open to all, or as the run is already."""


def create_run(
    file: BinaryIO, name: str, coordinator: AdminClient, owner_key: Path, wanted: Publication
) -> coordinator_pb2.RunInfo:
    """Register the spec in `file` (shown as `name`), and let the coordinator speak for the run.

    Raises `UserError`: BAD_SPEC with all faults in one line, BAD_CONFIG for a damaged owner key,
    and whatever `AdminClient` raises.
    """
    spec = read_spec(file, name)
    check_model(spec, name)
    return publish(coordinator, spec, load_owner_key(owner_key), wanted)


def publish(
    coordinator: AdminClient, spec: RunSpec, owner: SigningKey, wanted: Publication
) -> coordinator_pb2.RunInfo:
    """Sign a spec, and a charter for the coordinator's key, and register both."""
    signed = sign(spec, owner)
    run = RunIdentity(spec.run_id, signed.hash, owner.public_key)
    serial = max(int(time.time() * 1000), _known_serial(coordinator, run) + 1)
    charter = sign_charter(owner, run, coordinator.authority(), serial)
    request = admin_pb2.RegisterRunRequest(
        spec=signed, charter=charter, draft=wanted.draft, invite_only=wanted.invite_only
    )
    return coordinator.register(request)


def _known_serial(coordinator: AdminClient, run: RunIdentity) -> int:
    """Of the charter that the coordinator has for a run; 0: it has none, or another's."""
    try:
        info = coordinator.run(run.run_id)
        return read_charter(info.orders.charter, run).serial
    except BadSignatureError:
        return 0  # another run of this name: registering tells
    except UserError as error:
        if error.code is not Exit.UNKNOWN_RUN:
            raise
        return 0


def read_spec(file: BinaryIO, name: str) -> RunSpec:
    """The spec in a TOML file; `UserError` BAD_SPEC names every fault."""
    data = file.read(MAX_TOML_BYTES + 1)
    if len(data) > MAX_TOML_BYTES:
        raise _bad_spec(name, [f"the file has more than {MAX_TOML_BYTES // 1024} KiB"])
    try:
        return parse_toml(data.decode())
    except UnicodeDecodeError as error:
        raise _bad_spec(name, [f"not UTF-8 text: {error.reason} at byte {error.start}"]) from error
    except SpecError as error:
        raise _bad_spec(name, error.problems) from error


def check_model(spec: RunSpec, name: str) -> None:
    """Let transformers judge the model's configuration; `UserError` BAD_SPEC names every fault."""
    # takes seconds to import, and only this command needs it
    from swarmpb import architecture

    problems = architecture.check_model(spec)
    if problems:
        raise _bad_spec(name, problems)


def load_owner_key(path: Path) -> SigningKey:
    """The owner's key, made at the first use. `UserError` BAD_CONFIG if it cannot be used."""
    try:
        return SigningKey.load_or_create(path)
    except ValueError as error:
        raise UserError(
            Exit.BAD_CONFIG,
            f"{error}; put your backup there, or move it away to begin with a new key"
            " (runs that you registered stay with the old one)",
        ) from error
    except OSError as error:
        raise UserError(
            Exit.BAD_CONFIG, f"cannot use the owner key {path}: {error.strerror}"
        ) from error


def load_authority_key(path: Path) -> SigningKey:
    """The key that speaks for a coordinator's runs, made at its first start.

    `UserError` BAD_CONFIG if it cannot be used; it is never replaced.
    """
    try:
        return SigningKey.load_or_create(path)
    except ValueError as error:
        raise UserError(
            Exit.BAD_CONFIG,
            f"{error}; put your backup there, or move it away to begin with a new one: then say"
            " `coordinator run create` again for each run",
        ) from error
    except OSError as error:
        raise UserError(
            Exit.BAD_CONFIG, f"cannot use the authority key {path}: {error.strerror}"
        ) from error


def known_owner(path: Path) -> bytes | None:
    """The public key of this machine's owner key, None if it has none that can be read."""
    if not path.exists():
        return None
    try:
        return SigningKey.load_or_create(path).public_key
    except (ValueError, OSError) as error:
        log.warning("runs of the owner key %s cannot be restored here: %s", path, error)
        return None


def sign(spec: RunSpec, key: SigningKey) -> coordinator_pb2.SignedSpec:
    """The spec as it is published."""
    spec_hash = spec.hash()
    return coordinator_pb2.SignedSpec(
        spec=spec.canonical(),
        hash=spec_hash,
        owner_key=key.public_key,
        signature=key.sign("spec", spec_hash),
    )


def _bad_spec(name: str, problems: Sequence[str]) -> UserError:
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    faults = "; ".join(" ".join(problem.split()) for problem in problems)
    return UserError(Exit.BAD_SPEC, f"{name} has {count}: {faults}")

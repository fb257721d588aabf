"""A run comes back from the peers that take part in it, after this coordinator has lost its disk.

With the spec comes the newest word of who spoke for the run. A coordinator that still has that key
goes on as before. One that lost the key too speaks for the run again if the owner's key is on its
machine; else it serves what was said last, until its owner registers the run anew.
"""

from __future__ import annotations

import logging
from pathlib import Path

from coordinator.domain import ForeignRunError, Run
from coordinator.membership.authority import Authority
from coordinator.membership.signed_specs import verified
from coordinator.registration import known_owner, load_owner_key
from coordinator.service import CoordinatorService
from swarmpb.files import write_private
from swarmpb.v1 import coordinator_pb2, membership_pb2

log = logging.getLogger(__name__)

MOST_TOMBSTONES = 10_000


class Tombstones:
    """The runs that their owner has deleted: peers that come back late do not bring them back."""

    def __init__(self, path: Path) -> None:
        """`path`: a file with a spec's hash on each line; it is made when it is needed."""
        self._path = path
        self._hashes = self._read()

    def __contains__(self, spec_hash: bytes) -> bool:
        return spec_hash in self._hashes

    def add(self, spec_hash: bytes) -> None:
        """Remember a deleted run by its spec; `OSError` if the disk does not take it."""
        self._replace([*self._hashes, spec_hash][-MOST_TOMBSTONES:])

    def remove(self, spec_hash: bytes) -> None:
        """Its owner has registered it again."""
        if spec_hash in self._hashes:
            self._replace([it for it in self._hashes if it != spec_hash])

    def _read(self) -> dict[bytes, None]:
        try:
            lines = self._path.read_text(encoding="ascii").split()
            return dict.fromkeys(bytes.fromhex(line) for line in lines[-MOST_TOMBSTONES:])
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            log.warning("%s cannot be read (%s): deleted runs may come back", self._path, error)
            return {}

    def _replace(self, hashes: list[bytes]) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        write_private(self._path, "".join(f"{it.hex()}\n" for it in hashes).encode())
        self._hashes = dict.fromkeys(hashes)


class Restoring:
    """Takes runs back from anybody who has what their owner signed."""

    def __init__(
        self,
        service: CoordinatorService,
        authority: Authority,
        tombstones: Tombstones,
        owner_key: Path,
    ) -> None:
        """owner_key: of this machine's owner, if there is one."""
        self._service = service
        self._authority = authority
        self._tombstones = tombstones
        self._owner_key = owner_key

    def restore(
        self, spec: coordinator_pb2.SignedSpec, orders: membership_pb2.SignedOrders | None
    ) -> Run:
        """The run, known here from now on.

        Raises `InvalidSpecError`, `SpecChangedError`, `InvalidCharterError`, or `ForeignRunError`
        for an owner whose runs are not restored here, and for a run that was deleted.
        """
        parsed = verified(spec)
        if spec.hash in self._tombstones:
            raise ForeignRunError(f"run {parsed.run_id} was deleted here by its owner")
        lost = all(run.run_id != parsed.run_id for run in self._service.runs())
        run = self._service.restore(spec)
        if orders is not None and self._authority.take(run, orders) and lost:
            self._speak_again(run)
        return run

    def _speak_again(self, run: Run) -> None:
        if self._authority.speaks_for(run.run_id):
            return
        if known_owner(self._owner_key) == run.owner_key:
            self._authority.grant_itself(run, load_owner_key(self._owner_key))
            log.info("run %s: this coordinator speaks for it, with a new key", run.run_id)
            return
        log.warning(
            "run %s is back, but this coordinator has lost the key that speaks for it: its owner"
            " must say `coordinator run create` again",
            run.run_id,
        )

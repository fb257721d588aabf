"""What a run's owner may do with a coordinator's runs, told apart from how it is asked.

Like `CoordinatorService`, whose runs these are: blocking, one caller at a time.
"""

from __future__ import annotations

import logging

from coordinator.authority import Authority
from coordinator.domain import Run
from coordinator.service import CoordinatorService, verified
from swarmpb.membership import RunIdentity
from swarmpb.v1 import admin_pb2

log = logging.getLogger(__name__)


class Administration:
    """Registers runs and changes what is wanted of them. Who asks is the owner: see `TokenGate`."""

    def __init__(self, service: CoordinatorService, authority: Authority) -> None:
        self._service = service
        self._authority = authority

    def register(self, request: admin_pb2.RegisterRunRequest) -> Run:
        """Take a run and the right to speak for it; the same again changes nothing.

        Raises `InvalidSpecError`, `SpecChangedError`, `InvalidCharterError`, `StorageError`.
        """
        spec = verified(request.spec)
        told = RunIdentity(spec.run_id, request.spec.hash, request.spec.owner_key)
        self._authority.check_charter(request.charter, told)
        run = self._service.register(request.spec)
        asked = request.invite_only if request.HasField("invite_only") else None
        self._authority.accept_charter(run, request.charter, request.draft, asked)
        return run

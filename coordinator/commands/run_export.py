"""`coordinator run export`: a run's model in a folder, ready for `from_pretrained`.

From the coordinator's own shelf if the run has ended and this is its machine; else from the peers.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from coordinator.exporting import Admit, Export, Exporter
from coordinator.model_keeper import FACTS_FILE, KeptModels
from swarmpb.exits import Exit, UserError
from swarmpb.v1 import coordinator_pb2, membership_pb2


def export_run(
    info: coordinator_pb2.RunInfo,
    kept: KeptModels,
    folder: Path,
    admit: Admit,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """Write the newest model of a run to `folder`; what was written (`murmuration.json`).

    folder: new, empty, or with a model that it may replace. tell: hears in words how far it is.
    Raises `UserError`: STATE_FOLDER for a folder that is neither, SWARM_UNREACHABLE.
    """
    check_folder(folder)
    if kept.has(info.run_id, info.spec.hash):
        tell("the run has ended: taking the model that its coordinator kept")
        return _copy(kept.place(info.run_id, info.spec.hash), folder)
    export = Export(info.run_id, info.spec, tuple(info.initial_peers), folder)
    with Exporter(export, admit) as exporter:
        return exporter.run(tell)


def takes_members_only(info: coordinator_pb2.RunInfo) -> bool:
    """Whether the run's peers deal with nobody who is not admitted."""
    return membership_pb2.Orders.FromString(info.orders.orders).invite_only


def check_folder(folder: Path) -> None:
    """Said before anything is fetched. `UserError` STATE_FOLDER if `folder` is in use."""
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir()} if folder.is_dir() else {""}
    if names and FACTS_FILE not in names:
        raise UserError(
            Exit.STATE_FOLDER,
            f"{folder} exists and holds no exported model; choose another folder",
        )


def _copy(source: Path, folder: Path) -> dict[str, Any]:
    new = folder.with_name(f".{folder.name}.part")
    try:
        facts: dict[str, Any] = json.loads((source / FACTS_FILE).read_bytes())
        shutil.rmtree(new, ignore_errors=True)  # of a copy that was killed
        shutil.copytree(source, new)
        shutil.rmtree(folder, ignore_errors=True)
        new.rename(folder)
    except (OSError, ValueError) as error:
        raise UserError(
            Exit.STATE_FOLDER, f"cannot copy the model from {source} to {folder}: {error}"
        ) from error
    return facts

"""What this machine knows of its runs, with a peer on them or without: for `peer runs`."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from peer.checkpoint_manifest import (
    MAX_MANIFEST_BYTES,
    CheckpointManifest,
    Generation,
    parse_manifest,
)
from peer.control import ask_status
from peer.identity_files import identity_of
from peer.limits.units import bytes_text, seconds_text
from peer.local_runs import Sizes, run_folders, sizes_of
from peer.resting.pause_file import load_pause
from peer.resting.rest import rest_for_pause
from peer.run_log import NAME
from peer.runtime import running
from peer.screen.plain import one_line
from swarmpb.exits import UserError
from swarmpb.v1 import control_pb2

NOT_RUNNING = "not running"
_AT_REST = ("resting", "paused")
"""Phases of a peer that takes no part for now; in every other one it runs."""


@dataclass(frozen=True)
class KnownRun:
    """One run on this machine."""

    run: str
    state: str
    """"running", "resting", "paused", "starting" or "not running"."""
    reason: str
    since: float | None
    """Unix seconds: when the process began, or when the last one was last heard of."""
    round: int | None
    """Of the peer, or of its newest checkpoint."""
    tokens: int | None
    """Merged of this peer's work."""
    peer_id: str | None
    sizes: Sizes

    def facts(self) -> dict[str, Any]:
        """For scripts; bytes and unix seconds."""
        return {**asdict(self), "bytes": self.sizes.total}


def known_runs(state_dir: Path, now: float) -> list[KnownRun]:
    """Every run that was joined on a state folder; now: unix seconds. `OSError` if unreadable."""
    return [_look(folder, now) for folder in run_folders(state_dir)]


def describe(runs: list[KnownRun], now: float) -> str:
    """A few lines for each run; now: unix seconds."""
    return "\n".join(_lines(run, now) for run in runs)


def _lines(run: KnownRun, now: float) -> str:
    since = f" for {seconds_text(max(0.0, now - run.since))}" if run.since else ""
    place = "" if run.round is None else f"at round {run.round}, "
    merged = "nothing known of its work" if run.tokens is None else f"{run.tokens:,} tokens merged"
    reason = f": {one_line(run.reason)}" if run.reason else ""
    parts = [f"{name} {bytes_text(size)}" for name, size in asdict(run.sizes).items() if size]
    return (
        f"{run.run}: {run.state}{since}{reason}\n"
        f"  {place}{merged}\n"
        f"  {bytes_text(run.sizes.total)} on the disk: {', '.join(parts)}"
    )


def _look(folder: Path, now: float) -> KnownRun:
    state, reason, since, status = _state(folder, now)
    round_, tokens = (status.round, status.tokens) if status else _kept(folder / "checkpoints")
    try:
        identity = identity_of(folder)
    except (OSError, ValueError):
        identity = None  # `peer id` says what is wrong with it
    return KnownRun(
        run=folder.name,
        state=state,
        reason=reason,
        since=since,
        round=round_,
        tokens=tokens,
        peer_id=identity.peer_id if identity else None,
        sizes=sizes_of(folder),
    )


def _state(
    folder: Path, now: float
) -> tuple[str, str, float | None, control_pb2.StatusReply | None]:
    """In a word, why, since when; and what the peer itself says, if one runs and takes part."""
    if running(folder) is not None:
        try:
            status = ask_status(folder)
        except UserError as error:
            return "starting", str(error), None, None
        since = now - status.uptime_seconds
        if status.phase in _AT_REST:
            return status.phase, status.reason, since, None
        return "running", status.reason, since, status
    pause = rest_for_pause(load_pause(folder), now)
    return NOT_RUNNING, pause.reason if pause else "", _last_heard(folder), None


def _last_heard(folder: Path) -> float | None:
    times = []
    for name in ("lock", NAME):
        try:
            times.append((folder / name).stat().st_mtime)
        except FileNotFoundError:
            continue
    return max(times, default=None)


def _kept(folder: Path) -> tuple[int | None, int | None]:
    """Round and merged tokens of the newest checkpoint, as it says itself."""
    newest = _newest(folder)
    return (newest.round, newest.merged_tokens) if newest else (None, None)


def _newest(folder: Path) -> CheckpointManifest | None:
    """What the newest checkpoint says of itself; its files are not looked into."""
    try:
        names = (Generation.named(path.name) for path in folder.iterdir())
        for generation in sorted((it for it in names if it is not None), reverse=True):
            try:
                with (folder / generation.name / "manifest.json").open("rb") as file:
                    return parse_manifest(file.read(MAX_MANIFEST_BYTES))
            except (OSError, ValueError):
                continue  # the peer sets it aside when it starts
    except OSError:
        pass  # none was written yet
    return None

"""What the service manager says of the services that we installed."""

from __future__ import annotations

from typing import Any

from peer.service import launchd
from peer.service.installing import Manager, answer
from peer.service.outcomes import LEFT_ALONE, STARTED_AGAIN
from swarmpb.exits import Exit

_ASKED = ("ActiveState", "UnitFileState", "NRestarts", "ExecMainStatus", "ActiveEnterTimestamp")


def look(manager: Manager) -> list[dict[str, Any]]:
    """Each service with its file and its state; "unknown" where no manager answers."""
    runs = manager.runs()
    found = []
    for run_id, path in manager.installed().items():
        facts: dict[str, Any] = {"run": run_id, "file": str(path), "state": "unknown"}
        if runs:
            facts |= _apple(manager, run_id) if manager.apple else _systemd(manager, path.name)
        found.append(facts)
    return found


def describe(facts: dict[str, Any]) -> str:
    """A line or two."""
    line = f"{facts['run']}: {facts['state']}"
    if facts["state"] == "unknown":
        line += ", as no service manager answers here"
    if facts.get("since"):
        line += f" since {facts['since']}"
    if facts.get("at_start") is False:
        line += "; not started by itself"
    if facts.get("restarts"):
        line += f"; started again {facts['restarts']} times"
    code = facts.get("exit_code", 0)
    if code and facts["state"] not in ("active", "reloading"):
        line += f"; ended with code {code}{_why(code)}"
    return f"{line}\n  {facts['file']}"


def _why(code: int) -> str:
    try:
        known = Exit(code)
    except ValueError:
        return ""
    again = known in STARTED_AGAIN
    why = STARTED_AGAIN[known] if again else LEFT_ALONE[known]
    return f" ({why}): " + ("it is tried again" if again else "see `peer logs`, then start it")


def _systemd(manager: Manager, name: str) -> dict[str, Any]:
    asked = [it for field in _ASKED for it in ("-p", field)]
    told = answer(manager.systemctl("show", name, *asked))
    if told is None:
        return {}
    values = dict(line.partition("=")[::2] for line in told.splitlines())
    return {
        "state": values.get("ActiveState", "unknown"),
        "since": values.get("ActiveEnterTimestamp", ""),
        "at_start": values.get("UnitFileState") == "enabled",
        "restarts": _number(values.get("NRestarts")),
        "exit_code": _number(values.get("ExecMainStatus")),
    }


def _apple(manager: Manager, run_id: str) -> dict[str, Any]:
    told = answer(["launchctl", "list", launchd.label(run_id)])
    return {"state": "inactive" if told is None else "active"}


def _number(text: str | None) -> int:
    return int(text) if text and text.isdigit() else 0

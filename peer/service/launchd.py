"""The launchd property list of a peer, for a user's agents or the system's daemons. Pure."""

from __future__ import annotations

import plistlib

from peer.service.description import MARK, RESTART_SECONDS, STOP_SECONDS, Service

PREFIX = "org.murmuration."
FINAL_IS_SUCCESS = "PEER_FINAL_IS_SUCCESS"
"""launchd starts again after every exit code but 0: with this variable `peer.cli` ends with 0
where a peer is not to be started again."""


def label(run_id: str) -> str:
    return f"{PREFIX}peer.{run_id}"


def agent(service: Service) -> bytes:
    """The content of the property list."""
    folder = service.state_dir / "runs" / service.run_id
    content = {
        "Label": label(service.run_id),
        "ProgramArguments": list(service.command(str(service.secret))),
        "EnvironmentVariables": {
            "PEER_CONFIG": str(service.config),
            FINAL_IS_SUCCESS: "1",
        },
        "RunAtLoad": True,
        # after a failure only
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": RESTART_SECONDS,
        # between the request to leave and the kill
        "ExitTimeOut": STOP_SECONDS,
        "ProcessType": "Background",
        "LowPriorityIO": True,
        "Umask": 0o077,
        # before its own log begins; both ends of it are small
        "StandardOutPath": "/dev/null",
        "StandardErrorPath": str(folder / "launchd.err"),
    }
    data = plistlib.dumps(content, sort_keys=False)
    head, doctype, rest = data.partition(b"<plist")
    return head + f"<!-- {MARK} -->\n".encode() + doctype + rest

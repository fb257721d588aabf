"""The systemd unit of a peer, for a user or for the system. Pure.

What is not here, and why: MemoryDenyWriteExecute= (oneDNN writes its kernels at run time: training
in bfloat16 fails with "could not create a primitive"), PrivateDevices= (accelerators), ProtectProc=
(the limit `not_while` looks at other users' programs), Nice= (the peer sets its own, and could not
go below the unit's when the setting changes).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from peer.service.description import MARK, RESTART_SECONDS, STOP_SECONDS, Service
from peer.service.outcomes import left_alone, successes

_CREDENTIAL = "link"
_UNIT = """\
# {mark}
# Your own changes belong into a drop-in: {systemctl} edit {name}

[Unit]
Description=Murmuration: this machine's peer of run {run_id}
{order}# against a loop that nobody thought of; the peer's own restarts never come so fast
StartLimitIntervalSec=5min
StartLimitBurst=10

[Service]
Type=exec
{start}
# the peer alone is asked to leave; what is left of it after {stop} s is killed
KillMode=mixed
TimeoutStopSec={stop}s
Restart=on-failure
RestartSec={restart}s
# not after what only a person can change: README, "When something is wrong"
RestartPreventExitStatus={left_alone}
SuccessExitStatus={successes}
# a trainer without memory is started again by its peer, with a smaller micro-batch
OOMPolicy=continue
OOMScoreAdjust=500

# never in the way of what else this machine does
IOSchedulingClass=idle
CPUWeight=20
IOWeight=20

# sockets lie where `peer status` finds them, and not in a temporary folder that all can see
RuntimeDirectory={runtime}
RuntimeDirectoryMode=0700
UMask=0077

{protection}
NoNewPrivileges=yes
LockPersonality=yes
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

[Install]
WantedBy={target}
"""
_USER_PROTECTION = """\
# nothing but the peer's own folder is written; where users may not have namespaces of their own
# (Ubuntu), or systemd is older than 254, a user's service goes on without this
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={state}"""
_SYSTEM_PROTECTION = """\
# a user of its own that owns nothing but the peer's state
DynamicUser=yes
User=murmuration
StateDirectory=murmuration
StateDirectoryMode=0700
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
CapabilityBoundingSet="""


def unit(service: Service) -> str:
    """The content of the unit file."""
    system = service.system
    return _UNIT.format(
        mark=MARK,
        systemctl="systemctl" if system else "systemctl --user",
        name=unit_name(service.run_id),
        run_id=service.run_id,
        order="Wants=network-online.target\nAfter=network-online.target\n" if system else "",
        start="\n".join(_start(service)),
        stop=STOP_SECONDS,
        restart=RESTART_SECONDS,
        left_alone=" ".join(map(str, left_alone())),
        successes=" ".join(map(str, successes())),
        runtime=_runtime_folder(service),
        protection=_SYSTEM_PROTECTION if system else _user_protection(service),
        target="multi-user.target" if system else "default.target",
    )


def unit_name(run_id: str) -> str:
    return f"murmuration-peer-{run_id}.service"


def _runtime_folder(service: Service) -> str:
    """One for each service, as systemd removes it; short: a socket's path has at most 107 bytes."""
    return f"murmuration-peer-{hashlib.sha256(service.run_id.encode()).hexdigest()[:8]}"


def _start(service: Service) -> Iterator[str]:
    # the folder of credentials is one of systemd's own words, and nothing else is
    secret = f"@{_CREDENTIAL}"
    words = (f"@%d/{_CREDENTIAL}" if it == secret else _argument(it)
             for it in service.command(_CREDENTIAL))  # fmt: skip
    yield f"ExecStart={' '.join(words)}"
    for variable in (
        f"TMPDIR=%t/{_runtime_folder(service)}",
        f"PEER_CONFIG={_escaped(str(service.config))}",
    ):
        yield f"Environment={_quoted(variable)}"
    if service.secret is not None:
        yield "# so that the invitation's secret stands in no file that others can read"
        yield f"LoadCredential={_CREDENTIAL}:{_escaped(str(service.secret))}"


def _user_protection(service: Service) -> str:
    return _USER_PROTECTION.format(state=_quoted(_escaped(str(service.state_dir))))


def _argument(word: str) -> str:
    """A word of ExecStart=, where a dollar sign would name a variable."""
    return _quoted(_escaped(word).replace("$", "$$"))


def _escaped(text: str) -> str:
    """With nothing that systemd would put something else in place of."""
    if not text.isprintable():
        raise ValueError(f"{text!r} cannot stand in a unit")
    return text.replace("%", "%%")


def _quoted(text: str) -> str:
    if not any(it in text for it in " \t\"'\\;"):
        return text
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

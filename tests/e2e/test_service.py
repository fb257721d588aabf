"""Under a real systemd: what it starts again and what not, and that a unit's protection holds.

A user's systemd in a mount namespace of its own, where it believes that it has booted the machine.
Only root can make one, so this is skipped for everybody else.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from peer.service import systemd
from peer.service.description import Service
from swarmpb.endpoints import parse_link
from swarmpb.exits import Exit

SYSTEMD = Path("/lib/systemd/systemd")
UNSHARE = ("unshare", "--mount", "--propagation", "private")
SECRET = "5ecre7" * 6

SCRIPT = r"""
set -e
mount --make-rshared /  # credentials are mounted by a child
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR"
/lib/systemd/systemd --user --log-target=null &
manager=$!
trap 'kill $manager; wait $manager || true' EXIT
for _ in $(seq 100); do
    systemctl --user show-environment >/dev/null 2>&1 && break
    sleep 0.1
done
for unit in "$@"; do systemctl --user start "$unit" || true; done
for unit in "$@"; do
    for _ in $(seq 100); do
        state=$(systemctl --user show "$unit" -p SubState --value)
        case $state in auto-restart|failed|dead) break;; esac
        sleep 0.1
    done
    echo "$unit $state"
done
"""
PEER = r"""#!/bin/sh
# in the place of `peer`: notes what it sees, and ends as its folder's name says
folder=$4
cat "${2#@}" > "$folder/link"
echo "$TMPDIR" > "$folder/tmpdir"
touch "$TMPDIR/socket" && echo yes > "$folder/runtime"
touch /usr/murmuration-was-here 2>/dev/null && echo yes > "$folder/usr"
exit "${folder##*-}"
"""


def can_unshare() -> bool:
    if os.getuid() != 0 or not SYSTEMD.exists() or shutil.which("unshare") is None:
        return False
    command = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "mount",
        "-t",
        "tmpfs",
        "x",
        "/mnt",
    ]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="needs root, systemd and mount namespaces")
def test_systemd_starts_again_what_time_may_mend_and_nothing_else(tmp_path: Path) -> None:
    units = tmp_path / "config" / "systemd" / "user"
    units.mkdir(parents=True)
    program = tmp_path / "peer"
    program.write_text(PEER)
    program.chmod(0o755)
    expected = {}
    for code, state in (
        (Exit.BAD_CONFIG, "failed"),
        (Exit.COORDINATOR_UNREACHABLE, "auto-restart"),
        (1, "auto-restart"),
        (Exit.RUN_FINISHED, "dead"),
        (0, "dead"),
    ):
        run_id = f"code-{int(code)}"
        folder = tmp_path / run_id
        folder.mkdir()
        link = parse_link(f"murmuration://there.example:7700/{run_id}/invite={SECRET}")
        secret = folder / "secret"
        secret.write_text(str(link))
        name = systemd.unit_name(run_id)
        service = Service(link, (str(program),), folder, tmp_path / "peer.toml", secret)
        (units / name).write_text(systemd.unit(service))
        expected[name] = state
    done = subprocess.run(
        [*UNSHARE, "bash", "-c", SCRIPT, "sh", *expected],
        env={
            **os.environ,
            "XDG_CONFIG_HOME": str(tmp_path / "config"),
            "XDG_RUNTIME_DIR": "/run/user/0",
        },
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    found = dict(line.split() for line in done.stdout.splitlines())
    assert found == expected, done.stderr
    folder = tmp_path / "code-0"
    assert SECRET in (folder / "link").read_text(), "the link comes as a credential"
    assert (folder / "tmpdir").read_text().startswith("/run/user/0/murmuration-peer-")
    assert (folder / "runtime").exists(), "sockets can be made there"
    assert not (folder / "usr").exists(), "and nothing elsewhere"

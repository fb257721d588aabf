"""A home router between a peer and the others: its own network namespace, with nftables.

What is behind it gets out under the router's address; nothing that comes from outside by itself
gets in. So it is with most volunteers' machines.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.benchmarks.namespaces import NoNamespacesError, Site, remove

INSIDE = "192.168.77"
_RULES = """
table ip router {
  chain out { type nat hook postrouting priority srcnat; oifname "eth0" masquerade; }
  chain through { type filter hook forward priority filter; iifname "eth0" ct state new drop; }
  chain in { type filter hook input priority filter; iifname "eth0" ct state new drop; }
}
"""


@contextmanager
def behind_router(router: Site) -> Iterator[Site]:
    """A site whose way to all others leads over `router`, which becomes one.

    All homes have the same private addresses, as in life. Raises `NoNamespacesError` without
    `nft`, or if it may not be used.
    """
    if shutil.which("nft") is None:
        raise NoNamespacesError("there is no `nft` (install nftables)")
    home = Site(f"{router.name}7", f"{INSIDE}.2")
    try:
        _run("ip", "netns", "add", home.name)
        _run("ip", "-n", home.name, "link", "set", "lo", "up")
        _run("ip", "-n", router.name, "link", "add", "inside", "type", "veth",
             "peer", "name", "eth0", "netns", home.name)  # fmt: skip
        for place, device, last in ((router.name, "inside", 1), (home.name, "eth0", 2)):
            _run("ip", "-n", place, "address", "add", f"{INSIDE}.{last}/24", "dev", device)
            _run("ip", "-n", place, "link", "set", device, "up")
        _run("ip", "-n", home.name, "route", "add", "default", "via", f"{INSIDE}.1")
        _run(*router.command(["sysctl", "-q", "-w", "net.ipv4.ip_forward=1"]))
        _run(*router.command(["nft", "-f", "-"]), said=_RULES)
        yield home
    finally:
        remove(home.name)


def _run(*command: str, said: str = "") -> None:
    done = subprocess.run(command, input=said, capture_output=True, text=True, check=False)
    if done.returncode:
        words = " ".join(done.stderr.split())
        raise NoNamespacesError(f"`{' '.join(command)}` said: {words}")

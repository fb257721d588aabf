"""Since when nobody has used this machine, as far as that can be seen.

Nothing tells it everywhere, so several are asked, and the latest sign of use counts:

* the kernel's counts of keyboards, mice and touchpads: any desktop or none, no rights needed;
* terminals: consoles, and who comes over ssh;
* GNOME's compositor, which also sees remote desktops;
* only where there are devices without a count, the login manager: few desktops tell it enough, and
  those that do not are never idle;
* on macOS the HID system.

A machine without input devices is used through terminals. A container without them cannot know.
"""

from __future__ import annotations

import logging
import math
import os
import re
import subprocess
import sys
from pathlib import Path

from peer.resting import terminals
from peer.resting.input_devices import InputDevices
from peer.resting.session_bus import Bus, login_idle_seconds, mutter_idle_seconds

log = logging.getLogger(__name__)

_IOREG = ("/usr/sbin/ioreg", "-c", "IOHIDSystem", "-d", "4")
_IOREG_SECONDS = 5.0
_MAC_SECONDS = 20.0
_IDLE_NANOSECONDS = re.compile(r'"HIDIdleTime" = (\d{1,20})')


class MachineUse:
    """Looks for signs that somebody uses this machine. On Linux."""

    def __init__(
        self,
        root: Path = Path("/"),
        desktop: Bus | None = None,
        login: Bus | None = None,
    ) -> None:
        """root: where `dev`, `proc` and `sys` are; the buses: else those of the environment."""
        self._root = root
        self._devices = InputDevices(root)
        self._desktop = desktop or Bus("SESSION")
        self._login = login or Bus("SYSTEM")

    def idle_seconds(self, now: float, wall: float) -> float | None:
        """Since the last sign; None: it cannot be seen. now: monotonic, wall: unix seconds."""
        local = self._local(now, wall)
        if local is None:
            return None
        remote = terminals.idle_seconds(wall, self._root)
        return min([*local, *([] if remote is None else [remote])], default=None)

    def _local(self, now: float, wall: float) -> list[float] | None:
        """Signs of use at the machine itself; None: they would not be seen."""
        touched = self._devices.idle_seconds(now)
        desktop = self._desktop.asked(mutter_idle_seconds, now)
        found = [it for it in (touched, desktop) if it is not None]
        if desktop is not None or (self._devices.some and self._devices.seen):
            return found
        if not self._devices.some:
            return None if self._in_container() else found
        hint = self._login.asked(lambda bus: login_idle_seconds(bus, wall), now)
        return None if hint is None else [*found, hint]

    def _in_container(self) -> bool:
        marks = (self._root / ".dockerenv", self._root / "run/.containerenv")
        named = os.getenv("container") or os.getenv("KUBERNETES_SERVICE_HOST")  # noqa: SIM112  so it is named
        return bool(named) or any(it.exists() for it in marks)


class MacUse:
    """The same on macOS, where a program is asked: less often, for it takes some time."""

    def __init__(self) -> None:
        self._asked_at = -math.inf
        self._idle: float | None = None

    def idle_seconds(self, now: float, wall: float) -> float | None:
        """Since the last input; None: it cannot be seen. now: monotonic, wall: unix seconds."""
        if now - self._asked_at >= _MAC_SECONDS:
            self._asked_at = now
            self._idle = self._ask()
        if self._idle is None:
            return None
        found = self._idle + now - self._asked_at
        remote = terminals.idle_seconds(wall)
        return found if remote is None else min(found, remote)

    def _ask(self) -> float | None:
        try:
            told = subprocess.run(
                _IOREG, capture_output=True, text=True, timeout=_IOREG_SECONDS, check=True
            ).stdout
        except (OSError, subprocess.SubprocessError) as error:
            log.debug("ioreg does not tell: %s", error)
            return None
        return hid_idle_seconds(told)


def hid_idle_seconds(told: str) -> float | None:
    """From what `ioreg` prints; None if it does not say."""
    found = [int(it) / 1e9 for it in _IDLE_NANOSECONDS.findall(told)]
    return min(found, default=None)


def machine_use() -> MachineUse | MacUse:
    """What can be asked on this system."""
    return MacUse() if sys.platform == "darwin" else MachineUse()

"""When a keyboard, mouse or touchpad of this machine was last touched, told by the kernel's counts.

Works with any desktop, with none, and without rights: the kernel lists input devices and counts
what they send. A USB device has a count of its own transfers, one at a PS/2 or I2C bus its
interrupts, one by Bluetooth those of the Bluetooth adapter. Linux only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

RELIST_SECONDS = 60.0
"""Devices are plugged in and out."""
_MOST_DEVICES = 256
_BUS = re.compile(r"^I: Bus=([0-9a-fA-F]{4})")
_SYSFS = re.compile(r"^S: Sysfs=(\S*)")
_HANDLERS = re.compile(r"^H: Handlers=(.*)")
_USED_BY_PEOPLE = re.compile(r"\b(?:kbd|mouse\d*|js\d+)\b")
_USB, _BLUETOOTH, _VIRTUAL, _PS2, _I2C, _HOST = "0003", "0005", "0006", "0011", "0018", "0019"


@dataclass(frozen=True)
class _Device:
    bus: str
    path: str
    """In /sys."""


class InputDevices:
    """Counts what people's devices send; a change of the count is a touch."""

    def __init__(self, root: Path = Path("/")) -> None:
        """root: where `proc` and `sys` are."""
        self._root = root
        self._counters: dict[Path, str] = {}
        self._listed_at: float | None = None
        self._touched_at = 0.0
        self.seen = False
        """All devices that people use are counted."""
        self.some = False
        """There are devices that people use."""

    def idle_seconds(self, now: float) -> float | None:
        """Since the last touch, or the first look; None without any device that is counted."""
        if self._listed_at is None:
            self._touched_at = now
        if self._listed_at is None or now - self._listed_at >= RELIST_SECONDS:
            self._listed_at = now
            self._list()
        for counter, before in self._counters.items():
            count = _count(counter)
            if count != before:
                self._counters[counter] = count
                self._touched_at = now
        return now - self._touched_at if self._counters else None

    def _list(self) -> None:
        devices = self._devices()
        counters: dict[Path, str] = {}
        self.some, self.seen = bool(devices), True
        for device in devices:
            found = self._counters_of(device)
            self.seen = self.seen and bool(found)
            counters |= {it: self._counters.get(it) or _count(it) for it in found}
        self._counters = counters

    def _devices(self) -> list[_Device]:
        """Keyboards, mice and the like; not a machine's power button."""
        try:
            text = (self._root / "proc/bus/input/devices").read_text(errors="replace")
        except OSError:
            return []  # no input devices at all, or not Linux
        found = []
        for block in text.split("\n\n")[:_MOST_DEVICES]:
            fields = {
                pattern: match[1]
                for line in block.splitlines()
                for pattern in (_BUS, _SYSFS, _HANDLERS)
                if (match := pattern.match(line))
            }
            used = _USED_BY_PEOPLE.search(fields.get(_HANDLERS, ""))
            bus = fields.get(_BUS, "").lower()
            if used and bus not in (_VIRTUAL, _HOST, ""):
                found.append(_Device(bus, fields.get(_SYSFS, "").lstrip("/")))
        return found

    # ---- counters ----------------------------------------------------------------------

    def _counters_of(self, device: _Device) -> list[Path]:
        if device.bus == _USB:
            return self._transfers(self._root / "sys" / device.path)
        if device.bus == _BLUETOOTH:
            adapters = self._root.glob("sys/class/bluetooth/hci*")
            return [it for adapter in adapters for it in self._transfers(adapter.resolve())]
        if device.bus == _PS2:
            return self._interrupts("i8042")
        if device.bus == _I2C:
            # …/i2c-1/i2c-SYNA2393:00/0018:06CB:7F8B.0001/input/input9
            names = re.findall(r"/i2c-([^/]*:[^/]*)/", f"/{device.path}/")
            return [it for name in names for it in self._interrupts(name)]
        return []

    def _transfers(self, path: Path) -> list[Path]:
        """The count of the USB device that a device belongs to."""
        for folder in (path, *path.parents):
            if (folder / "urbnum").is_file():
                return [folder / "urbnum"]
            if folder == self._root:
                break
        return []

    def _interrupts(self, driver: str) -> list[Path]:
        found = []
        for actions in self._root.glob("sys/kernel/irq/*/actions"):
            if driver in _count(actions).split(","):
                found.append(actions.with_name("per_cpu_count"))
        return found


def _count(path: Path) -> str:
    """As it is written; empty when the device is gone."""
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""

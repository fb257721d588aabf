"""Whether somebody uses a machine: kernels, desktops and containers as they look from here."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from jeepney import HeaderFields, Message, Parser, new_error, new_method_return

from peer.resting import use
from peer.resting.input_devices import RELIST_SECONDS, InputDevices
from peer.resting.session_bus import RETRY_SECONDS, Bus, login_idle_seconds, mutter_idle_seconds
from peer.resting.terminals import idle_seconds
from peer.resting.use import MachineUse, hid_idle_seconds

WALL = 1_800_000_000.0


class Kernel:
    """A /proc, /sys and /dev of which a machine's devices are made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._blocks: list[str] = []
        self.file("proc/bus/input/devices", "")

    def file(self, path: str, content: str) -> Path:
        found = self.root / path
        found.parent.mkdir(parents=True, exist_ok=True)
        found.write_text(content)
        return found

    def device(self, bus: str, sysfs: str, handlers: str) -> None:
        self._blocks.append(
            f"I: Bus={bus} Vendor=046d Product=c31c Version=0110\n"
            f'N: Name="some device"\nS: Sysfs={sysfs}\nH: Handlers={handlers}\nB: EV=120013\n'
        )
        self.file("proc/bus/input/devices", "\n".join(self._blocks))

    def usb(self, port: str = "1-2", handlers: str = "sysrq kbd event3 leds ") -> Path:
        """A USB device; its count."""
        folder = f"devices/pci0000:00/0000:00:14.0/usb1/{port}"
        self.device("0003", f"/{folder}/{port}:1.0/0003:046D:C31C.0001/input/input5", handlers)
        (self.root / "sys" / folder / f"{port}:1.0").mkdir(parents=True)
        return self.file(f"sys/{folder}/urbnum", "17\n")

    def interrupt(self, number: int, actions: str) -> Path:
        """An interrupt; its count."""
        self.file(f"sys/kernel/irq/{number}/actions", f"{actions}\n")
        return self.file(f"sys/kernel/irq/{number}/per_cpu_count", "3,0\n")

    def terminal(self, name: str, idle: float) -> None:
        path = self.file(f"dev/{name}", "")
        os.utime(path, (WALL - idle, WALL))


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


@pytest.fixture(autouse=True)
def _on_no_container(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("container", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


# ---- input devices ---------------------------------------------------------------------


def test_a_usb_keyboard_is_touched_when_its_count_changes(kernel: Kernel) -> None:
    count = kernel.usb()
    devices = InputDevices(kernel.root)
    assert devices.idle_seconds(100.0) == 0.0, "as if just touched: nobody saw what was before"
    assert devices.idle_seconds(160.0) == 60.0
    count.write_text("18\n")
    assert devices.idle_seconds(165.0) == 0.0
    assert devices.idle_seconds(170.0) == 5.0
    assert devices.seen


def test_a_laptops_own_keyboard_and_touchpad_count_by_their_interrupts(kernel: Kernel) -> None:
    kernel.device("0011", "/devices/platform/i8042/serio0/input/input3", "sysrq kbd event3 ")
    kernel.device(
        "0018",
        "/devices/pci0000:00/0000:00:15.0/i2c_designware.0/i2c-1/i2c-SYNA2393:00/"
        "0018:06CB:7F8B.0001/input/input9",
        "mouse0 event6 ",
    )
    kernel.interrupt(7, "nvme0q1")
    keyboard, touchpad = kernel.interrupt(1, "i8042"), kernel.interrupt(51, "SYNA2393:00")
    devices = InputDevices(kernel.root)
    devices.idle_seconds(0.0)
    assert devices.seen
    for at, count in ((100.0, keyboard), (200.0, touchpad)):
        assert (devices.idle_seconds(at - 10) or 0.0) > 0.0
        count.write_text("3,9\n")
        assert devices.idle_seconds(at) == 0.0


def test_bluetooth_mice_count_with_their_adapter(kernel: Kernel) -> None:
    kernel.device("0005", "/devices/virtual/misc/uhid/0005:046D:B023.0001/input/input20", "mouse1 ")
    adapter = "devices/pci0000:00/0000:00:14.0/usb1/1-7"
    count = kernel.file(f"sys/{adapter}/urbnum", "1000\n")
    (kernel.root / "sys" / adapter / "1-7:1.0/bluetooth/hci0").mkdir(parents=True)
    (kernel.root / "sys/class/bluetooth").mkdir(parents=True)
    (kernel.root / "sys/class/bluetooth/hci0").symlink_to(
        kernel.root / "sys" / adapter / "1-7:1.0/bluetooth/hci0"
    )
    devices = InputDevices(kernel.root)
    devices.idle_seconds(0.0)
    assert devices.seen
    assert devices.idle_seconds(30.0) == 30.0
    count.write_text("1003\n")
    assert devices.idle_seconds(35.0) == 0.0


def test_power_buttons_and_invented_devices_are_nobodys_touch(kernel: Kernel) -> None:
    kernel.device("0019", "/devices/LNXSYSTM:00/LNXPWRBN:00/input/input0", "kbd event0 ")
    kernel.device("0006", "/devices/virtual/input/input30", "sysrq kbd event30 ")
    kernel.device("0003", "/devices/pci0000:00/usb1/1-4/1-4:1.0/sound/input9", "event9 ")
    devices = InputDevices(kernel.root)
    assert devices.idle_seconds(0.0) is None
    assert not devices.some


def test_what_has_no_count_is_told(kernel: Kernel) -> None:
    kernel.usb()
    kernel.device("001c", "/devices/pci0000:00/spi-APPLE/input/input7", "sysrq kbd event7 ")
    devices = InputDevices(kernel.root)
    devices.idle_seconds(0.0)
    assert devices.some
    assert not devices.seen


def test_a_keyboard_that_is_plugged_in_is_found_and_one_pulled_out_is_no_error(
    kernel: Kernel,
) -> None:
    first = kernel.usb()
    devices = InputDevices(kernel.root)
    devices.idle_seconds(0.0)
    second = kernel.usb("1-3", "mouse0 event4 ")
    devices.idle_seconds(RELIST_SECONDS)
    second.write_text("1\n")
    assert devices.idle_seconds(RELIST_SECONDS + 5) == 0.0
    first.unlink()
    devices.idle_seconds(RELIST_SECONDS + 10)
    assert devices.idle_seconds(RELIST_SECONDS + 20) == 10.0


# ---- terminals -------------------------------------------------------------------------


def test_who_types_over_ssh_or_at_the_console_uses_the_machine(kernel: Kernel) -> None:
    assert idle_seconds(WALL, kernel.root) is None
    kernel.terminal("pts/0", idle=900)
    kernel.terminal("tty1", idle=4000)
    kernel.terminal("pts/ptmx", idle=1)
    assert idle_seconds(WALL, kernel.root) == pytest.approx(900)
    kernel.terminal("pts/3", idle=-5)
    assert idle_seconds(WALL, kernel.root) == 0.0, "a clock that was set back"


# ---- buses -----------------------------------------------------------------------------


@contextmanager
def bus_at(path: Path, answer: Callable[[Message], Message | None]) -> Iterator[str]:
    """A message bus at an address, with one service that answers as a test says."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()
        thread = threading.Thread(target=_serve, args=(listening, answer))
        thread.start()
        try:
            yield f"unix:path={path}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()


def _serve(listening: socket.socket, answer: Callable[[Message], Message | None]) -> None:
    while True:
        try:
            client, _ = listening.accept()
        except OSError:
            return
        with client:
            _talk(client, answer)


def _talk(client: socket.socket, answer: Callable[[Message], Message | None]) -> None:
    received = b""
    while b"BEGIN\r\n" not in received:
        more = client.recv(1024)
        if not more:
            return
        received += more
        if b"AUTH" in more:
            client.sendall(b"OK 0123456789abcdef0123456789abcdef\r\n")
    parser, serial = Parser(), 0
    received = received.partition(b"BEGIN\r\n")[2] or client.recv(4096)
    while received:
        parser.add_data(received, [])
        while (message := parser.get_next_message()) is not None:
            hello = message.header.fields[HeaderFields.member] == "Hello"
            reply = new_method_return(message, "s", (":1.1",)) if hello else answer(message)
            if reply is not None:
                serial += 1
                client.sendall(reply.serialise(serial))
        received = client.recv(4096)


def asked(message: Message) -> tuple[Any, ...]:
    fields = message.header.fields
    return (fields[HeaderFields.interface], fields[HeaderFields.member], *message.body)


def gnome(milliseconds: int) -> Callable[[Message], Message]:
    def answer(message: Message) -> Message:
        assert asked(message) == ("org.gnome.Mutter.IdleMonitor", "GetIdletime")
        return new_method_return(message, "t", (milliseconds,))

    return answer


def nobody(message: Message) -> Message:
    return new_error(message, "org.freedesktop.DBus.Error.ServiceUnknown", "s", ("nobody",))


def logind(idle: bool, since: float) -> Callable[[Message], Message]:
    def answer(message: Message) -> Message:
        *_, interface, name = asked(message)
        assert interface == "org.freedesktop.login1.Manager"
        value = ("b", idle) if name == "IdleHint" else ("t", int(since * 1e6))
        return new_method_return(message, "v", (value,))

    return answer


@contextmanager
def opened(address: str) -> Iterator[Bus]:
    bus = Bus(address)
    try:
        yield bus
    finally:
        bus.close()


def test_gnome_tells_when_somebody_was_last_there(tmp_path: Path) -> None:
    with bus_at(tmp_path / "bus", gnome(61_500)) as address, opened(address) as bus:
        assert bus.asked(mutter_idle_seconds, 0.0) == 61.5
        assert bus.asked(mutter_idle_seconds, 1.0) == 61.5, "on the same connection"


def test_another_desktop_is_asked_again_only_after_a_while(tmp_path: Path) -> None:
    questions = []

    def answer(message: Message) -> Message:
        questions.append(message)
        return nobody(message)

    with bus_at(tmp_path / "bus", answer) as address, opened(address) as bus:
        for at in (0.0, 1.0, RETRY_SECONDS - 1):
            assert bus.asked(mutter_idle_seconds, at) is None
        assert len(questions) == 1
        assert bus.asked(mutter_idle_seconds, RETRY_SECONDS) is None
        assert len(questions) == 2


def test_a_desktop_that_hangs_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("peer.resting.session_bus.ANSWER_SECONDS", 0.05)
    with bus_at(tmp_path / "bus", lambda _: None) as address, opened(address) as bus:
        assert bus.asked(mutter_idle_seconds, 0.0) is None


def test_without_a_bus_nothing_is_told(tmp_path: Path) -> None:
    assert Bus(f"unix:path={tmp_path / 'none'}").asked(mutter_idle_seconds, 0.0) is None


def test_a_service_finds_its_users_bus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DBUS_SESSION_BUS_ADDRESS", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with bus_at(tmp_path / "bus", gnome(2000)), opened("SESSION") as bus:
        assert bus.asked(mutter_idle_seconds, 0.0) == 2.0


@pytest.mark.parametrize(("idle", "seconds"), [(True, 600.0), (False, 0.0)])
def test_the_login_manager_knows_what_desktops_tell_it(
    tmp_path: Path, idle: bool, seconds: float
) -> None:
    with bus_at(tmp_path / "bus", logind(idle, WALL - 600)) as address, opened(address) as bus:
        assert bus.asked(lambda it: login_idle_seconds(it, WALL), 0.0) == pytest.approx(seconds)


# ---- all together ----------------------------------------------------------------------


def use_of(kernel: Kernel, desktop: str = "", login: str = "") -> MachineUse:
    none = f"unix:path={kernel.root / 'no-bus'}"
    return MachineUse(kernel.root, Bus(desktop or none), Bus(login or none))


def test_on_any_desktop_the_keyboard_tells_and_so_does_ssh(kernel: Kernel) -> None:
    count = kernel.usb()
    seeing = use_of(kernel)
    seeing.idle_seconds(0.0, WALL)
    assert seeing.idle_seconds(400.0, WALL) == 400.0
    kernel.terminal("pts/0", idle=90)
    assert seeing.idle_seconds(400.0, WALL) == pytest.approx(90)
    count.write_text("18")
    assert seeing.idle_seconds(405.0, WALL) == 0.0


def test_a_server_without_input_devices_is_used_through_its_terminals(kernel: Kernel) -> None:
    kernel.terminal("tty1", idle=86400)
    kernel.terminal("pts/0", idle=30)
    assert use_of(kernel).idle_seconds(0.0, WALL) == pytest.approx(30)


@pytest.mark.parametrize("mark", [".dockerenv", "run/.containerenv"])
def test_in_a_container_it_cannot_be_seen(kernel: Kernel, mark: str) -> None:
    kernel.terminal("tty1", idle=86400)
    kernel.file(mark, "")
    assert use_of(kernel).idle_seconds(0.0, WALL) is None


def test_in_a_container_that_sees_the_machines_keyboard_it_can(kernel: Kernel) -> None:
    kernel.file(".dockerenv", "")
    kernel.usb()
    assert use_of(kernel).idle_seconds(0.0, WALL) == 0.0


def test_devices_without_a_count_need_a_desktop_or_the_login_manager(
    kernel: Kernel, tmp_path: Path
) -> None:
    kernel.usb()
    kernel.device("001c", "/devices/spi-APPLE/input/input7", "sysrq kbd event7 ")
    assert use_of(kernel).idle_seconds(0.0, WALL) is None, "the other keyboard may be in use"
    with bus_at(tmp_path / "s", gnome(70_000)) as session:
        seeing = use_of(kernel, desktop=session)
        seeing.idle_seconds(0.0, WALL)
        assert seeing.idle_seconds(90.0, WALL) == 70.0
        seeing._desktop.close()
    with bus_at(tmp_path / "l", logind(True, WALL - 65)) as login:
        seeing = use_of(kernel, login=login)
        seeing.idle_seconds(0.0, WALL)
        assert seeing.idle_seconds(90.0, WALL) == pytest.approx(65)
        seeing._login.close()


def test_macos_tells_in_nanoseconds() -> None:
    told = '    | |   "HIDIdleTime" = 61500000000\n    | |   "HIDParameters" = {}\n'
    assert hid_idle_seconds(told) == 61.5
    assert hid_idle_seconds("nothing of that kind") is None


def test_on_macos_a_program_is_asked_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked_file = tmp_path / "asked"
    ioreg = tmp_path / "ioreg"
    ioreg.write_text(f"#!/bin/sh\necho x >> {asked_file}\necho '  \"HIDIdleTime\" = 30000000000'\n")
    ioreg.chmod(0o700)
    monkeypatch.setattr(use, "_IOREG", (str(ioreg),))
    monkeypatch.setattr("peer.resting.terminals.idle_seconds", lambda _: None)
    seeing = use.MacUse()
    assert [seeing.idle_seconds(at, WALL) for at in (0.0, 5.0, 19.0)] == [30.0, 35.0, 49.0]
    assert asked_file.read_text() == "x\n"
    assert seeing.idle_seconds(20.0, WALL) == 30.0

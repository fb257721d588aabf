"""What desktop and login manager say of the use of this machine, over D-Bus. Linux only."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from jeepney import (
    DBusAddress,
    DBusErrorResponse,
    HeaderFields,
    Message,
    MessageType,
    Parser,
    Properties,
    message_bus,
    new_method_call,
)
from jeepney.auth import BEGIN, AuthenticationError, Authenticator
from jeepney.bus import get_bus

log = logging.getLogger(__name__)

ANSWER_SECONDS = 0.5
RETRY_SECONDS = 60.0
"""After a bus that did not answer."""
_MUTTER = DBusAddress(
    "/org/gnome/Mutter/IdleMonitor/Core",
    "org.gnome.Mutter.IdleMonitor",
    "org.gnome.Mutter.IdleMonitor",
)
_LOGIN = DBusAddress(
    "/org/freedesktop/login1", "org.freedesktop.login1", "org.freedesktop.login1.Manager"
)
_FAILURES = (
    OSError, AuthenticationError, DBusErrorResponse, KeyError, ValueError, TypeError, RuntimeError
)  # fmt: skip
"""There is no bus, nobody of that name, no answer in time, or one that makes no sense."""


class Connection:
    """To a bus: one question at a time, each answered in time or not at all.

    jeepney's own connection waits for ever for a bus that accepts and then says nothing.
    """

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(ANSWER_SECONDS)
        self._parser = Parser()
        self._serials = count(1)
        try:
            self._socket.connect(get_bus(address))
            authentication = Authenticator()
            for words in authentication:
                self._socket.sendall(words)
                authentication.feed(self._received())
            self._socket.sendall(BEGIN)
            self.ask(message_bus.Hello())
        except BaseException:
            self._socket.close()
            raise

    def ask(self, question: Message) -> tuple[Any, ...]:
        """What is answered; raises `OSError` or `DBusErrorResponse`."""
        serial = next(self._serials)
        self._socket.sendall(question.serialise(serial))
        while True:
            message = self._parser.get_next_message()
            if message is None:
                self._parser.add_data(self._received(), [])
            elif message.header.fields.get(HeaderFields.reply_serial) == serial:
                if message.header.message_type is MessageType.error:
                    raise DBusErrorResponse(message)
                return tuple(message.body)

    def close(self) -> None:
        self._socket.close()

    def _received(self) -> bytes:
        received = self._socket.recv(4096)
        if not received:
            raise ConnectionResetError("the bus has hung up")
        return received


class Bus:
    """A bus that is connected to when it is needed, and again when that broke."""

    def __init__(self, name: str) -> None:
        """name: SESSION, SYSTEM, or an address."""
        self._name = name
        self._connection: Connection | None = None
        self._not_before = 0.0

    def asked(self, ask: Callable[[Connection], float], now: float) -> float | None:
        """What `ask` finds on the bus; None if it has no answer. now: monotonic seconds."""
        if now < self._not_before:
            return None
        try:
            if self._connection is None:
                self._connection = Connection(_address(self._name))
            return ask(self._connection)
        except _FAILURES as error:
            log.debug("no answer on the %s bus: %s: %s", self._name, type(error).__name__, error)
            self._not_before = now + RETRY_SECONDS
            self.close()
            return None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def mutter_idle_seconds(bus: Connection) -> float:
    """Since the last input that GNOME's compositor saw, on Wayland and X11, remote input too."""
    (milliseconds,) = bus.ask(new_method_call(_MUTTER, "GetIdletime"))
    return max(0.0, float(milliseconds) / 1000)


def login_idle_seconds(bus: Connection, wall: float) -> float:
    """Since the login manager believes all sessions idle, 0 while it does not; wall: unix seconds.

    It hears of a session what its desktop says; desktops that say nothing are never idle.
    """
    properties = Properties(_LOGIN)
    ((_, idle),) = bus.ask(properties.get("IdleHint"))
    ((_, since),) = bus.ask(properties.get("IdleSinceHint"))
    return max(0.0, wall - float(since) / 1e6) if idle is True and since else 0.0


def _address(name: str) -> str:
    """Of the session's bus also where its variable is not set, as in a service."""
    if name != "SESSION" or "DBUS_SESSION_BUS_ADDRESS" in os.environ:
        return name
    path = Path(os.getenv("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}") / "bus"
    return f"unix:path={path}"

"""Where a coordinator is, and the join link that says so. Pure.

An *endpoint* is HOST:PORT, and perhaps the SHA-256 of the certificate that must answer there. A
*join link* is all that a volunteer types:

    murmuration://coordinator.example.org:7700/my-run/pin=3f…9a/invite=5c…e1

Only what is in angle brackets below may be missing, and nothing else may be there. No letter of it
means anything to a shell, and chat programs leave it as it is.

    murmuration://HOST:PORT</RUN></pin=64 hexadecimal digits></invite=SECRET>
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

SCHEME = "murmuration://"
MAX_LINK = 600
_HOST = r"(?:\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?)"
_WHERE = rf"(?P<host>{_HOST}):(?P<port>[0-9]{{1,5}})"
_PIN = r"(?:/pin=(?P<pin>[0-9A-Fa-f]{64}))?"
_RUN = r"(?:/(?P<run>[a-z0-9][a-z0-9-]{0,62}))?"  # as in `swarmpb.spec`
_INVITE = r"(?:/invite=(?P<invite>[A-Za-z0-9_-]{16,128}))?"
_LINK = re.compile(SCHEME + _WHERE + _RUN + _PIN + _INVITE)
_ENDPOINT = re.compile(_WHERE + _PIN)


class LinkError(ValueError):
    """No link or address. `str(error)` is one line that says what is wrong with it."""


@dataclass(frozen=True)
class Endpoint:
    """Where a coordinator listens."""

    host: str
    """A name or an IP address, without brackets."""
    port: int
    pin: bytes = b""
    """SHA-256 of its certificate in DER; empty: none is named."""

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Whether only this machine hears what is said there."""
        if self.host.lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"{self.address}/pin={self.pin.hex()}" if self.pin else self.address


@dataclass(frozen=True)
class JoinLink:
    """An endpoint, the run to join there, and what lets a peer in."""

    endpoint: Endpoint
    run_id: str = ""
    invite: str = ""

    def __str__(self) -> str:
        where = f"{SCHEME}{self.endpoint.address}"
        run = f"/{self.run_id}" if self.run_id else ""
        pin = f"/pin={self.endpoint.pin.hex()}" if self.endpoint.pin else ""
        invite = f"/invite={self.invite}" if self.invite else ""
        return where + run + pin + invite


def parse_link(text: str) -> JoinLink:
    """The join link in `text`; `LinkError` if it is none."""
    text = _shortened(text)
    match = _LINK.fullmatch(text)
    if match is None:
        raise LinkError(
            f"{_shown(text)} is no join link; one looks like"
            f" {SCHEME}HOST:PORT/RUN/pin=…, and is copied whole"
        )
    return JoinLink(_endpoint(match), match["run"] or "", match["invite"] or "")


def parse_endpoint(text: str) -> Endpoint:
    """The endpoint in HOST:PORT, HOST:PORT/pin=…, or a join link; `LinkError` if it is none."""
    text = _shortened(text)
    if text.startswith(SCHEME):
        return parse_link(text).endpoint
    match = _ENDPOINT.fullmatch(text)
    if match is None:
        raise LinkError("expected HOST:PORT of a coordinator, or a join link")
    return _endpoint(match)


def _endpoint(match: re.Match[str]) -> Endpoint:
    host, port = match["host"].strip("[]"), int(match["port"])
    if not 1 <= port <= 65535:
        raise LinkError("the port is not between 1 and 65535")
    if match["host"].startswith("["):
        try:
            ipaddress.IPv6Address(host)
        except ValueError as error:
            raise LinkError(f"{_shown(host)} is no IPv6 address") from error
    elif ".." in host:
        raise LinkError(f"{_shown(host)} is no name of a machine")
    return Endpoint(host, port, bytes.fromhex(match["pin"] or ""))


def _shortened(text: str) -> str:
    text = text.strip()
    if len(text) > MAX_LINK:
        raise LinkError(f"a link has at most {MAX_LINK} letters, and this has {len(text)}")
    return text


def _shown(text: str) -> str:
    """Without the secret that it may hold, and without what a terminal would obey."""
    return repr(text.partition("/invite=")[0][:120])

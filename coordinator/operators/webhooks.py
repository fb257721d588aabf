"""Tells an owner's HTTP endpoints what is worth waking somebody for: webhooks.

Each endpoint has a task of its own, which reads the kept events one after the other, sends those
that are alarms, and remembers the last that arrived in a small file. So nothing else waits for an
endpoint, an event is delivered at least once though the coordinator is killed in between (the
receiver tells repetitions by `number`), and what waits for a dead endpoint is not in memory.

A request is a POST of JSON with two headers: `Murmuration-Timestamp`, unix seconds, and
`Murmuration-Signature`, which is `sha256=` and the hexadecimal HMAC-SHA256, with the secret, of the
timestamp, a full stop and the body. Any 2xx status is an arrival; redirects are not followed.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import os
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from urllib.parse import urlsplit

import anyio
import httpx

from coordinator.config import WEBHOOK_SECRET_VARIABLE
from coordinator.domain import Event, EventKind
from swarmpb.exits import Exit, UserError
from swarmpb.files import write_private
from swarmpb.version import SOFTWARE_VERSION

log = logging.getLogger(__name__)

ALARMS = frozenset(
    {
        EventKind.STALLED,
        EventKind.MOVING,
        EventKind.DIVERGED,
        EventKind.HEALED,
        EventKind.ALL_GONE,
        EventKind.TARGET,
    }
)
MOST_URLS = 16
LEAST_SECRET_BYTES = 16
MOST_SECRET_BYTES = 4096
MOST_MEMORY_BYTES = 64 << 10


@dataclass(frozen=True)
class Webhooks:
    """Where alarms go."""

    urls: tuple[str, ...]
    secret: bytes = field(repr=False)
    memory: Path
    """The file that tells what was delivered."""


@dataclass(frozen=True)
class Persistence:
    """How hard an endpoint is tried; seconds."""

    answer: float = 10.0
    """A request that takes longer has failed."""
    first_pause: float = 1.0
    """Doubled after each failure,"""
    longest_pause: float = 300.0
    """up to this."""
    give_up: float = 86_400.0
    """An event that is older is not tried again."""


def bad_url(url: str) -> str | None:
    """What is wrong with a webhook's address; None: nothing."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
        httpx.URL(url)
    except (ValueError, httpx.InvalidURL) as error:
        return str(error)
    if parts.scheme not in ("http", "https") or not host:
        return "it must begin with http:// or https:// and a host"
    if parts.username is not None or parts.password is not None:
        return "a name or password in it would be logged by others; the signature says who calls"
    return None


def load_secret(named: Path | None, own: Path) -> bytes:
    """What signs the requests: in the file `named`, or of the environment, or in the file `own`,
    which is made if it is needed (mode 0600).

    `UserError` BAD_CONFIG if it is too short, or cannot be read.
    """
    told = os.getenv(WEBHOOK_SECRET_VARIABLE)
    if named is None and told is not None:
        return _long_enough(told.encode(), WEBHOOK_SECRET_VARIABLE)
    path = named or own
    try:
        if named is None and not own.exists():
            write_private(own, secrets.token_urlsafe(32).encode() + b"\n")
            log.warning("webhooks are signed with a new secret, in %s", own)
        with path.open("rb") as file:
            return _long_enough(file.read(MOST_SECRET_BYTES), str(path))
    except OSError as error:
        raise UserError(
            Exit.BAD_CONFIG, f"cannot read the webhooks' secret {path}: {error.strerror}"
        ) from error


def _long_enough(secret: bytes, origin: str) -> bytes:
    """Without white space at the ends, which files have and people do not see."""
    if len(secret.strip()) < LEAST_SECRET_BYTES:
        raise UserError(
            Exit.BAD_CONFIG,
            f"{origin} holds no webhook secret of {LEAST_SECRET_BYTES} characters or more; for"
            " example `openssl rand -hex 32` makes one",
        )
    return secret.strip()


def endpoint_name(url: str) -> str:
    """An address for the log: what comes after the host may be a secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def body_of(event: Event) -> bytes:
    """What is sent of an event."""
    at = datetime.fromtimestamp(event.at, timezone.utc)
    told = {
        "number": event.number,
        "at": at.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "run_id": event.run_id,
        "kind": event.kind.value,
        "text": event.text,
        "round": event.round,
    }
    return json.dumps(told, separators=(",", ":")).encode()


def signature(secret: bytes, timestamp: int, body: bytes) -> str:
    """What a receiver compares `Murmuration-Signature` with."""
    message = f"{timestamp}.".encode() + body
    return "sha256=" + hmac.new(secret, message, hashlib.sha256).hexdigest()


class Delivered:
    """The number of the last event that each endpoint is done with, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._numbers = _read_numbers(path)

    def begin(self, url: str, newest: int) -> int:
        """Where to go on; an endpoint that is new begins after the newest event.

        So do all after the database was lost, or an older one was put back.
        """
        known = self._numbers.get(_key(url))
        if known is None or known > newest:
            self.done(url, newest)
        return self._numbers[_key(url)]

    def done(self, url: str, number: int) -> None:
        """On disk when this returns. A disk that takes nothing means repetitions later: said."""
        self._numbers[_key(url)] = number
        try:
            write_private(self._path, json.dumps(self._numbers).encode())
        except OSError as error:
            log.warning("%s cannot be written: %s", self._path, error.strerror)


class Endpoint:
    """One address, and what it has been told."""

    def __init__(
        self,
        url: str,
        secret: bytes,
        delivered: Delivered,
        read: Callable[[int], Awaitable[list[Event]]],
        now: Callable[[], float],
    ) -> None:
        """`read`: the next kept events after a number, the oldest first; `now`: unix seconds."""
        self._url = url
        self._secret = secret
        self._delivered = delivered
        self._read = read
        self._now = now
        self._news = asyncio.Event()
        self._failing = False
        self.count: Callable[[str], None] = lambda result: None
        """Told `delivered`, `failed` or `given up` of each attempt."""

    def wake(self) -> None:
        """There are new events; in the event loop's thread."""
        self._news.set()

    async def deliver(
        self, client: httpx.AsyncClient, newest: int, persistence: Persistence
    ) -> None:
        """Deliver alarms for ever. `newest`: the number of the newest event at the start."""
        number = await asyncio.to_thread(self._delivered.begin, self._url, newest)
        while True:
            self._news.clear()
            events = await self._read(number)
            for event in events:
                if event.kind in ALARMS:
                    await self._insist(client, event, persistence)
                    await asyncio.to_thread(self._delivered.done, self._url, event.number)
                number = event.number
            if not events:
                await self._news.wait()

    async def _insist(
        self, client: httpx.AsyncClient, event: Event, persistence: Persistence
    ) -> None:
        """Try until it has arrived or is too old."""
        pause = persistence.first_pause
        while True:
            trouble = await self._try(client, event, persistence.answer)
            if trouble is None:
                self._told(None)
                self.count("delivered")
                return
            self._told(trouble)
            self.count("failed")
            if self._now() + pause - event.at > persistence.give_up:
                self.count("given up")
                name = endpoint_name(self._url)
                log.error("event %d (%s) never reached %s", event.number, event.kind.value, name)
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, persistence.longest_pause)

    async def _try(self, client: httpx.AsyncClient, event: Event, seconds: float) -> str | None:
        """What went wrong; None: it has arrived."""
        body, timestamp = body_of(event), int(self._now())
        headers = {
            "Content-Type": "application/json",
            "Murmuration-Timestamp": str(timestamp),
            "Murmuration-Signature": signature(self._secret, timestamp, body),
        }
        try:
            with anyio.fail_after(seconds):
                # the answer's body is not read: it may be endless
                async with client.stream(
                    "POST", self._url, content=body, headers=headers
                ) as answer:
                    return None if answer.is_success else f"it answered {answer.status_code}"
        except TimeoutError:
            return f"no answer in {seconds:g} s"
        except httpx.HTTPError as error:
            return f"{type(error).__name__} {error}".strip()

    def _told(self, trouble: str | None) -> None:
        """Said once when an endpoint begins to fail, and once when it works again."""
        failing = trouble is not None
        if failing and not self._failing:
            log.warning(
                "webhook %s fails, and is tried again: %s", endpoint_name(self._url), trouble
            )
        elif self._failing and not failing:
            log.warning("webhook %s works again", endpoint_name(self._url))
        self._failing = failing


def new_client() -> httpx.AsyncClient:
    """For all endpoints: no redirects, no proxy from the environment, no waiting for ever."""
    # it logs whole addresses, which may be secrets
    logging.getLogger("httpx").setLevel(logging.WARNING)
    return httpx.AsyncClient(
        follow_redirects=False,
        trust_env=False,
        timeout=Persistence.answer,
        headers={"User-Agent": f"murmuration-coordinator/{SOFTWARE_VERSION}"},
    )


def _key(url: str) -> str:
    """The file does not hold addresses, which may be secrets."""
    return hashlib.sha256(url.encode()).hexdigest()


def _read_numbers(path: Path) -> dict[str, int]:
    try:
        with path.open("rb") as file:
            numbers = json.loads(file.read(MOST_MEMORY_BYTES))
        if not isinstance(numbers, dict) or not all(isinstance(it, int) for it in numbers.values()):
            raise ValueError("not what this coordinator writes")
    except FileNotFoundError:
        return {}
    except ValueError as error:  # of JSON and of Unicode too
        log.warning("%s is damaged (%s): webhooks begin with new events", path, error)
        return {}
    return numbers

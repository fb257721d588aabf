"""The owner's token: who holds it may administer this coordinator."""

from __future__ import annotations

import hmac
import logging
import os
import re
import secrets
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import grpc

from coordinator.config import TOKEN_FILE, TOKEN_VARIABLE
from swarmpb.exits import Exit, UserError
from swarmpb.files import write_private

if TYPE_CHECKING:
    Handler = grpc.RpcMethodHandler[Any, Any]  # grpc's own class takes no types

log = logging.getLogger(__name__)

_METHODS = "/swarmpb.v1.Admin/"
_SHAPE = re.compile(r"[A-Za-z0-9_-]{32,128}")
_MOST_BYTES = 1024


def load_or_create(path: Path) -> str:
    """The token in the file at `path`, made at the first start: 32 random bytes, mode 0600.

    `UserError` BAD_CONFIG if the file holds none; it is never replaced.
    """
    try:
        return read_token(path)
    except FileNotFoundError:
        token = secrets.token_urlsafe(32)
        write_private(path, token.encode() + b"\n")
        return token


def read_token(path: Path) -> str:
    """The token in a file; `FileNotFoundError`, or `UserError` BAD_CONFIG if it holds none."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("ascii", "replace").strip()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise UserError(
            Exit.BAD_CONFIG, f"cannot read the admin token {path}: {error.strerror}"
        ) from error
    return checked(text, str(path))


def checked(text: str, origin: str) -> str:
    """`text` if it can be a token; else `UserError` BAD_CONFIG that names its origin, not it."""
    if not _SHAPE.fullmatch(text):
        raise UserError(
            Exit.BAD_CONFIG,
            f"{origin} holds no admin token (32 to 128 letters, digits, - and _);"
            " move it away, and the coordinator's next start makes a new one",
        )
    return text


def bearer(token: str) -> tuple[tuple[str, str], ...]:
    """The metadata of a call that carries the token."""
    return (("authorization", f"Bearer {token}"),)


def authorised(metadata: Iterable[tuple[str, str | bytes]], token: str) -> bool:
    """Whether a call carries the token; takes as long for a wrong one as for the right one."""
    expected = f"Bearer {token}".encode()
    told = [value for name, value in metadata if name == "authorization"]
    sent = told[0] if len(told) == 1 else b""
    return hmac.compare_digest(sent.encode() if isinstance(sent, str) else sent, expected)


class TokenGate(grpc.aio.ServerInterceptor):
    """Lets nothing of the service `Admin` through without the token; its body stays unread."""

    def __init__(self, token: str) -> None:
        self._token = token

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler | None:
        details = handler_call_details
        if not details.method.startswith(_METHODS):
            return await continuation(details)
        if authorised(details.invocation_metadata, self._token):
            return await continuation(details)
        return grpc.unary_unary_rpc_method_handler(_turn_away)


def find(token_file: Path | None, state_dir: Path) -> str:
    """The token for a command: of the file it names, of the environment, or of this machine's
    own coordinator.

    `UserError` NO_TOKEN if there is none, BAD_CONFIG if what is there is none.
    """
    told = os.getenv(TOKEN_VARIABLE)
    if token_file is None and told:
        return checked(told.strip(), TOKEN_VARIABLE)
    path = token_file or state_dir / TOKEN_FILE
    try:
        return read_token(path)
    except FileNotFoundError as error:
        raise UserError(
            Exit.NO_TOKEN,
            f"there is no admin token at {path}: `coordinator serve` makes it here; for another"
            f" machine's coordinator, copy its {TOKEN_FILE} and name it with --token-file, or set"
            f" {TOKEN_VARIABLE}",
        ) from error


async def _turn_away(_request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> NoReturn:
    await context.abort(
        grpc.StatusCode.UNAUTHENTICATED,
        f"the admin token is missing or wrong; it lies in {TOKEN_FILE} in the coordinator's state"
        f" folder, and is given by --token-file or {TOKEN_VARIABLE}",
    )
    raise AssertionError("abort always raises")

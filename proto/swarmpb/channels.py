"""gRPC channels to a coordinator: plain on this machine, pinned or publicly certified elsewhere.

An own certificate is trusted because its SHA-256 is in the join link: it is fetched without trust,
compared, and then the only one that the channel accepts, also when it connects again.
"""

from __future__ import annotations

import hashlib
import hmac
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass

import grpc
from cryptography import x509

from swarmpb.endpoints import Endpoint
from swarmpb.exits import Exit, UserError

HANDSHAKE_SECONDS = 5.0
Options = Sequence[tuple[str, str | int]]

BASE_OPTIONS: Options = (
    # a proxy from the environment has no business between a peer and its coordinator
    ("grpc.enable_http_proxy", 0),
)


class Unreachable(Exception):
    """Nobody answers at an endpoint. `str(error)` is one line."""


@dataclass(frozen=True)
class Trust:
    """What is believed at an endpoint."""

    credentials: grpc.ChannelCredentials | None
    """None: plain text, on this machine only."""
    name: str = ""
    """In the certificate, if it is found by its fingerprint."""

    def options(self, more: Options) -> list[tuple[str, str | int]]:
        """Of a channel, with `more`."""
        override = [("grpc.ssl_target_name_override", self.name)] if self.name else []
        return [*BASE_OPTIONS, *override, *more]


def trust(endpoint: Endpoint) -> Trust:
    """What to believe at an endpoint; with a pin this is a handshake, and takes seconds at most.

    Raises `Unreachable`, or `UserError` WRONG_COORDINATOR if another certificate answers.
    """
    if not endpoint.pin:
        return Trust(None if endpoint.is_local else grpc.ssl_channel_credentials())
    der = fetch_certificate(endpoint)
    if not hmac.compare_digest(hashlib.sha256(der).digest(), endpoint.pin):
        raise _wrong(endpoint)
    pem = ssl.DER_cert_to_PEM_cert(der).encode()
    return Trust(grpc.ssl_channel_credentials(pem), _name_of(der, endpoint))


def channel(endpoint: Endpoint, trusted: Trust, options: Options = ()) -> grpc.Channel:
    """A blocking channel, which connects at the first call."""
    if trusted.credentials is None:
        return grpc.insecure_channel(endpoint.address, options=trusted.options(options))
    return grpc.secure_channel(
        endpoint.address, trusted.credentials, options=trusted.options(options)
    )


def aio_channel(endpoint: Endpoint, trusted: Trust, options: Options = ()) -> grpc.aio.Channel:
    """The same for asyncio."""
    if trusted.credentials is None:
        return grpc.aio.insecure_channel(endpoint.address, options=trusted.options(options))
    return grpc.aio.secure_channel(
        endpoint.address, trusted.credentials, options=trusted.options(options)
    )


def untrusted_hint(endpoint: Endpoint) -> str:
    """What to add where nobody answers: without a pin, an own certificate looks like that too."""
    if endpoint.pin or endpoint.is_local:
        return ""
    return "; if it has a certificate of its own, use its whole join link"


def fetch_certificate(endpoint: Endpoint, seconds: float = HANDSHAKE_SECONDS) -> bytes:
    """The certificate that answers at an endpoint, in DER; nothing about it is believed.

    `Unreachable` if none does; `UserError` WRONG_COORDINATOR if what answers speaks no TLS.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # its SHA-256 is compared with the pin instead
    context.set_alpn_protocols(["h2"])
    try:
        with (
            socket.create_connection((endpoint.host, endpoint.port), timeout=seconds) as raw,
            context.wrap_socket(raw, server_hostname=_server_name(endpoint)) as secured,
        ):
            der = secured.getpeercert(binary_form=True)
    except ssl.SSLError as error:
        raise _wrong(endpoint) from error
    except OSError as error:
        raise Unreachable(f"no coordinator answers at {endpoint.address}") from error
    if not der:
        raise _wrong(endpoint)
    return der


def _server_name(endpoint: Endpoint) -> str | None:
    """What is asked for by name; IP addresses are not."""
    return None if ":" in endpoint.host or endpoint.host[-1].isdigit() else endpoint.host


def _name_of(der: bytes, endpoint: Endpoint) -> str:
    """A name that the pinned certificate has, whatever address it was found at."""
    try:
        names = x509.load_der_x509_certificate(der).extensions.get_extension_for_class(
            x509.SubjectAlternativeName
        )
        return names.value.get_values_for_type(x509.DNSName)[0]
    except (ValueError, IndexError, x509.ExtensionNotFound) as error:
        raise UserError(
            Exit.WRONG_COORDINATOR,
            f"the certificate of the coordinator at {endpoint.address} names no machine; its owner"
            " has to use another",
        ) from error


def _wrong(endpoint: Endpoint) -> UserError:
    return UserError(
        Exit.WRONG_COORDINATOR,
        f"what answers at {endpoint.address} is not the coordinator of this link; ask for a new"
        " one, and do not join with this until you know why",
    )

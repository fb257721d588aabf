"""Which addresses a coordinator listens on, and how others name them."""

from __future__ import annotations

import errno
import ipaddress
import socket
from collections.abc import Sequence

import grpc

from swarmpb.exits import Exit, UserError


def host_port(host: str, port: int) -> str:
    """HOST:PORT, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def check_port(host: str, port: int) -> None:
    """Try to listen on a TCP port, and let go of it: gRPC prints pages about one that is taken.

    `UserError` PORT_IN_USE if it is taken, BAD_CONFIG if the host is not this machine's.
    """
    bind(host, port, "--grpc-port").close()


def bind(host: str, port: int, option: str) -> socket.socket:
    """A socket on an IP address and TCP port (0: a free one) that does not listen yet.

    `UserError` PORT_IN_USE if it is taken, BAD_CONFIG if the host is not this machine's; they
    name the option that chooses the port.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        if error.errno == errno.EADDRINUSE:
            raise _port_in_use(host, port, option) from error
        raise UserError(
            Exit.BAD_CONFIG,
            f"cannot listen on {host_port(host, port)}: {error.strerror};"
            f" choose another --host or {option}",
        ) from error
    return bound


def bind_grpc(
    server: grpc.aio.Server, host: str, port: int, credentials: grpc.ServerCredentials | None = None
) -> int:
    """Let `server` listen on an IP address and port (0: a free one); returns the real port.

    credentials: None for plain text. `UserError` PORT_IN_USE if the port is taken, BAD_CONFIG if
    the host is not this machine's.
    """
    check_port(host, port)
    where = host_port(host, port)
    try:
        if credentials is None:
            return server.add_insecure_port(where)
        return server.add_secure_port(where, credentials)
    except RuntimeError as error:  # somebody took it since
        raise _port_in_use(host, port, "--grpc-port") from error


def dialled_host(host: str, p2p_addresses: Sequence[str]) -> str:
    """The host that others dial: `host`, or if that means every interface one that they reach."""
    if not ipaddress.ip_address(host).is_unspecified:
        return host
    seen = [address.split("/")[2] for address in p2p_addresses if address.startswith("/ip")]
    outside = [it for it in seen if not ipaddress.ip_address(it).is_loopback]
    return (outside or seen or [host])[0]


def _port_in_use(host: str, port: int, option: str) -> UserError:
    return UserError(
        Exit.PORT_IN_USE,
        f"port {port} on {host} is in use; stop what listens there, or choose another with"
        f" {option} (0 takes a free one)",
    )

"""With which certificate a coordinator answers: its own, made at the first start, or its owner's.

Its own is trusted by its fingerprint, which join links carry; it lasts ten years. The owner's may
be of a public authority: then links need no fingerprint, and a renewed file is read at the next
start.
"""

from __future__ import annotations

import hashlib
import ipaddress
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.x509.oid import NameOID

from coordinator.config import ServeSettings, TlsFiles
from swarmpb.exits import Exit, UserError
from swarmpb.files import write_private

OWN_NAME = "murmuration-coordinator"
"""In every own certificate: it is found by its fingerprint, not by where it is."""
OWN_DAYS = 3650
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Transport:
    """Checked files, and what others need to know of them."""

    files: TlsFiles
    chain: bytes
    private_key: bytes
    pin: bytes
    """SHA-256 of the certificate in DER; empty if a public authority vouches for it."""

    def credentials(self) -> grpc.ServerCredentials:
        """For a gRPC server."""
        return grpc.ssl_server_credentials([(self.private_key, self.chain)])


def transport(settings: ServeSettings, now: float) -> Transport | None:
    """With what to answer; None: in plain text, which only this machine hears.

    `UserError` BAD_CONFIG if the files cannot be used; `now`: unix seconds.
    """
    if settings.tls is not None:
        return read(settings.tls, now)
    if ipaddress.ip_address(settings.host).is_loopback:
        return None
    ensure_own(settings.own_tls, now)
    return read(settings.own_tls, now)


def ensure_own(files: TlsFiles, now: float) -> None:
    """Make a key and a certificate at the first start; `now`: unix seconds.

    A certificate without its key, or the other way round, is not replaced: see `read`.
    """
    if files.certificate.exists() or files.key.exists():
        return
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, OWN_NAME)])
    made = datetime.fromtimestamp(now, timezone.utc)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(made - timedelta(days=1))  # clocks of peers may be behind
        .not_valid_after(made + timedelta(days=OWN_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(OWN_NAME)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    # the key first: a certificate that is there has its key
    write_private(
        files.key,
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ),
    )
    write_private(files.certificate, certificate.public_bytes(serialization.Encoding.PEM))


def read(files: TlsFiles, now: float) -> Transport:
    """The files, if they fit together and hold at `now`; else `UserError` BAD_CONFIG."""
    chain, private_key = _content(files.certificate), _content(files.key)
    try:
        certificate = x509.load_pem_x509_certificates(chain)[0]
        key = serialization.load_pem_private_key(private_key, password=None)
        fits = _public_bytes(certificate.public_key()) == _public_bytes(key.public_key())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise _bad(files, f"cannot be read ({error})") from error
    if not fits:
        raise _bad(files, "do not belong together")
    moment = datetime.fromtimestamp(now, timezone.utc)
    if moment > certificate.not_valid_after_utc:
        raise _bad(files, f"expired on {certificate.not_valid_after_utc:%Y-%m-%d}")
    if moment < certificate.not_valid_before_utc:
        raise _bad(files, f"are not valid before {certificate.not_valid_before_utc:%Y-%m-%d}")
    own = certificate.issuer == certificate.subject
    der = certificate.public_bytes(serialization.Encoding.DER)
    return Transport(files, chain, private_key, hashlib.sha256(der).digest() if own else b"")


def _content(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST_BYTES)
    except OSError as error:
        raise UserError(Exit.BAD_CONFIG, f"cannot read {path}: {error.strerror}") from error


def _public_bytes(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _bad(files: TlsFiles, what: str) -> UserError:
    return UserError(
        Exit.BAD_CONFIG,
        f"the certificate {files.certificate} and the key {files.key} {what}; name others with"
        " --tls-cert and --tls-key, or move them away for a new own certificate (join links"
        " change with it)",
    )

"""Signatures: a peer's libp2p identity signs envelopes, a run owner's key signs the spec.

A libp2p peer id is the hash of the identity's public key (libp2p specification, "Peer Ids and
Keys"), so an envelope proves by itself which peer wrote it.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

import base58
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from swarmpb.files import write_private
from swarmpb.v1 import swarm_pb2

_PADDING = padding.PKCS1v15()
_KEY_BITS = (2048, 4096)
_EXPONENT = 65537
"""That of all libp2p keys. A signer may choose one so long that a check takes a thousand times as
long as this one's."""


class BadSignatureError(ValueError):
    """A signature does not hold, or belongs to somebody else. Says which."""


@lru_cache(maxsize=20_000)  # with each report of a peer anew, and base58 in Python takes its time
def peer_id_of(public_key: bytes) -> str:
    """The base58 libp2p peer id of an RSA public key in DER SubjectPublicKeyInfo form."""
    message = _rsa_message(public_key)
    return str(base58.b58encode(b"\x12\x20" + hashlib.sha256(message).digest()).decode())


def _rsa_message(der: bytes) -> bytes:
    """libp2p's key message, {Type = 1: RSA (0), Data = 2: der}, in protobuf's wire format."""
    length, varint = len(der), bytearray()
    while length > 0x7F:
        varint.append(length & 0x7F | 0x80)
        length >>= 7
    varint.append(length)
    return b"\x08\x00\x12" + bytes(varint) + der


class PeerIdentity:
    """A peer's RSA key in libp2p's own file format, kept at mode 0600."""

    def __init__(self, key: rsa.RSAPrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        self.peer_id = peer_id_of(self.public_key)

    @classmethod
    def generate(cls) -> PeerIdentity:
        return cls(rsa.generate_private_key(public_exponent=65537, key_size=2048))

    @classmethod
    def load(cls, path: Path) -> PeerIdentity:
        """Read an identity file; `ValueError` if it is not one."""
        return cls.from_bytes(path.read_bytes(), str(path))

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> PeerIdentity:
        """The identity in a file's content; `ValueError`, which says `where`, if it is none."""
        # libp2p crypto.PrivateKey {Type = 1 (RSA = 0), Data = 2}: 08 00 12 <varint> <DER>
        if data[:3] != b"\x08\x00\x12" or len(data) < 16:
            raise ValueError(f"{where} is not a libp2p identity")
        start = 3
        while start < len(data) and data[start] & 0x80:
            start += 1
        try:
            key = serialization.load_der_private_key(data[start + 1 :], password=None)
        except (TypeError, UnsupportedAlgorithm) as error:  # encrypted, or of an unknown sort
            raise ValueError(f"{where} is not a libp2p identity: {error}") from error
        if not isinstance(key, rsa.RSAPrivateKey):
            raise ValueError(f"{where} is not an RSA identity")
        return cls(key)

    def to_bytes(self) -> bytes:
        """The content of an identity file."""
        der = self._key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        return _rsa_message(der)

    def seal(self, kind: str, payload: bytes) -> swarm_pb2.Envelope:
        """Sign `payload` as a message of sort `kind`."""
        signature = self._key.sign(_signed_bytes(kind, payload), _PADDING, hashes.SHA256())
        return swarm_pb2.Envelope(
            kind=kind, payload=payload, public_key=self.public_key, signature=signature
        )


def open_envelope(envelope: swarm_pb2.Envelope, kind: str) -> tuple[str, bytes]:
    """The (peer id, payload) of an envelope whose signature holds; else `BadSignatureError`."""
    if envelope.kind != kind:
        raise BadSignatureError(f"expected a signed {kind}, got a signed {envelope.kind[:32]!r}")
    try:
        key = serialization.load_der_public_key(envelope.public_key)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise BadSignatureError("the public key cannot be read") from error
    if not isinstance(key, rsa.RSAPublicKey) or key.key_size not in _KEY_BITS:
        raise BadSignatureError("the public key is not RSA with 2048 or 4096 bits")
    if key.public_numbers().e != _EXPONENT:
        raise BadSignatureError(f"the public key's exponent is not {_EXPONENT}")
    try:
        key.verify(
            envelope.signature, _signed_bytes(kind, envelope.payload), _PADDING, hashes.SHA256()
        )
    except InvalidSignature as error:
        raise BadSignatureError("the signature does not match the message") from error
    return peer_id_of(envelope.public_key), envelope.payload


def _signed_bytes(kind: str, payload: bytes) -> bytes:
    return b"murmuration:" + kind.encode() + b":" + payload


class SigningKey:
    """An Ed25519 key, kept at mode 0600: a run owner's, or that of a run's authority."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key
        self.public_key = key.public_key().public_bytes(
            serialization.Encoding.Raw, serialization.PublicFormat.Raw
        )

    @classmethod
    def generate(cls) -> SigningKey:
        return cls(Ed25519PrivateKey.generate())

    @classmethod
    def load_or_create(cls, path: Path) -> SigningKey:
        """Read the key at `path`, or make one there. `ValueError` if the file is no key."""
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            key = cls.generate()
            path.parent.mkdir(parents=True, exist_ok=True)
            write_private(path, key.to_bytes())
            return key
        if len(data) != 32:
            raise ValueError(f"{path} is not a signing key (32 bytes expected)")
        return cls(Ed25519PrivateKey.from_private_bytes(data))

    def to_bytes(self) -> bytes:
        """The content of a key file: 32 bytes."""
        return self._key.private_bytes(
            serialization.Encoding.Raw,
            serialization.PrivateFormat.Raw,
            serialization.NoEncryption(),
        )

    def sign(self, kind: str, message: bytes) -> bytes:
        """A signature over `message` as a message of sort `kind`, 64 bytes."""
        return self._key.sign(_signed_bytes(kind, message))


def verify(public_key: bytes, kind: str, message: bytes, signature: bytes) -> None:
    """Check a signature by a `SigningKey`; `BadSignatureError` if it does not hold."""
    try:
        key = Ed25519PublicKey.from_public_bytes(public_key)
        key.verify(signature, _signed_bytes(kind, message))
    except (InvalidSignature, ValueError) as error:
        raise BadSignatureError(f"the signature does not match the {kind}") from error


def verify_owner(owner_key: bytes, spec_hash: bytes, signature: bytes) -> None:
    """Check the owner's signature under a spec's hash; `BadSignatureError` if it does not hold."""
    verify(owner_key, "spec", spec_hash, signature)

"""Who wrote it: identities, envelopes, the owner's key, and what passes for none of them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa, x25519
from hypothesis import given, settings
from hypothesis import strategies as st

from peer.swarm.hivemind_parts import PeerID
from swarmpb.files import write_private
from swarmpb.signing import (
    BadSignatureError,
    PeerIdentity,
    SigningKey,
    open_envelope,
    peer_id_of,
    verify,
    verify_owner,
)
from swarmpb.v1 import swarm_pb2
from tests.reporting import identity

ANNA, BERT = identity(0), identity(1)


def public_bytes(key: object) -> bytes:
    return key.public_key().public_bytes(  # type: ignore[attr-defined, no-any-return]  # any kind
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


# ---- peer ids --------------------------------------------------------------------------


@lru_cache
def rsa_key(bits: int) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def costly_key() -> object:
    """A public key with an exponent as long as its modulus: a check of it takes 30 ms."""
    modulus = rsa_key(2048).public_key().public_numbers().n

    class Author:
        def public_key(self) -> rsa.RSAPublicKey:
            return rsa.RSAPublicNumbers(modulus - 2, modulus).public_key()

    return Author()


@pytest.mark.parametrize("author", [ANNA, BERT, identity(2)])
def test_a_peer_id_is_the_one_that_libp2p_gives(author: PeerIdentity) -> None:
    assert author.peer_id == PeerID.from_identity(author.to_bytes()).to_base58()
    assert peer_id_of(author.public_key) == author.peer_id


def test_an_identity_comes_back_from_its_file(tmp_path: Path) -> None:
    write_private(tmp_path / "identity", ANNA.to_bytes())
    again = PeerIdentity.load(tmp_path / "identity")
    assert again.peer_id == ANNA.peer_id
    assert open_envelope(again.seal("report", b"x"), "report") == (ANNA.peer_id, b"x")


def libp2p_file(der: bytes) -> bytes:
    return b"\x08\x00\x12" + bytes([len(der) & 0x7F | 0x80, len(der) >> 7]) + der


def private_der(key: object, password: bytes = b"") -> bytes:
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password:
        encryption = serialization.BestAvailableEncryption(password)
    return key.private_bytes(  # type: ignore[attr-defined, no-any-return]  # any kind
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, encryption
    )


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:3],
        lambda data: data[:20],
        lambda data: data[:-1],
        lambda data: data[: len(data) // 2],
        lambda data: b"\x00" * len(data),
        lambda data: b"\x08\x01" + data[2:],
        lambda data: data[:3] + b"\xff" * 40,
        lambda data: data[:40] + b"\x00" * 40 + data[80:],
        lambda data: b"-----BEGIN PRIVATE KEY-----",
        lambda data: libp2p_file(private_der(ed25519.Ed25519PrivateKey.generate())),
        lambda data: libp2p_file(private_der(ec.generate_private_key(ec.SECP256K1()))),
        lambda data: libp2p_file(private_der(ed25519.Ed25519PrivateKey.generate(), b"secret")),
    ],
    ids=[
        "empty", "only the header", "begun", "a byte short", "half", "zeros", "another type",
        "no end of the length", "a hole", "PEM", "Ed25519", "elliptic curve", "encrypted",
    ],
)  # fmt: skip
def test_a_damaged_identity_file_is_a_value_error(
    tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / "identity"
    path.write_bytes(damage(ANNA.to_bytes()))
    with pytest.raises(ValueError, match=r"."):
        PeerIdentity.load(path)


# ---- envelopes -------------------------------------------------------------------------


def test_an_envelope_says_who_wrote_it_and_what() -> None:
    data = ANNA.seal("report", b"payload").SerializeToString()
    envelope = swarm_pb2.Envelope.FromString(data)
    assert open_envelope(envelope, "report") == (ANNA.peer_id, b"payload")


def test_a_peer_may_have_a_longer_key() -> None:
    author = PeerIdentity(rsa_key(4096))
    assert author.peer_id == PeerID.from_identity(author.to_bytes()).to_base58()
    assert open_envelope(author.seal("report", b"x"), "report") == (author.peer_id, b"x")


def test_an_envelope_of_another_kind_is_refused() -> None:
    envelope = ANNA.seal("report", b"payload")
    with pytest.raises(BadSignatureError, match="expected a signed record, got a signed 'report'"):
        open_envelope(envelope, "record")
    envelope.kind = "record"
    with pytest.raises(BadSignatureError, match="does not match the message"):
        open_envelope(envelope, "record")


def test_the_border_between_kind_and_payload_is_signed_too() -> None:
    envelope = ANNA.seal("report", b"b:payload")
    envelope.kind, envelope.payload = "report:b", b"payload"
    with pytest.raises(BadSignatureError):
        open_envelope(envelope, "report")


@pytest.mark.parametrize("name", ["payload", "signature", "public_key"])
def test_a_changed_bit_is_noticed_wherever_it_is(name: str) -> None:
    for place in (0, 9, -1):
        envelope = ANNA.seal("report", b"a payload of some length")
        changed = bytearray(getattr(envelope, name))
        changed[place] ^= 1
        setattr(envelope, name, bytes(changed))
        with pytest.raises(BadSignatureError):
            open_envelope(envelope, "report")


def test_the_signature_of_another_peer_is_refused() -> None:
    envelope = ANNA.seal("report", b"payload")
    envelope.public_key = BERT.public_key
    with pytest.raises(BadSignatureError, match="does not match the message"):
        open_envelope(envelope, "report")


@pytest.mark.parametrize("signature", [b"", b"\x00" * 256, b"x" * 10_000])
def test_a_signature_that_is_none_is_refused(signature: bytes) -> None:
    envelope = ANNA.seal("report", b"payload")
    envelope.signature = signature
    with pytest.raises(BadSignatureError, match="does not match the message"):
        open_envelope(envelope, "report")


OTHER_KEYS: dict[str, Callable[[], object]] = {
    "a 1024 bit key": lambda: rsa_key(1024),
    "a 3072 bit key": lambda: rsa_key(3072),
    "a key that takes long to check": costly_key,
    "elliptic curve": lambda: ec.generate_private_key(ec.SECP384R1()),
    "Ed25519": ed25519.Ed25519PrivateKey.generate,
    "Ed448": ed448.Ed448PrivateKey.generate,
    "X25519": x25519.X25519PrivateKey.generate,
    "DSA": lambda: dsa.generate_private_key(2048),
}


@pytest.mark.parametrize("kind", OTHER_KEYS)
def test_a_key_of_another_sort_is_refused(kind: str) -> None:
    envelope = ANNA.seal("report", b"payload")
    envelope.public_key = public_bytes(OTHER_KEYS[kind]())
    with pytest.raises(BadSignatureError, match="public key"):
        open_envelope(envelope, "report")


def sequence(content: bytes, tag: int = 0x30) -> bytes:
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


def key_info(oid: str, parameters: bytes = b"\x05\x00") -> bytes:
    """A SubjectPublicKeyInfo of an algorithm given by the DER bytes of its identifier."""
    algorithm = sequence(sequence(bytes.fromhex(oid), 0x06) + parameters)
    return sequence(algorithm + sequence(b"\x00" + sequence(b"\x02\x01\x05\x02\x01\x03"), 0x03))


@pytest.mark.parametrize(
    "public_key",
    [
        b"",
        b"garbage",
        b"\x30\x80",
        b"\x30\x84\xff\xff\xff\xff",
        key_info("2a864886f70d010101"),  # RSA with modulus 5
        key_info("2a864886f70d01010a"),  # RSASSA-PSS
        key_info("2a8648ce3d0201"),  # elliptic curve without a curve
        key_info("2a8648ce3d0201", sequence(b"\x2b\x24\x03\x03\x02\x08\x01\x01\x07", 0x06)),
        key_info("2a8648ce3e0201"),  # Diffie-Hellman
        key_info("2a864886f70d010301"),
        key_info("2a030405"),  # nobody's
        key_info(""),  # no identifier at all
        key_info("608648016503040312"),  # ML-DSA
    ],
)
def test_a_public_key_that_is_none_is_refused(public_key: bytes) -> None:
    envelope = ANNA.seal("report", b"payload")
    envelope.public_key = public_key
    with pytest.raises(BadSignatureError, match="public key"):
        open_envelope(envelope, "report")


@settings(deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=8), st.booleans())
def test_no_damage_to_a_public_key_ends_in_anything_but_a_refusal(
    place: int, garbage: bytes, cut: bool
) -> None:
    envelope = ANNA.seal("report", b"payload")
    key = envelope.public_key
    place %= len(key)
    damaged = key[:place] + garbage + (b"" if cut else key[place + len(garbage) :])
    if damaged != key:
        envelope.public_key = damaged
        with pytest.raises(BadSignatureError):
            open_envelope(envelope, "report")


def test_a_key_with_something_behind_it_is_no_second_identity() -> None:
    envelope = ANNA.seal("report", b"payload")
    envelope.public_key += b"\x00"
    with pytest.raises(BadSignatureError):
        open_envelope(envelope, "report")


# ---- the owner -------------------------------------------------------------------------


def test_the_owners_key_is_made_once_and_kept(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "owner.key"
    owner = SigningKey.load_or_create(path)
    assert SigningKey.load_or_create(path).public_key == owner.public_key
    verify_owner(owner.public_key, b"h" * 32, owner.sign("spec", b"h" * 32))


def test_an_owners_signature_holds_for_one_spec_and_one_owner(tmp_path: Path) -> None:
    owner = SigningKey.load_or_create(tmp_path / "one")
    stranger = SigningKey.load_or_create(tmp_path / "two")
    signature = owner.sign("spec", b"h" * 32)
    for key, spec_hash, signed in (
        (owner.public_key, b"i" * 32, signature),
        (stranger.public_key, b"h" * 32, signature),
        (owner.public_key, b"h" * 32, signature[:-1]),
        (owner.public_key, b"h" * 32, b""),
        (owner.public_key[:-1], b"h" * 32, signature),
        (b"", b"h" * 32, signature),
    ):
        with pytest.raises(BadSignatureError, match="does not match the spec"):
            verify_owner(key, spec_hash, signed)


def test_a_signature_over_one_sort_of_message_is_none_over_another() -> None:
    owner = SigningKey.generate()
    signature = owner.sign("charter", b"h" * 32)
    verify(owner.public_key, "charter", b"h" * 32, signature)
    with pytest.raises(BadSignatureError, match="does not match the spec"):
        verify_owner(owner.public_key, b"h" * 32, signature)


@pytest.mark.parametrize("content", [b"", b"x" * 31, b"x" * 33, b"-----BEGIN PRIVATE KEY-----"])
def test_a_damaged_owner_key_is_a_value_error_and_stays_as_it_is(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "owner.key"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a signing key"):
        SigningKey.load_or_create(path)
    assert path.read_bytes() == content


# ---- files -----------------------------------------------------------------------------


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def generous_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("generous_umask")
def test_secrets_can_be_read_by_their_owner_only(tmp_path: Path) -> None:
    SigningKey.load_or_create(tmp_path / "owner.key")
    write_private(tmp_path / "identity", ANNA.to_bytes())
    assert [mode(tmp_path / name) for name in ("owner.key", "identity")] == [0o600, 0o600]


def test_a_secret_replaces_what_others_could_read(tmp_path: Path) -> None:
    for name in ("identity", "identity.tmp"):
        (tmp_path / name).write_bytes(b"old")
        (tmp_path / name).chmod(0o644)
    write_private(tmp_path / "identity", b"new")
    assert (tmp_path / "identity").read_bytes() == b"new"
    assert mode(tmp_path / "identity") == 0o600
    assert [it.name for it in tmp_path.iterdir()] == ["identity"]

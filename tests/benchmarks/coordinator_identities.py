"""Ten thousand RSA identities: made once in all processors, and kept in the cache folder.

One takes about 20 ms of a processor; a peer makes its own once in its life, so this is no part of
what is measured.
"""

from __future__ import annotations

import os
import struct
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from platformdirs import user_cache_path

from swarmpb.files import write_private
from swarmpb.signing import PeerIdentity

_CHUNK = 50
"""Identities in a file."""
_SIZE = struct.Struct(">H")


def identities(count: int, folder: Path | None = None) -> list[Path]:
    """Files with at least `count` identities between them; made now as far as they are missing."""
    folder = folder or user_cache_path("murmuration") / "benchmark-keys"
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:04}.keys" for number in range(-(-count // _CHUNK))]
    missing = [path for path in files if not path.exists()]
    if missing:
        cores = os.cpu_count() or 1
        with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
            list(pool.map(_make, missing))
    return files


def load(files: list[Path], count: int) -> list[PeerIdentity]:
    """The first `count` of them."""
    found: list[PeerIdentity] = []
    for path in files:
        data = path.read_bytes()
        at = 0
        while at < len(data) and len(found) < count:
            (size,) = _SIZE.unpack_from(data, at)
            at += _SIZE.size
            # the check of a key takes longer than a signature, and these are our own
            key = serialization.load_der_private_key(
                data[at : at + size], password=None, unsafe_skip_rsa_key_validation=True
            )
            assert isinstance(key, rsa.RSAPrivateKey)
            found.append(PeerIdentity(key))
            at += size
    return found


def _make(path: Path) -> None:
    data = bytearray()
    for _ in range(_CHUNK):
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        der = key.private_bytes(
            serialization.Encoding.DER,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
        data += _SIZE.pack(len(der)) + der
    write_private(path, bytes(data))

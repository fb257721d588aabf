"""A peer's identity as a file for another machine, behind a passphrase or in the open.

JSON that says what it is. The key is encrypted with AES-256-GCM under a key that scrypt makes of
the passphrase; all that stands beside it is authenticated with it.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from dataclasses import dataclass
from typing import Annotated, Literal

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from swarmpb.signing import PeerIdentity

MAX_FILE_BYTES = 16_384
MIN_PASSPHRASE = 8
_COST = 17
"""Of scrypt, as a power of two: 128 MiB and half a second."""
_SALT_BYTES, _NONCE_BYTES = 16, 12


class ExportError(ValueError):
    """No exported identity, or not the right passphrase. Says which, and what to do."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Encryption(_Section):
    cipher: Literal["AES-256-GCM"] = "AES-256-GCM"
    kdf: Literal["scrypt"] = "scrypt"
    cost: Annotated[int, Field(ge=10, le=18)] = _COST
    """Log2 of scrypt's n; its r is 8 and its p 1."""
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")]


class _File(_Section):
    what: Literal["the identity of a murmuration peer"] = "the identity of a murmuration peer"
    format: Annotated[int, Field(ge=1, le=1)] = 1
    run_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    peer_id: Annotated[str, Field(max_length=100)]
    encryption: _Encryption | None
    key: Annotated[str, Field(max_length=MAX_FILE_BYTES)] = ""
    """Base64."""

    def head(self) -> bytes:
        """All but the key."""
        return json.dumps(self.model_dump(exclude={"key"}), sort_keys=True).encode()


@dataclass(frozen=True)
class Exported:
    """An exported identity whose file makes sense, and whose key may need a passphrase yet."""

    _file: _File

    @property
    def run_id(self) -> str:
        return self._file.run_id

    @property
    def peer_id(self) -> str:
        """As the file has it; `open` checks it."""
        return self._file.peer_id

    @property
    def encrypted(self) -> bool:
        return self._file.encryption is not None

    def open(self, passphrase: str) -> PeerIdentity:
        """The identity; `ExportError` if the passphrase is wrong, or the file was changed."""
        try:
            key = base64.b64decode(self._file.key, validate=True)
            if self._file.encryption is not None:
                how = self._file.encryption
                cipher = AESGCM(_derived(passphrase, bytes.fromhex(how.salt), how.cost))
                key = cipher.decrypt(bytes.fromhex(how.nonce), key, self._file.head())
            identity = PeerIdentity.from_bytes(key, "what is in the file")
        except InvalidTag as error:
            raise ExportError("wrong passphrase, or the file was changed") from error
        except (ValueError, binascii.Error) as error:
            raise ExportError(f"the file is damaged: {error}") from error
        if identity.peer_id != self.peer_id:
            raise ExportError(f"the file says it is {self.peer_id}, and holds {identity.peer_id}")
        return identity


def export(identity: PeerIdentity, run_id: str, passphrase: str | None, cost: int = _COST) -> bytes:
    """The content of a file; passphrase: None leaves the key open to whoever reads the file."""
    key, encryption = identity.to_bytes(), None
    if passphrase is not None:
        salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
        encryption = _Encryption(cost=cost, salt=salt.hex(), nonce=nonce.hex())
    file = _File(run_id=run_id, peer_id=identity.peer_id, encryption=encryption)
    if passphrase is not None:
        key = AESGCM(_derived(passphrase, salt, cost)).encrypt(nonce, key, file.head())
    file = file.model_copy(update={"key": base64.b64encode(key).decode()})
    return json.dumps(file.model_dump(), indent=1).encode() + b"\n"


def read_export(data: bytes) -> Exported:
    """What a file's content says of itself; `ExportError` if it is no exported identity."""
    if len(data) > MAX_FILE_BYTES:
        raise ExportError("it is no exported identity: it is too long")
    try:
        return Exported(_File.model_validate_json(data))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"])) or "it"
        raise ExportError(f"it is no exported identity: {where}: {fault['msg']}") from error


def _derived(passphrase: str, salt: bytes, cost: int) -> bytes:
    return Scrypt(salt=salt, length=32, n=2**cost, r=8, p=1).derive(passphrase.encode())

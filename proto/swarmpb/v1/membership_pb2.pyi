from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RunState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RUN_STATE_UNKNOWN: _ClassVar[RunState]
    DRAFT: _ClassVar[RunState]
    OPEN: _ClassVar[RunState]
    PAUSED: _ClassVar[RunState]
    FINISHING: _ClassVar[RunState]
    FINISHED: _ClassVar[RunState]
RUN_STATE_UNKNOWN: RunState
DRAFT: RunState
OPEN: RunState
PAUSED: RunState
FINISHING: RunState
FINISHED: RunState

class Charter(_message.Message):
    __slots__ = ("run_id", "spec_hash", "authority", "serial")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_HASH_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    spec_hash: bytes
    authority: bytes
    serial: int
    def __init__(self, run_id: _Optional[str] = ..., spec_hash: _Optional[bytes] = ..., authority: _Optional[bytes] = ..., serial: _Optional[int] = ...) -> None: ...

class SignedCharter(_message.Message):
    __slots__ = ("charter", "signature")
    CHARTER_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    charter: bytes
    signature: bytes
    def __init__(self, charter: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class Orders(_message.Message):
    __slots__ = ("run_id", "spec_hash", "sequence", "state", "reason", "stop_tokens", "cooldown_tokens", "invite_only", "banned", "issued_at_ms")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_HASH_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STOP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COOLDOWN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INVITE_ONLY_FIELD_NUMBER: _ClassVar[int]
    BANNED_FIELD_NUMBER: _ClassVar[int]
    ISSUED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    spec_hash: bytes
    sequence: int
    state: RunState
    reason: str
    stop_tokens: int
    cooldown_tokens: int
    invite_only: bool
    banned: _containers.RepeatedScalarFieldContainer[bytes]
    issued_at_ms: int
    def __init__(self, run_id: _Optional[str] = ..., spec_hash: _Optional[bytes] = ..., sequence: _Optional[int] = ..., state: _Optional[_Union[RunState, str]] = ..., reason: _Optional[str] = ..., stop_tokens: _Optional[int] = ..., cooldown_tokens: _Optional[int] = ..., invite_only: _Optional[bool] = ..., banned: _Optional[_Iterable[bytes]] = ..., issued_at_ms: _Optional[int] = ...) -> None: ...

class SignedOrders(_message.Message):
    __slots__ = ("orders", "signature", "charter")
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    CHARTER_FIELD_NUMBER: _ClassVar[int]
    orders: bytes
    signature: bytes
    charter: SignedCharter
    def __init__(self, orders: _Optional[bytes] = ..., signature: _Optional[bytes] = ..., charter: _Optional[_Union[SignedCharter, _Mapping]] = ...) -> None: ...

class Certificate(_message.Message):
    __slots__ = ("run_id", "spec_hash", "peer_id", "not_before_ms", "not_after_ms")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_HASH_FIELD_NUMBER: _ClassVar[int]
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_MS_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_MS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    spec_hash: bytes
    peer_id: str
    not_before_ms: int
    not_after_ms: int
    def __init__(self, run_id: _Optional[str] = ..., spec_hash: _Optional[bytes] = ..., peer_id: _Optional[str] = ..., not_before_ms: _Optional[int] = ..., not_after_ms: _Optional[int] = ...) -> None: ...

class SignedCertificate(_message.Message):
    __slots__ = ("certificate", "signature")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    certificate: bytes
    signature: bytes
    def __init__(self, certificate: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class AdmissionRequest(_message.Message):
    __slots__ = ("run_id", "spec_hash", "invite", "written_at_ms", "certificate")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_HASH_FIELD_NUMBER: _ClassVar[int]
    INVITE_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_AT_MS_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    spec_hash: bytes
    invite: str
    written_at_ms: int
    certificate: bytes
    def __init__(self, run_id: _Optional[str] = ..., spec_hash: _Optional[bytes] = ..., invite: _Optional[str] = ..., written_at_ms: _Optional[int] = ..., certificate: _Optional[bytes] = ...) -> None: ...

class Admission(_message.Message):
    __slots__ = ("certificate", "orders")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    certificate: SignedCertificate
    orders: SignedOrders
    def __init__(self, certificate: _Optional[_Union[SignedCertificate, _Mapping]] = ..., orders: _Optional[_Union[SignedOrders, _Mapping]] = ...) -> None: ...

class OrdersRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

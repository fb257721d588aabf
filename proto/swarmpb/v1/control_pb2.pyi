from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("run_id", "peer_id", "pid", "phase", "reason", "round", "digest", "tokens", "pending_tokens", "tokens_per_second", "train_loss", "peers", "run_tokens", "target_tokens", "uptime_seconds", "coordinator", "coordinator_state", "daemon_rss_bytes", "trainer_rss_bytes", "round_seconds", "inner_steps", "trainer_pid", "checkpoint_seconds", "membership", "notices")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    PENDING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    TRAIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    RUN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TARGET_TOKENS_FIELD_NUMBER: _ClassVar[int]
    UPTIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_FIELD_NUMBER: _ClassVar[int]
    COORDINATOR_STATE_FIELD_NUMBER: _ClassVar[int]
    DAEMON_RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    TRAINER_RSS_BYTES_FIELD_NUMBER: _ClassVar[int]
    ROUND_SECONDS_FIELD_NUMBER: _ClassVar[int]
    INNER_STEPS_FIELD_NUMBER: _ClassVar[int]
    TRAINER_PID_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEMBERSHIP_FIELD_NUMBER: _ClassVar[int]
    NOTICES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    peer_id: str
    pid: int
    phase: str
    reason: str
    round: int
    digest: bytes
    tokens: int
    pending_tokens: int
    tokens_per_second: float
    train_loss: float
    peers: int
    run_tokens: int
    target_tokens: int
    uptime_seconds: float
    coordinator: str
    coordinator_state: str
    daemon_rss_bytes: int
    trainer_rss_bytes: int
    round_seconds: float
    inner_steps: int
    trainer_pid: int
    checkpoint_seconds: float
    membership: str
    notices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, run_id: _Optional[str] = ..., peer_id: _Optional[str] = ..., pid: _Optional[int] = ..., phase: _Optional[str] = ..., reason: _Optional[str] = ..., round: _Optional[int] = ..., digest: _Optional[bytes] = ..., tokens: _Optional[int] = ..., pending_tokens: _Optional[int] = ..., tokens_per_second: _Optional[float] = ..., train_loss: _Optional[float] = ..., peers: _Optional[int] = ..., run_tokens: _Optional[int] = ..., target_tokens: _Optional[int] = ..., uptime_seconds: _Optional[float] = ..., coordinator: _Optional[str] = ..., coordinator_state: _Optional[str] = ..., daemon_rss_bytes: _Optional[int] = ..., trainer_rss_bytes: _Optional[int] = ..., round_seconds: _Optional[float] = ..., inner_steps: _Optional[int] = ..., trainer_pid: _Optional[int] = ..., checkpoint_seconds: _Optional[float] = ..., membership: _Optional[str] = ..., notices: _Optional[_Iterable[str]] = ...) -> None: ...

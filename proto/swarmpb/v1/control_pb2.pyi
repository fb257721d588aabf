from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PauseRequest(_message.Message):
    __slots__ = ("seconds",)
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    def __init__(self, seconds: _Optional[float] = ...) -> None: ...

class ResumeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class FinishRequest(_message.Message):
    __slots__ = ("within_seconds",)
    WITHIN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    within_seconds: float
    def __init__(self, within_seconds: _Optional[float] = ...) -> None: ...

class LeaveRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Answer(_message.Message):
    __slots__ = ("words",)
    WORDS_FIELD_NUMBER: _ClassVar[int]
    words: str
    def __init__(self, words: _Optional[str] = ...) -> None: ...

class ReloadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReloadReply(_message.Message):
    __slots__ = ("taken", "at_next_start")
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    AT_NEXT_START_FIELD_NUMBER: _ClassVar[int]
    taken: _containers.RepeatedScalarFieldContainer[str]
    at_next_start: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, taken: _Optional[_Iterable[str]] = ..., at_next_start: _Optional[_Iterable[str]] = ...) -> None: ...

class StatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class StatusReply(_message.Message):
    __slots__ = ("run_id", "peer_id", "pid", "phase", "reason", "round", "digest", "tokens", "pending_tokens", "tokens_per_second", "train_loss", "peers", "run_tokens", "target_tokens", "uptime_seconds", "coordinator", "coordinator_state", "daemon_rss_bytes", "trainer_rss_bytes", "round_seconds", "inner_steps", "trainer_pid", "checkpoint_seconds", "membership", "notices", "version", "name", "resting_until", "resting_reasons", "acting", "upload_bits_per_second", "download_bits_per_second", "month_bytes", "month_budget_bytes", "energy", "losses", "next_cut_seconds", "round_progress", "swarm_tokens_per_second", "reach", "disk_bytes", "limits", "reach_reason")
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
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    RESTING_UNTIL_FIELD_NUMBER: _ClassVar[int]
    RESTING_REASONS_FIELD_NUMBER: _ClassVar[int]
    ACTING_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_BITS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    DOWNLOAD_BITS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    MONTH_BYTES_FIELD_NUMBER: _ClassVar[int]
    MONTH_BUDGET_BYTES_FIELD_NUMBER: _ClassVar[int]
    ENERGY_FIELD_NUMBER: _ClassVar[int]
    LOSSES_FIELD_NUMBER: _ClassVar[int]
    NEXT_CUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ROUND_PROGRESS_FIELD_NUMBER: _ClassVar[int]
    SWARM_TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    REACH_FIELD_NUMBER: _ClassVar[int]
    DISK_BYTES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    REACH_REASON_FIELD_NUMBER: _ClassVar[int]
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
    version: str
    name: str
    resting_until: float
    resting_reasons: _containers.RepeatedScalarFieldContainer[str]
    acting: _containers.RepeatedCompositeFieldContainer[ActingLimit]
    upload_bits_per_second: float
    download_bits_per_second: float
    month_bytes: int
    month_budget_bytes: int
    energy: Energy
    losses: _containers.RepeatedCompositeFieldContainer[LossPoint]
    next_cut_seconds: float
    round_progress: float
    swarm_tokens_per_second: float
    reach: str
    disk_bytes: int
    limits: _containers.RepeatedCompositeFieldContainer[ActingLimit]
    reach_reason: str
    def __init__(self, run_id: _Optional[str] = ..., peer_id: _Optional[str] = ..., pid: _Optional[int] = ..., phase: _Optional[str] = ..., reason: _Optional[str] = ..., round: _Optional[int] = ..., digest: _Optional[bytes] = ..., tokens: _Optional[int] = ..., pending_tokens: _Optional[int] = ..., tokens_per_second: _Optional[float] = ..., train_loss: _Optional[float] = ..., peers: _Optional[int] = ..., run_tokens: _Optional[int] = ..., target_tokens: _Optional[int] = ..., uptime_seconds: _Optional[float] = ..., coordinator: _Optional[str] = ..., coordinator_state: _Optional[str] = ..., daemon_rss_bytes: _Optional[int] = ..., trainer_rss_bytes: _Optional[int] = ..., round_seconds: _Optional[float] = ..., inner_steps: _Optional[int] = ..., trainer_pid: _Optional[int] = ..., checkpoint_seconds: _Optional[float] = ..., membership: _Optional[str] = ..., notices: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ..., name: _Optional[str] = ..., resting_until: _Optional[float] = ..., resting_reasons: _Optional[_Iterable[str]] = ..., acting: _Optional[_Iterable[_Union[ActingLimit, _Mapping]]] = ..., upload_bits_per_second: _Optional[float] = ..., download_bits_per_second: _Optional[float] = ..., month_bytes: _Optional[int] = ..., month_budget_bytes: _Optional[int] = ..., energy: _Optional[_Union[Energy, _Mapping]] = ..., losses: _Optional[_Iterable[_Union[LossPoint, _Mapping]]] = ..., next_cut_seconds: _Optional[float] = ..., round_progress: _Optional[float] = ..., swarm_tokens_per_second: _Optional[float] = ..., reach: _Optional[str] = ..., disk_bytes: _Optional[int] = ..., limits: _Optional[_Iterable[_Union[ActingLimit, _Mapping]]] = ..., reach_reason: _Optional[str] = ...) -> None: ...

class ActingLimit(_message.Message):
    __slots__ = ("name", "words")
    NAME_FIELD_NUMBER: _ClassVar[int]
    WORDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    words: str
    def __init__(self, name: _Optional[str] = ..., words: _Optional[str] = ...) -> None: ...

class Energy(_message.Message):
    __slots__ = ("joules", "watts", "source", "price_per_kwh", "currency")
    JOULES_FIELD_NUMBER: _ClassVar[int]
    WATTS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PRICE_PER_KWH_FIELD_NUMBER: _ClassVar[int]
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    joules: float
    watts: float
    source: str
    price_per_kwh: float
    currency: str
    def __init__(self, joules: _Optional[float] = ..., watts: _Optional[float] = ..., source: _Optional[str] = ..., price_per_kwh: _Optional[float] = ..., currency: _Optional[str] = ...) -> None: ...

class LossPoint(_message.Message):
    __slots__ = ("run_tokens", "loss")
    RUN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    run_tokens: int
    loss: float
    def __init__(self, run_tokens: _Optional[int] = ..., loss: _Optional[float] = ...) -> None: ...

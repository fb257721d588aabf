from swarmpb.v1 import membership_pb2 as _membership_pb2
from swarmpb.v1 import swarm_pb2 as _swarm_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SignedSpec(_message.Message):
    __slots__ = ("spec", "hash", "owner_key", "signature")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    HASH_FIELD_NUMBER: _ClassVar[int]
    OWNER_KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    spec: bytes
    hash: bytes
    owner_key: bytes
    signature: bytes
    def __init__(self, spec: _Optional[bytes] = ..., hash: _Optional[bytes] = ..., owner_key: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class RestoreRunRequest(_message.Message):
    __slots__ = ("spec", "orders")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    spec: SignedSpec
    orders: _membership_pb2.SignedOrders
    def __init__(self, spec: _Optional[_Union[SignedSpec, _Mapping]] = ..., orders: _Optional[_Union[_membership_pb2.SignedOrders, _Mapping]] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListRunsReply(_message.Message):
    __slots__ = ("runs",)
    RUNS_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[RunSummary]
    def __init__(self, runs: _Optional[_Iterable[_Union[RunSummary, _Mapping]]] = ...) -> None: ...

class RunSummary(_message.Message):
    __slots__ = ("run_id", "description", "created_at_ms", "peers_live", "round", "tokens", "target_tokens")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    PEERS_LIVE_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TARGET_TOKENS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    description: str
    created_at_ms: int
    peers_live: int
    round: int
    tokens: int
    target_tokens: int
    def __init__(self, run_id: _Optional[str] = ..., description: _Optional[str] = ..., created_at_ms: _Optional[int] = ..., peers_live: _Optional[int] = ..., round: _Optional[int] = ..., tokens: _Optional[int] = ..., target_tokens: _Optional[int] = ...) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class RunInfo(_message.Message):
    __slots__ = ("run_id", "spec", "initial_peers", "protocol_version", "server_time_ms", "created_at_ms", "round", "tokens", "orders")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    INITIAL_PEERS_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    spec: SignedSpec
    initial_peers: _containers.RepeatedScalarFieldContainer[str]
    protocol_version: int
    server_time_ms: int
    created_at_ms: int
    round: int
    tokens: int
    orders: _membership_pb2.SignedOrders
    def __init__(self, run_id: _Optional[str] = ..., spec: _Optional[_Union[SignedSpec, _Mapping]] = ..., initial_peers: _Optional[_Iterable[str]] = ..., protocol_version: _Optional[int] = ..., server_time_ms: _Optional[int] = ..., created_at_ms: _Optional[int] = ..., round: _Optional[int] = ..., tokens: _Optional[int] = ..., orders: _Optional[_Union[_membership_pb2.SignedOrders, _Mapping]] = ...) -> None: ...

class ProgressReport(_message.Message):
    __slots__ = ("run_id", "peer_id", "sequence", "written_at_ms", "phase", "reason", "round", "digest", "tokens", "pending_tokens", "tokens_per_second", "train_loss", "name", "version", "rounds", "validations", "journal", "after_row", "last_row", "addresses", "coverage", "orders_sequence", "hardware", "link", "reach", "rosters", "orders_serial", "energy_joules")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_AT_MS_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    PENDING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    TRAIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    VALIDATIONS_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_FIELD_NUMBER: _ClassVar[int]
    AFTER_ROW_FIELD_NUMBER: _ClassVar[int]
    LAST_ROW_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    ORDERS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HARDWARE_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    REACH_FIELD_NUMBER: _ClassVar[int]
    ROSTERS_FIELD_NUMBER: _ClassVar[int]
    ORDERS_SERIAL_FIELD_NUMBER: _ClassVar[int]
    ENERGY_JOULES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    peer_id: str
    sequence: int
    written_at_ms: int
    phase: str
    reason: str
    round: int
    digest: bytes
    tokens: int
    pending_tokens: int
    tokens_per_second: float
    train_loss: float
    name: str
    version: str
    rounds: _containers.RepeatedCompositeFieldContainer[RoundOutcome]
    validations: _containers.RepeatedCompositeFieldContainer[Validation]
    journal: bytes
    after_row: int
    last_row: int
    addresses: _containers.RepeatedScalarFieldContainer[str]
    coverage: Coverage
    orders_sequence: int
    hardware: Hardware
    link: _swarm_pb2.Link
    reach: str
    rosters: _containers.RepeatedCompositeFieldContainer[RoundRoster]
    orders_serial: int
    energy_joules: float
    def __init__(self, run_id: _Optional[str] = ..., peer_id: _Optional[str] = ..., sequence: _Optional[int] = ..., written_at_ms: _Optional[int] = ..., phase: _Optional[str] = ..., reason: _Optional[str] = ..., round: _Optional[int] = ..., digest: _Optional[bytes] = ..., tokens: _Optional[int] = ..., pending_tokens: _Optional[int] = ..., tokens_per_second: _Optional[float] = ..., train_loss: _Optional[float] = ..., name: _Optional[str] = ..., version: _Optional[str] = ..., rounds: _Optional[_Iterable[_Union[RoundOutcome, _Mapping]]] = ..., validations: _Optional[_Iterable[_Union[Validation, _Mapping]]] = ..., journal: _Optional[bytes] = ..., after_row: _Optional[int] = ..., last_row: _Optional[int] = ..., addresses: _Optional[_Iterable[str]] = ..., coverage: _Optional[_Union[Coverage, _Mapping]] = ..., orders_sequence: _Optional[int] = ..., hardware: _Optional[_Union[Hardware, _Mapping]] = ..., link: _Optional[_Union[_swarm_pb2.Link, _Mapping]] = ..., reach: _Optional[str] = ..., rosters: _Optional[_Iterable[_Union[RoundRoster, _Mapping]]] = ..., orders_serial: _Optional[int] = ..., energy_joules: _Optional[float] = ...) -> None: ...

class Hardware(_message.Message):
    __slots__ = ("processor", "cores", "memory_bytes", "accelerator", "system")
    PROCESSOR_FIELD_NUMBER: _ClassVar[int]
    CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    ACCELERATOR_FIELD_NUMBER: _ClassVar[int]
    SYSTEM_FIELD_NUMBER: _ClassVar[int]
    processor: str
    cores: int
    memory_bytes: int
    accelerator: str
    system: str
    def __init__(self, processor: _Optional[str] = ..., cores: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., accelerator: _Optional[str] = ..., system: _Optional[str] = ...) -> None: ...

class RoundRoster(_message.Message):
    __slots__ = ("round", "attempt", "digest", "parts", "members")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    round: int
    attempt: bytes
    digest: bytes
    parts: int
    members: _containers.RepeatedCompositeFieldContainer[RosterEntry]
    def __init__(self, round: _Optional[int] = ..., attempt: _Optional[bytes] = ..., digest: _Optional[bytes] = ..., parts: _Optional[int] = ..., members: _Optional[_Iterable[_Union[RosterEntry, _Mapping]]] = ...) -> None: ...

class RosterEntry(_message.Message):
    __slots__ = ("peer_id", "tokens", "parts", "reason", "merged")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MERGED_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    tokens: int
    parts: int
    reason: str
    merged: bool
    def __init__(self, peer_id: _Optional[str] = ..., tokens: _Optional[int] = ..., parts: _Optional[int] = ..., reason: _Optional[str] = ..., merged: _Optional[bool] = ...) -> None: ...

class Coverage(_message.Message):
    __slots__ = ("round", "pass_chunks", "passes", "merged_once", "merged_again")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    PASS_CHUNKS_FIELD_NUMBER: _ClassVar[int]
    PASSES_FIELD_NUMBER: _ClassVar[int]
    MERGED_ONCE_FIELD_NUMBER: _ClassVar[int]
    MERGED_AGAIN_FIELD_NUMBER: _ClassVar[int]
    round: int
    pass_chunks: int
    passes: int
    merged_once: int
    merged_again: int
    def __init__(self, round: _Optional[int] = ..., pass_chunks: _Optional[int] = ..., passes: _Optional[int] = ..., merged_once: _Optional[int] = ..., merged_again: _Optional[int] = ...) -> None: ...

class RoundOutcome(_message.Message):
    __slots__ = ("round", "attempt", "committed", "reason", "digest", "run_tokens", "own_tokens", "bytes_sent", "bytes_received", "seconds", "members", "finished_at_ms", "train_loss", "included", "round_seconds")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    RUN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OWN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_FIELD_NUMBER: _ClassVar[int]
    BYTES_RECEIVED_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    TRAIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    INCLUDED_FIELD_NUMBER: _ClassVar[int]
    ROUND_SECONDS_FIELD_NUMBER: _ClassVar[int]
    round: int
    attempt: bytes
    committed: bool
    reason: str
    digest: bytes
    run_tokens: int
    own_tokens: int
    bytes_sent: int
    bytes_received: int
    seconds: float
    members: int
    finished_at_ms: int
    train_loss: float
    included: bool
    round_seconds: float
    def __init__(self, round: _Optional[int] = ..., attempt: _Optional[bytes] = ..., committed: _Optional[bool] = ..., reason: _Optional[str] = ..., digest: _Optional[bytes] = ..., run_tokens: _Optional[int] = ..., own_tokens: _Optional[int] = ..., bytes_sent: _Optional[int] = ..., bytes_received: _Optional[int] = ..., seconds: _Optional[float] = ..., members: _Optional[int] = ..., finished_at_ms: _Optional[int] = ..., train_loss: _Optional[float] = ..., included: _Optional[bool] = ..., round_seconds: _Optional[float] = ...) -> None: ...

class Validation(_message.Message):
    __slots__ = ("round", "run_tokens", "loss")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    RUN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    LOSS_FIELD_NUMBER: _ClassVar[int]
    round: int
    run_tokens: int
    loss: float
    def __init__(self, round: _Optional[int] = ..., run_tokens: _Optional[int] = ..., loss: _Optional[float] = ...) -> None: ...

class ReportReply(_message.Message):
    __slots__ = ("accepted_sequence", "server_time_ms", "taken_row", "orders", "wanted_rosters", "model_wanted", "report_seconds")
    ACCEPTED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    SERVER_TIME_MS_FIELD_NUMBER: _ClassVar[int]
    TAKEN_ROW_FIELD_NUMBER: _ClassVar[int]
    ORDERS_FIELD_NUMBER: _ClassVar[int]
    WANTED_ROSTERS_FIELD_NUMBER: _ClassVar[int]
    MODEL_WANTED_FIELD_NUMBER: _ClassVar[int]
    REPORT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    accepted_sequence: int
    server_time_ms: int
    taken_row: int
    orders: _membership_pb2.SignedOrders
    wanted_rosters: _containers.RepeatedScalarFieldContainer[bytes]
    model_wanted: bool
    report_seconds: float
    def __init__(self, accepted_sequence: _Optional[int] = ..., server_time_ms: _Optional[int] = ..., taken_row: _Optional[int] = ..., orders: _Optional[_Union[_membership_pb2.SignedOrders, _Mapping]] = ..., wanted_rosters: _Optional[_Iterable[bytes]] = ..., model_wanted: _Optional[bool] = ..., report_seconds: _Optional[float] = ...) -> None: ...

class RunProgress(_message.Message):
    __slots__ = ("run_id", "round", "tokens", "target_tokens", "tokens_per_second", "peers_live", "train_loss", "first_validation_loss", "validation_loss", "rounds_committed", "rounds_void", "digests_agree", "peers", "rounds", "bytes_sent_per_round", "coverage")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TARGET_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    PEERS_LIVE_FIELD_NUMBER: _ClassVar[int]
    TRAIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    FIRST_VALIDATION_LOSS_FIELD_NUMBER: _ClassVar[int]
    VALIDATION_LOSS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_COMMITTED_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_VOID_FIELD_NUMBER: _ClassVar[int]
    DIGESTS_AGREE_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_SENT_PER_ROUND_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    round: int
    tokens: int
    target_tokens: int
    tokens_per_second: float
    peers_live: int
    train_loss: float
    first_validation_loss: float
    validation_loss: float
    rounds_committed: int
    rounds_void: int
    digests_agree: bool
    peers: _containers.RepeatedCompositeFieldContainer[PeerProgress]
    rounds: _containers.RepeatedCompositeFieldContainer[RoundProgress]
    bytes_sent_per_round: float
    coverage: Coverage
    def __init__(self, run_id: _Optional[str] = ..., round: _Optional[int] = ..., tokens: _Optional[int] = ..., target_tokens: _Optional[int] = ..., tokens_per_second: _Optional[float] = ..., peers_live: _Optional[int] = ..., train_loss: _Optional[float] = ..., first_validation_loss: _Optional[float] = ..., validation_loss: _Optional[float] = ..., rounds_committed: _Optional[int] = ..., rounds_void: _Optional[int] = ..., digests_agree: _Optional[bool] = ..., peers: _Optional[_Iterable[_Union[PeerProgress, _Mapping]]] = ..., rounds: _Optional[_Iterable[_Union[RoundProgress, _Mapping]]] = ..., bytes_sent_per_round: _Optional[float] = ..., coverage: _Optional[_Union[Coverage, _Mapping]] = ...) -> None: ...

class PeerProgress(_message.Message):
    __slots__ = ("peer_id", "name", "phase", "reason", "round", "tokens", "tokens_per_second", "train_loss", "rounds", "seen_seconds_ago", "live", "version", "observed_tokens")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    TRAIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    SEEN_SECONDS_AGO_FIELD_NUMBER: _ClassVar[int]
    LIVE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    name: str
    phase: str
    reason: str
    round: int
    tokens: int
    tokens_per_second: float
    train_loss: float
    rounds: int
    seen_seconds_ago: float
    live: bool
    version: str
    observed_tokens: int
    def __init__(self, peer_id: _Optional[str] = ..., name: _Optional[str] = ..., phase: _Optional[str] = ..., reason: _Optional[str] = ..., round: _Optional[int] = ..., tokens: _Optional[int] = ..., tokens_per_second: _Optional[float] = ..., train_loss: _Optional[float] = ..., rounds: _Optional[int] = ..., seen_seconds_ago: _Optional[float] = ..., live: _Optional[bool] = ..., version: _Optional[str] = ..., observed_tokens: _Optional[int] = ...) -> None: ...

class RoundProgress(_message.Message):
    __slots__ = ("round", "committed", "reason", "members", "run_tokens", "seconds", "finished_by", "distinct_digests")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    RUN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    FINISHED_BY_FIELD_NUMBER: _ClassVar[int]
    DISTINCT_DIGESTS_FIELD_NUMBER: _ClassVar[int]
    round: int
    committed: bool
    reason: str
    members: int
    run_tokens: int
    seconds: float
    finished_by: int
    distinct_digests: int
    def __init__(self, round: _Optional[int] = ..., committed: _Optional[bool] = ..., reason: _Optional[str] = ..., members: _Optional[int] = ..., run_tokens: _Optional[int] = ..., seconds: _Optional[float] = ..., finished_by: _Optional[int] = ..., distinct_digests: _Optional[int] = ...) -> None: ...

class ReceiptsRequest(_message.Message):
    __slots__ = ("run_id", "peer_id", "before_round")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    BEFORE_ROUND_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    peer_id: str
    before_round: int
    def __init__(self, run_id: _Optional[str] = ..., peer_id: _Optional[str] = ..., before_round: _Optional[int] = ...) -> None: ...

class Receipts(_message.Message):
    __slots__ = ("receipts",)
    RECEIPTS_FIELD_NUMBER: _ClassVar[int]
    receipts: _containers.RepeatedCompositeFieldContainer[SignedReceipt]
    def __init__(self, receipts: _Optional[_Iterable[_Union[SignedReceipt, _Mapping]]] = ...) -> None: ...

class SignedReceipt(_message.Message):
    __slots__ = ("receipt", "signature")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    receipt: bytes
    signature: bytes
    def __init__(self, receipt: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class RoundReceipt(_message.Message):
    __slots__ = ("run_id", "spec_hash", "peer_id", "round", "attempt", "claimed_tokens", "merged_tokens", "included", "reason", "observed", "witnesses", "at_ms")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SPEC_HASH_FIELD_NUMBER: _ClassVar[int]
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CLAIMED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MERGED_TOKENS_FIELD_NUMBER: _ClassVar[int]
    INCLUDED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    OBSERVED_FIELD_NUMBER: _ClassVar[int]
    WITNESSES_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    spec_hash: bytes
    peer_id: str
    round: int
    attempt: bytes
    claimed_tokens: int
    merged_tokens: int
    included: bool
    reason: str
    observed: bool
    witnesses: int
    at_ms: int
    def __init__(self, run_id: _Optional[str] = ..., spec_hash: _Optional[bytes] = ..., peer_id: _Optional[str] = ..., round: _Optional[int] = ..., attempt: _Optional[bytes] = ..., claimed_tokens: _Optional[int] = ..., merged_tokens: _Optional[int] = ..., included: _Optional[bool] = ..., reason: _Optional[str] = ..., observed: _Optional[bool] = ..., witnesses: _Optional[int] = ..., at_ms: _Optional[int] = ...) -> None: ...

from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Envelope(_message.Message):
    __slots__ = ("kind", "payload", "public_key", "signature")
    KIND_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNATURE_FIELD_NUMBER: _ClassVar[int]
    kind: str
    payload: bytes
    public_key: bytes
    signature: bytes
    def __init__(self, kind: _Optional[str] = ..., payload: _Optional[bytes] = ..., public_key: _Optional[bytes] = ..., signature: _Optional[bytes] = ...) -> None: ...

class PeerRecord(_message.Message):
    __slots__ = ("peer_id", "round", "digest", "phase", "reason", "tokens", "pending_tokens", "tokens_per_second", "inner_steps", "train_loss", "written_at", "sequence", "addresses", "version", "name", "link", "recent", "resumed", "yields", "orders_sequence", "certificate", "orders_serial")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    PENDING_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    INNER_STEPS_FIELD_NUMBER: _ClassVar[int]
    TRAIN_LOSS_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_AT_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    RECENT_FIELD_NUMBER: _ClassVar[int]
    RESUMED_FIELD_NUMBER: _ClassVar[int]
    YIELDS_FIELD_NUMBER: _ClassVar[int]
    ORDERS_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    ORDERS_SERIAL_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    round: int
    digest: bytes
    phase: str
    reason: str
    tokens: int
    pending_tokens: int
    tokens_per_second: float
    inner_steps: int
    train_loss: float
    written_at: float
    sequence: int
    addresses: _containers.RepeatedScalarFieldContainer[str]
    version: str
    name: str
    link: Link
    recent: _containers.RepeatedScalarFieldContainer[bytes]
    resumed: bool
    yields: bool
    orders_sequence: int
    certificate: bytes
    orders_serial: int
    def __init__(self, peer_id: _Optional[str] = ..., round: _Optional[int] = ..., digest: _Optional[bytes] = ..., phase: _Optional[str] = ..., reason: _Optional[str] = ..., tokens: _Optional[int] = ..., pending_tokens: _Optional[int] = ..., tokens_per_second: _Optional[float] = ..., inner_steps: _Optional[int] = ..., train_loss: _Optional[float] = ..., written_at: _Optional[float] = ..., sequence: _Optional[int] = ..., addresses: _Optional[_Iterable[str]] = ..., version: _Optional[str] = ..., name: _Optional[str] = ..., link: _Optional[_Union[Link, _Mapping]] = ..., recent: _Optional[_Iterable[bytes]] = ..., resumed: _Optional[bool] = ..., yields: _Optional[bool] = ..., orders_sequence: _Optional[int] = ..., certificate: _Optional[bytes] = ..., orders_serial: _Optional[int] = ...) -> None: ...

class Link(_message.Message):
    __slots__ = ("upload", "download", "client_mode")
    UPLOAD_FIELD_NUMBER: _ClassVar[int]
    DOWNLOAD_FIELD_NUMBER: _ClassVar[int]
    CLIENT_MODE_FIELD_NUMBER: _ClassVar[int]
    upload: int
    download: int
    client_mode: bool
    def __init__(self, upload: _Optional[int] = ..., download: _Optional[int] = ..., client_mode: _Optional[bool] = ...) -> None: ...

class DialBackRequest(_message.Message):
    __slots__ = ("port",)
    PORT_FIELD_NUMBER: _ClassVar[int]
    port: int
    def __init__(self, port: _Optional[int] = ...) -> None: ...

class DialBackReply(_message.Message):
    __slots__ = ("found", "address")
    class Found(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        UNKNOWN: _ClassVar[DialBackReply.Found]
        LIBP2P: _ClassVar[DialBackReply.Found]
        NOT_OPEN: _ClassVar[DialBackReply.Found]
        SILENT: _ClassVar[DialBackReply.Found]
        SOMETHING_ELSE: _ClassVar[DialBackReply.Found]
        RELAYED: _ClassVar[DialBackReply.Found]
    UNKNOWN: DialBackReply.Found
    LIBP2P: DialBackReply.Found
    NOT_OPEN: DialBackReply.Found
    SILENT: DialBackReply.Found
    SOMETHING_ELSE: DialBackReply.Found
    RELAYED: DialBackReply.Found
    FOUND_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    found: DialBackReply.Found
    address: str
    def __init__(self, found: _Optional[_Union[DialBackReply.Found, str]] = ..., address: _Optional[str] = ...) -> None: ...

class CutRequest(_message.Message):
    __slots__ = ("attempt", "round", "digest", "spec_hash")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    SPEC_HASH_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    round: int
    digest: bytes
    spec_hash: bytes
    def __init__(self, attempt: _Optional[bytes] = ..., round: _Optional[int] = ..., digest: _Optional[bytes] = ..., spec_hash: _Optional[bytes] = ...) -> None: ...

class CutReply(_message.Message):
    __slots__ = ("tokens", "link", "chunks", "branch")
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    LINK_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    BRANCH_FIELD_NUMBER: _ClassVar[int]
    tokens: int
    link: Link
    chunks: Chunks
    branch: bytes
    def __init__(self, tokens: _Optional[int] = ..., link: _Optional[_Union[Link, _Mapping]] = ..., chunks: _Optional[_Union[Chunks, _Mapping]] = ..., branch: _Optional[bytes] = ...) -> None: ...

class Chunks(_message.Message):
    __slots__ = ("done", "ahead")
    DONE_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    done: _containers.RepeatedScalarFieldContainer[int]
    ahead: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, done: _Optional[_Iterable[int]] = ..., ahead: _Optional[_Iterable[int]] = ...) -> None: ...

class RosterMember(_message.Message):
    __slots__ = ("peer_id", "tokens", "weight", "units", "chunks")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    UNITS_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    tokens: int
    weight: float
    units: int
    chunks: Chunks
    def __init__(self, peer_id: _Optional[str] = ..., tokens: _Optional[int] = ..., weight: _Optional[float] = ..., units: _Optional[int] = ..., chunks: _Optional[_Union[Chunks, _Mapping]] = ...) -> None: ...

class Roster(_message.Message):
    __slots__ = ("attempt", "round", "digest", "codec", "parameters", "members", "leader", "exchange_seconds")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    LEADER_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    round: int
    digest: bytes
    codec: str
    parameters: int
    members: _containers.RepeatedCompositeFieldContainer[RosterMember]
    leader: str
    exchange_seconds: float
    def __init__(self, attempt: _Optional[bytes] = ..., round: _Optional[int] = ..., digest: _Optional[bytes] = ..., codec: _Optional[str] = ..., parameters: _Optional[int] = ..., members: _Optional[_Iterable[_Union[RosterMember, _Mapping]]] = ..., leader: _Optional[str] = ..., exchange_seconds: _Optional[float] = ...) -> None: ...

class Upload(_message.Message):
    __slots__ = ("attempt", "codec")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    codec: str
    def __init__(self, attempt: _Optional[bytes] = ..., codec: _Optional[str] = ...) -> None: ...

class PartAnswer(_message.Message):
    __slots__ = ("waiting", "void", "included", "left_out", "upload")
    WAITING_FIELD_NUMBER: _ClassVar[int]
    VOID_FIELD_NUMBER: _ClassVar[int]
    INCLUDED_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_FIELD_NUMBER: _ClassVar[int]
    waiting: bool
    void: bool
    included: _containers.RepeatedScalarFieldContainer[int]
    left_out: _containers.RepeatedCompositeFieldContainer[LeftOut]
    upload: int
    def __init__(self, waiting: _Optional[bool] = ..., void: _Optional[bool] = ..., included: _Optional[_Iterable[int]] = ..., left_out: _Optional[_Iterable[_Union[LeftOut, _Mapping]]] = ..., upload: _Optional[int] = ...) -> None: ...

class LeftOut(_message.Message):
    __slots__ = ("member", "reason", "part")
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    member: int
    reason: str
    part: int
    def __init__(self, member: _Optional[int] = ..., reason: _Optional[str] = ..., part: _Optional[int] = ...) -> None: ...

class ExchangeReport(_message.Message):
    __slots__ = ("parts", "left_out")
    PARTS_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    parts: _containers.RepeatedCompositeFieldContainer[PartHeld]
    left_out: _containers.RepeatedCompositeFieldContainer[LeftOut]
    def __init__(self, parts: _Optional[_Iterable[_Union[PartHeld, _Mapping]]] = ..., left_out: _Optional[_Iterable[_Union[LeftOut, _Mapping]]] = ...) -> None: ...

class PartHeld(_message.Message):
    __slots__ = ("part", "digest", "included")
    PART_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    INCLUDED_FIELD_NUMBER: _ClassVar[int]
    part: int
    digest: bytes
    included: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, part: _Optional[int] = ..., digest: _Optional[bytes] = ..., included: _Optional[_Iterable[int]] = ...) -> None: ...

class Manifest(_message.Message):
    __slots__ = ("roster", "parts", "tokens", "state_digest", "left_out", "merge")
    ROSTER_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    STATE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    MERGE_FIELD_NUMBER: _ClassVar[int]
    roster: Roster
    parts: _containers.RepeatedCompositeFieldContainer[ManifestPart]
    tokens: int
    state_digest: bytes
    left_out: _containers.RepeatedCompositeFieldContainer[LeftOut]
    merge: Merge
    def __init__(self, roster: _Optional[_Union[Roster, _Mapping]] = ..., parts: _Optional[_Iterable[_Union[ManifestPart, _Mapping]]] = ..., tokens: _Optional[int] = ..., state_digest: _Optional[bytes] = ..., left_out: _Optional[_Iterable[_Union[LeftOut, _Mapping]]] = ..., merge: _Optional[_Union[Merge, _Mapping]] = ...) -> None: ...

class Merge(_message.Message):
    __slots__ = ("digest", "round", "tokens", "common", "common_tokens")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    COMMON_FIELD_NUMBER: _ClassVar[int]
    COMMON_TOKENS_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    round: int
    tokens: int
    common: bytes
    common_tokens: int
    def __init__(self, digest: _Optional[bytes] = ..., round: _Optional[int] = ..., tokens: _Optional[int] = ..., common: _Optional[bytes] = ..., common_tokens: _Optional[int] = ...) -> None: ...

class ManifestPart(_message.Message):
    __slots__ = ("void", "digest", "included", "holders")
    VOID_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    INCLUDED_FIELD_NUMBER: _ClassVar[int]
    HOLDERS_FIELD_NUMBER: _ClassVar[int]
    void: bool
    digest: bytes
    included: _containers.RepeatedScalarFieldContainer[int]
    holders: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, void: _Optional[bool] = ..., digest: _Optional[bytes] = ..., included: _Optional[_Iterable[int]] = ..., holders: _Optional[_Iterable[int]] = ...) -> None: ...

class Ballot(_message.Message):
    __slots__ = ("number", "proposer")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    PROPOSER_FIELD_NUMBER: _ClassVar[int]
    number: int
    proposer: str
    def __init__(self, number: _Optional[int] = ..., proposer: _Optional[str] = ...) -> None: ...

class Decision(_message.Message):
    __slots__ = ("manifest", "reason")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    manifest: Manifest
    reason: str
    def __init__(self, manifest: _Optional[_Union[Manifest, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class AgreementRequest(_message.Message):
    __slots__ = ("attempt", "round", "ballot", "prepare", "accept", "learn")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    BALLOT_FIELD_NUMBER: _ClassVar[int]
    PREPARE_FIELD_NUMBER: _ClassVar[int]
    ACCEPT_FIELD_NUMBER: _ClassVar[int]
    LEARN_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    round: int
    ballot: Ballot
    prepare: bool
    accept: Decision
    learn: Decision
    def __init__(self, attempt: _Optional[bytes] = ..., round: _Optional[int] = ..., ballot: _Optional[_Union[Ballot, _Mapping]] = ..., prepare: _Optional[bool] = ..., accept: _Optional[_Union[Decision, _Mapping]] = ..., learn: _Optional[_Union[Decision, _Mapping]] = ...) -> None: ...

class AgreementReply(_message.Message):
    __slots__ = ("granted", "promised", "accepted_ballot", "accepted", "decided")
    GRANTED_FIELD_NUMBER: _ClassVar[int]
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_BALLOT_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    granted: bool
    promised: Ballot
    accepted_ballot: Ballot
    accepted: Decision
    decided: Decision
    def __init__(self, granted: _Optional[bool] = ..., promised: _Optional[_Union[Ballot, _Mapping]] = ..., accepted_ballot: _Optional[_Union[Ballot, _Mapping]] = ..., accepted: _Optional[_Union[Decision, _Mapping]] = ..., decided: _Optional[_Union[Decision, _Mapping]] = ...) -> None: ...

class PartRequest(_message.Message):
    __slots__ = ("attempt", "parts")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    attempt: bytes
    parts: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, attempt: _Optional[bytes] = ..., parts: _Optional[_Iterable[int]] = ...) -> None: ...

class ManifestRequest(_message.Message):
    __slots__ = ("round", "digest")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    round: int
    digest: bytes
    def __init__(self, round: _Optional[int] = ..., digest: _Optional[bytes] = ...) -> None: ...

class StateHeader(_message.Message):
    __slots__ = ("round", "tokens", "parameters", "parents", "coverage_digest", "blocks_digest")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    PARENTS_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_DIGEST_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_DIGEST_FIELD_NUMBER: _ClassVar[int]
    round: int
    tokens: int
    parameters: int
    parents: _containers.RepeatedScalarFieldContainer[bytes]
    coverage_digest: bytes
    blocks_digest: bytes
    def __init__(self, round: _Optional[int] = ..., tokens: _Optional[int] = ..., parameters: _Optional[int] = ..., parents: _Optional[_Iterable[bytes]] = ..., coverage_digest: _Optional[bytes] = ..., blocks_digest: _Optional[bytes] = ...) -> None: ...

class LineageRequest(_message.Message):
    __slots__ = ("digest", "most")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    MOST_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    most: int
    def __init__(self, digest: _Optional[bytes] = ..., most: _Optional[int] = ...) -> None: ...

class Lineage(_message.Message):
    __slots__ = ("headers",)
    HEADERS_FIELD_NUMBER: _ClassVar[int]
    headers: _containers.RepeatedCompositeFieldContainer[StateHeader]
    def __init__(self, headers: _Optional[_Iterable[_Union[StateHeader, _Mapping]]] = ...) -> None: ...

class StateRequest(_message.Message):
    __slots__ = ("state", "blocks")
    STATE_FIELD_NUMBER: _ClassVar[int]
    BLOCKS_FIELD_NUMBER: _ClassVar[int]
    state: StateName
    blocks: StateBlocks
    def __init__(self, state: _Optional[_Union[StateName, _Mapping]] = ..., blocks: _Optional[_Union[StateBlocks, _Mapping]] = ...) -> None: ...

class StateName(_message.Message):
    __slots__ = ("round", "digest", "described")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    DESCRIBED_FIELD_NUMBER: _ClassVar[int]
    round: int
    digest: bytes
    described: bool
    def __init__(self, round: _Optional[int] = ..., digest: _Optional[bytes] = ..., described: _Optional[bool] = ...) -> None: ...

class StateBlocks(_message.Message):
    __slots__ = ("indexes",)
    INDEXES_FIELD_NUMBER: _ClassVar[int]
    indexes: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, indexes: _Optional[_Iterable[int]] = ...) -> None: ...

class StateReply(_message.Message):
    __slots__ = ("turn", "description", "gone")
    TURN_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    GONE_FIELD_NUMBER: _ClassVar[int]
    turn: StateTurn
    description: StateDescription
    gone: StateOffer
    def __init__(self, turn: _Optional[_Union[StateTurn, _Mapping]] = ..., description: _Optional[_Union[StateDescription, _Mapping]] = ..., gone: _Optional[_Union[StateOffer, _Mapping]] = ...) -> None: ...

class StateTurn(_message.Message):
    __slots__ = ("position", "waiting")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    position: int
    waiting: int
    def __init__(self, position: _Optional[int] = ..., waiting: _Optional[int] = ...) -> None: ...

class StateDescription(_message.Message):
    __slots__ = ("header", "coverage_bytes")
    HEADER_FIELD_NUMBER: _ClassVar[int]
    COVERAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    header: StateHeader
    coverage_bytes: int
    def __init__(self, header: _Optional[_Union[StateHeader, _Mapping]] = ..., coverage_bytes: _Optional[int] = ...) -> None: ...

class StateOffer(_message.Message):
    __slots__ = ("states",)
    STATES_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedCompositeFieldContainer[StateName]
    def __init__(self, states: _Optional[_Iterable[_Union[StateName, _Mapping]]] = ...) -> None: ...

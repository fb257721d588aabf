from swarmpb.v1 import coordinator_pb2 as _coordinator_pb2
from swarmpb.v1 import membership_pb2 as _membership_pb2
from swarmpb.v1 import swarm_pb2 as _swarm_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetAuthorityRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Authority(_message.Message):
    __slots__ = ("public_key",)
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    public_key: bytes
    def __init__(self, public_key: _Optional[bytes] = ...) -> None: ...

class RegisterRunRequest(_message.Message):
    __slots__ = ("spec", "charter", "draft", "invite_only")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    CHARTER_FIELD_NUMBER: _ClassVar[int]
    DRAFT_FIELD_NUMBER: _ClassVar[int]
    INVITE_ONLY_FIELD_NUMBER: _ClassVar[int]
    spec: _coordinator_pb2.SignedSpec
    charter: _membership_pb2.SignedCharter
    draft: bool
    invite_only: bool
    def __init__(self, spec: _Optional[_Union[_coordinator_pb2.SignedSpec, _Mapping]] = ..., charter: _Optional[_Union[_membership_pb2.SignedCharter, _Mapping]] = ..., draft: _Optional[bool] = ..., invite_only: _Optional[bool] = ...) -> None: ...

class SetRunStateRequest(_message.Message):
    __slots__ = ("run_id", "state", "reason", "cooldown_tokens")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COOLDOWN_TOKENS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    state: _membership_pb2.RunState
    reason: str
    cooldown_tokens: int
    def __init__(self, run_id: _Optional[str] = ..., state: _Optional[_Union[_membership_pb2.RunState, str]] = ..., reason: _Optional[str] = ..., cooldown_tokens: _Optional[int] = ...) -> None: ...

class DeleteRunReply(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CreateInviteRequest(_message.Message):
    __slots__ = ("run_id", "uses", "seconds")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    uses: int
    seconds: int
    def __init__(self, run_id: _Optional[str] = ..., uses: _Optional[int] = ..., seconds: _Optional[int] = ...) -> None: ...

class Invite(_message.Message):
    __slots__ = ("run_id", "secret", "expires_at_ms", "uses")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    SECRET_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_MS_FIELD_NUMBER: _ClassVar[int]
    USES_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    secret: str
    expires_at_ms: int
    uses: int
    def __init__(self, run_id: _Optional[str] = ..., secret: _Optional[str] = ..., expires_at_ms: _Optional[int] = ..., uses: _Optional[int] = ...) -> None: ...

class ListMembersRequest(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class ListMembersReply(_message.Message):
    __slots__ = ("members",)
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    members: _containers.RepeatedCompositeFieldContainer[Member]
    def __init__(self, members: _Optional[_Iterable[_Union[Member, _Mapping]]] = ...) -> None: ...

class MemberRequest(_message.Message):
    __slots__ = ("run_id", "peer")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    peer: str
    def __init__(self, run_id: _Optional[str] = ..., peer: _Optional[str] = ...) -> None: ...

class BanPeerRequest(_message.Message):
    __slots__ = ("run_id", "peer", "reason")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    peer: str
    reason: str
    def __init__(self, run_id: _Optional[str] = ..., peer: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class Member(_message.Message):
    __slots__ = ("peer_id", "name", "admitted_at_ms", "certified_until_ms", "invite", "banned", "ban_reason", "phase", "seen_seconds_ago", "tokens", "rounds", "version")
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_AT_MS_FIELD_NUMBER: _ClassVar[int]
    CERTIFIED_UNTIL_MS_FIELD_NUMBER: _ClassVar[int]
    INVITE_FIELD_NUMBER: _ClassVar[int]
    BANNED_FIELD_NUMBER: _ClassVar[int]
    BAN_REASON_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    SEEN_SECONDS_AGO_FIELD_NUMBER: _ClassVar[int]
    TOKENS_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    peer_id: str
    name: str
    admitted_at_ms: int
    certified_until_ms: int
    invite: str
    banned: bool
    ban_reason: str
    phase: str
    seen_seconds_ago: float
    tokens: int
    rounds: int
    version: str
    def __init__(self, peer_id: _Optional[str] = ..., name: _Optional[str] = ..., admitted_at_ms: _Optional[int] = ..., certified_until_ms: _Optional[int] = ..., invite: _Optional[str] = ..., banned: _Optional[bool] = ..., ban_reason: _Optional[str] = ..., phase: _Optional[str] = ..., seen_seconds_ago: _Optional[float] = ..., tokens: _Optional[int] = ..., rounds: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class ListEventsRequest(_message.Message):
    __slots__ = ("run_id", "after", "follow", "newest")
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    NEWEST_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    after: int
    follow: bool
    newest: int
    def __init__(self, run_id: _Optional[str] = ..., after: _Optional[int] = ..., follow: _Optional[bool] = ..., newest: _Optional[int] = ...) -> None: ...

class RunEvent(_message.Message):
    __slots__ = ("number", "at_ms", "run_id", "kind", "peer_id", "round", "text")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    AT_MS_FIELD_NUMBER: _ClassVar[int]
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    PEER_ID_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    number: int
    at_ms: int
    run_id: str
    kind: str
    peer_id: str
    round: int
    text: str
    def __init__(self, number: _Optional[int] = ..., at_ms: _Optional[int] = ..., run_id: _Optional[str] = ..., kind: _Optional[str] = ..., peer_id: _Optional[str] = ..., round: _Optional[int] = ..., text: _Optional[str] = ...) -> None: ...

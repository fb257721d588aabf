"""What the DHT takes: records that their own peers have signed."""

from __future__ import annotations

from google.protobuf.message import DecodeError

from peer.swarm.hivemind_parts import DHTID, DHTRecord, MSGPackSerializer, RecordValidatorBase
from peer.swarm.interface import MAX_RECORD_BYTES
from swarmpb.signing import BadSignatureError, open_envelope
from swarmpb.v1 import swarm_pb2


class SignedRecords(RecordValidatorBase):  # type: ignore[misc]  # hivemind has no types
    """Accepts a DHT record only under its own kind, from the peer whose id is the subkey."""

    def validate(self, record: DHTRecord) -> bool:
        if len(record.value) > MAX_RECORD_BYTES + 16:
            return False
        try:
            peer_id, value = (MSGPackSerializer.loads(it) for it in (record.subkey, record.value))
            envelope = swarm_pb2.Envelope.FromString(value)
            signer, _ = open_envelope(envelope, envelope.kind)
        except (BadSignatureError, DecodeError, ValueError, TypeError):
            return False
        key = DHTID.generate(source=envelope.kind).to_bytes()
        return bool(signer == peer_id and key == record.key)

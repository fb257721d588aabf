"""The streams between the peers of a round, by name and message."""

from __future__ import annotations

from peer.swarm.interface import Method
from swarmpb.v1 import swarm_pb2

_SMALL = 64 * 1024
_ROSTER = 4 << 20
"""64 members, each with thousands of chunks."""

CUT = Method("cut", swarm_pb2.CutRequest, swarm_pb2.CutReply, _SMALL)
ROSTER = Method("roster", swarm_pb2.Roster, swarm_pb2.ExchangeReport, _ROSTER, _ROSTER)
EXCHANGE = Method("exchange", swarm_pb2.Upload, swarm_pb2.PartAnswer, 8 * _SMALL)
PART = Method("part", swarm_pb2.PartRequest, swarm_pb2.PartAnswer, 8 * _SMALL)
AGREEMENT = Method(
    "agreement", swarm_pb2.AgreementRequest, swarm_pb2.AgreementReply, _ROSTER, _ROSTER
)
MANIFEST = Method("manifest", swarm_pb2.ManifestRequest, swarm_pb2.Manifest, _ROSTER)
LINEAGE = Method("lineage", swarm_pb2.LineageRequest, swarm_pb2.Lineage, _ROSTER)

"""The streams between the peers of a round, by name and message."""

from __future__ import annotations

from peer.swarm.interface import Method
from swarmpb.v1 import swarm_pb2

_SMALL = 64 * 1024

CUT = Method("cut", swarm_pb2.CutRequest, swarm_pb2.CutReply, _SMALL)
ROSTER = Method("roster", swarm_pb2.Roster, swarm_pb2.ExchangeReport, 4 * _SMALL, 4 * _SMALL)
EXCHANGE = Method("exchange", swarm_pb2.Upload, swarm_pb2.PartAnswer, 8 * _SMALL)
PART = Method("part", swarm_pb2.PartRequest, swarm_pb2.PartAnswer, 8 * _SMALL)
AGREEMENT = Method(
    "agreement", swarm_pb2.AgreementRequest, swarm_pb2.AgreementReply, 4 * _SMALL, 4 * _SMALL
)
MANIFEST = Method("manifest", swarm_pb2.ManifestRequest, swarm_pb2.Manifest, 4 * _SMALL)

"""The version of everything that peers and coordinators must agree on to understand each other."""

from __future__ import annotations

# Grows with every change of a message, an RPC, a codec's bytes or the arithmetic of a round.
PROTOCOL_VERSION = 5
SOFTWARE_VERSION = "0.1.0"

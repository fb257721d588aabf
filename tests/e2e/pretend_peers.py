"""The peers of a run that never was."""

from __future__ import annotations

import random

from coordinator.spectators.views import Participant

ROUNDS = 2_140
ROUND_SECONDS = 372.0
_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MACHINES = (
    ("AMD Ryzen 9 7950X", 16, 64, "NVIDIA GeForce RTX 4090", "Linux", 9800.0),
    ("AMD Ryzen 7 5800X", 8, 32, "NVIDIA GeForce RTX 3080", "Linux", 5200.0),
    ("Apple M3 Max", 14, 36, "Apple M3 Max", "Darwin", 2900.0),
    ("Apple M1", 8, 16, "Apple M1", "Darwin", 900.0),
    ("Intel Core i5-12400", 6, 16, "", "Linux", 210.0),
    ("AMD EPYC 7763", 64, 256, "NVIDIA A100 80GB", "Linux", 14800.0),
)
_ADJECTIVES = ("quiet", "amber", "brisk", "early", "lone", "pale", "salt", "wild", "dusky", "slow")
_BIRDS = ("heron", "plover", "dunlin", "wren", "swift", "knot", "finch", "rook", "teal", "siskin")
_CLUSTERS = range(20, 31)
"""Some machines are whole rooms."""
MISSES = (
    "left out: arrived 3.2 s late",
    "left out: silent for 3 s while it sent part 4 of 8",
    "refused: not finite",
)


def peer(number: int, chance: random.Random, now: float, name: str = "") -> Participant:
    """One of them: `number` from 0 on, of all that `chance` makes up; `name` if it has one."""
    processor, cores, memory, accelerator, system, speed = chance.choice(_MACHINES)
    if number in _CLUSTERS:
        speed *= chance.uniform(5, 14)
    live = chance.random() < 0.62 or number < 12
    rounds = int(ROUNDS * chance.random() ** 2) + 1
    missed = int(chance.random() ** 3 * 40)
    made_up = f"{chance.choice(_ADJECTIVES)}-{chance.choice(_BIRDS)}-{chance.randrange(10, 99)}"
    phase, reason = chance.choice(
        [("training", ""), ("training", ""), ("averaging", "round 2141, part 3 of 8")]
        + [("syncing", "61 % of the state, from 4 peers")] * (number % 9 == 8)
    )
    tokens = int(rounds * speed * ROUND_SECONDS * chance.uniform(0.5, 1.0))
    return Participant(
        peer_id="Qm" + "".join(chance.choices(_ALPHABET, k=44)),
        name=name or made_up,
        live=live,
        phase=phase if live else "stopped",
        reason=reason if live else "its user stopped it",
        tokens=(tokens := int(rounds * speed * ROUND_SECONDS * chance.uniform(0.5, 1.0))),
        observed_tokens=tokens - tokens // 50,
        share=0.0,
        tokens_per_second=speed * chance.uniform(0.7, 1.1) if live else 0.0,
        train_loss=2.31 + chance.gauss(0, 0.05),
        round=ROUNDS if live else rounds,
        rounds=rounds,
        rounds_missed=missed,
        last_missed_reason=chance.choice(MISSES) if missed else "",
        processor=processor,
        cores=cores,
        memory_bytes=memory << 30,
        accelerator=accelerator,
        system=system,
        version=chance.choice(["0.1.0", "0.1.0", "0.1.1"]),
        upload=int(chance.uniform(0.6e6, 12e6)),
        download=int(chance.uniform(3e6, 60e6)),
        reach=chance.choice(["direct", "relayed", "outgoing only"]),
        energy_joules=tokens * 0.9 if number % 3 else 0.0,
        seen_seconds_ago=chance.uniform(0, 9) if live else chance.uniform(120, 6e5),
        joined_at=now - rounds * ROUND_SECONDS - 4000,
        banned=number % 311 == 310,
    )

"""Where each figure that is shown comes from; the HTTP interface publishes it.

*Self-reported* is one peer's word about itself, *observed* what the coordinator saw or several
peers told alike, *derived* what is computed here from the others.
"""

from __future__ import annotations

from typing import Literal

Source = Literal["self-reported", "observed", "derived"]

PROVENANCE: dict[str, Source] = {
    # sums of receipts, each of which says whether others told of it or only the peer itself
    "tokens": "derived",
    "observed_tokens": "observed",
    "rounds": "derived",
    "rounds_missed": "derived",
    "last_missed_reason": "derived",
    "share": "derived",
    "place": "derived",
    "claimed_tokens": "self-reported",
    "merged_tokens": "derived",
    "included": "derived",
    "witnesses": "observed",
    # of the run as a whole: the highest that anybody told
    "RunLine.tokens": "self-reported",
    "RunOverview.tokens": "self-reported",
    "RoundLine.tokens": "self-reported",
    "RoundSeries.tokens": "self-reported",
    "LossPoint.tokens": "self-reported",
    "round": "self-reported",
    "rounds_committed": "derived",
    "rounds_void": "derived",
    "digests": "derived",
    "digests_agree": "derived",
    "members_count": "self-reported",
    "progress": "derived",
    "seconds_left": "derived",
    "condition": "derived",
    # what peers say of themselves
    "tokens_per_second": "self-reported",
    "train_loss": "self-reported",
    "validation_loss": "self-reported",
    "first_validation_loss": "self-reported",
    "loss": "self-reported",
    "text_seen_once": "self-reported",
    "text_seen_again": "self-reported",
    "passes": "self-reported",
    "computing_seconds": "self-reported",
    "exchange_seconds": "self-reported",
    "bytes": "self-reported",
    "bytes_sent": "self-reported",
    "bytes_sent_per_round": "self-reported",
    "phase": "self-reported",
    "reason": "self-reported",
    "RunOverview.reason": "derived",
    "version": "self-reported",
    "hardware": "self-reported",
    "processor": "self-reported",
    "cores": "self-reported",
    "memory_bytes": "self-reported",
    "accelerator": "self-reported",
    "system": "self-reported",
    "bandwidth": "self-reported",
    "upload": "self-reported",
    "download": "self-reported",
    "reach": "self-reported",
    "energy_joules": "self-reported",
    # what the coordinator sees by itself
    "peers_live": "observed",
    "peers_ever": "observed",
    "live": "observed",
    "seen_seconds_ago": "observed",
    "joined_at": "observed",
    "report_seconds_ago": "observed",
    "last_round_seconds_ago": "observed",
    "validation_seconds_ago": "observed",
}
"""By a field's name, or where it means something else by class and name; `hardware`, `bandwidth`
and `bytes` stand for several fields together."""


def source_of(view: str, field: str) -> Source | None:
    """Of a field of `views`; None for what is no figure."""
    return PROVENANCE.get(f"{view}.{field}", PROVENANCE.get(field))

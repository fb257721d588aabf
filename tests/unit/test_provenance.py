"""Every figure that is shown says where it comes from, and nothing else claims to be one."""

from __future__ import annotations

import dataclasses
import inspect

from coordinator.commands import display
from coordinator.spectators import views
from coordinator.spectators.provenance import PROVENANCE, source_of
from swarmpb.v1 import coordinator_pb2

NO_FIGURES = {
    "at", "banned", "committed", "created_at", "description", "invite_only",
    "join_command", "key", "kept_since", "kind", "members", "model", "name", "now", "number",
    "observed", "offset", "older", "owner", "parameters", "peer_id", "period",
    "rows", "run_id", "since", "spec_hash", "state", "target_tokens", "text", "total", "training",
    "validation", "validation_round", "values", "void",
}  # fmt: skip
"""Names, moments, places in a list, what the owner has fixed, and what holds other views."""
TOGETHER = {"hardware", "bandwidth", "bytes"}


def fields() -> set[tuple[str, str]]:
    """(view, field) of everything that is shown."""
    return {
        (name, field.name)
        for name, view in inspect.getmembers(views, dataclasses.is_dataclass)
        for field in dataclasses.fields(view)
    }


def test_every_figure_says_where_it_comes_from() -> None:
    unknown = {
        (view, field)
        for view, field in fields()
        if source_of(view, field) is None and field not in NO_FIGURES
    }
    assert unknown == set()
    assert {field for _, field in fields()} >= NO_FIGURES


def test_sources_are_told_of_what_there_is() -> None:
    known = {field for _, field in fields()} | {f"{view}.{field}" for view, field in fields()}
    assert PROVENANCE.keys() - known == TOGETHER


def test_nobodys_own_word_passes_for_what_others_saw() -> None:
    told_by_itself = ("tokens_per_second", "processor", "reach", "train_loss", "claimed_tokens")
    assert {PROVENANCE[name] for name in told_by_itself} == {"self-reported"}
    assert source_of("RunOverview", "tokens") == "self-reported"
    assert source_of("Participant", "tokens") == "derived"
    assert source_of("Participant", "observed_tokens") == "observed"


def test_a_terminal_says_the_same_of_the_same_figures() -> None:
    for name, source in display.SOURCES.items():
        view, field = (
            ("Participant", name[6:]) if name.startswith("peers.") else ("RunOverview", name)
        )
        assert source_of(view, field) in (source, None), name


def test_the_share_of_tokens_that_others_told_of_is_shown() -> None:
    peers = [coordinator_pb2.PeerProgress(tokens=300, observed_tokens=it) for it in (300, 100)]
    assert display.sources(peers).startswith("peers' tokens 66 % told by others; ")
    assert display.sources(peers[:0] or [coordinator_pb2.PeerProgress()]).startswith(
        "peers' tokens told by others"
    )

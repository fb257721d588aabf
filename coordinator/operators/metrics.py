"""What Prometheus is told: figures of runs when it asks, counts of what was done as it is done.

No label has a peer in it: a run may have thousands, and strangers choose how many. Labels are runs,
which only owners make, and words from lists that are written here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from coordinator.domain import Event, RunFacts
from swarmpb.version import SOFTWARE_VERSION

CONTENT_TYPE = CONTENT_TYPE_LATEST

LATENCIES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
"""Seconds; a report's answer takes 50 ms at most, the 99th percentile of them."""
BATCHES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class RunsRead(Protocol):
    """Where the figures of runs come from; read in the service's thread."""

    def run_figures(self) -> Iterable[tuple[str, Mapping[str, float | None]]]:
        """By run, its figures by the names in `RUN_FIGURES`; None: there is none."""


RUN_FIGURES = {
    "peers_live": "Peers that reported in the last 15 s and have not left.",
    "peers_known": "Peers that have ever reported and are not forgotten.",
    "round": "The highest round that anybody has reached.",
    "rounds_committed": "Rounds that were committed.",
    "rounds_void": "Attempts at rounds that came to nothing.",
    "tokens_merged": "Tokens merged in the run.",
    "tokens_target": "Tokens at which the run ends.",
    "tokens_per_second": "Tokens trained each second by the live peers, as they say.",
    "train_loss": "Training loss of the live peers, nats per token, weighted by their speed.",
    "validation_loss": "Newest loss on held-out text, nats per token.",
    "digests_agree": "1 if the members of each round told one digest of its state, 0 if not.",
    "diverged": "1 from a divergence until it is healed.",
    "stalled": "1 while enough peers are live and no round is committed for long.",
    "last_commit_timestamp_seconds": "When the newest round was committed, unix seconds.",
    "sent_bytes_per_round": "Median of what a member of a committed round has sent.",
}


class Metrics:
    """All figures of one coordinator, in a registry of their own. Counting is thread-safe."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.registry.register(_Version())
        self.reports = Counter(
            "murmuration_reports",
            "Progress reports, by what became of them.",
            ["result"],
            registry=self.registry,
        )
        self.report_seconds = Histogram(
            "murmuration_report_seconds",
            "From the arrival of a report until its answer.",
            buckets=LATENCIES,
            registry=self.registry,
        )
        self.batch = Histogram(
            "murmuration_report_batch_size",
            "Reports that were written to the disk together.",
            buckets=BATCHES,
            registry=self.registry,
        )
        self.calls = Counter(
            "murmuration_grpc_calls",
            "gRPC calls that ended, by method and status.",
            ["method", "code"],
            registry=self.registry,
        )
        self.http = Counter(
            "murmuration_http_requests",
            "HTTP requests that were answered, by status.",
            ["code"],
            registry=self.registry,
        )
        self.webhooks = Counter(
            "murmuration_webhook_deliveries",
            "Attempts to deliver an event to a webhook, by what became of them.",
            ["result"],
            registry=self.registry,
        )
        self._events = Counter(
            "murmuration_events",
            "What happened to runs since this coordinator started.",
            ["run_id", "kind"],
            registry=self.registry,
        )

    def happened(self, events: Iterable[Event]) -> None:
        """Count events; a listener of the event log."""
        for event in events:
            self._events.labels(event.run_id, event.kind.value).inc()

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A figure without labels that is read when Prometheus asks."""
        self.registry.register(_Reading(name, text, read))

    def read_runs(self, runs: RunsRead) -> None:
        """Where the figures of runs come from."""
        self.registry.register(_Runs(runs))

    def exposition(self) -> bytes:
        """The page that Prometheus reads. Called in the service's thread."""
        return generate_latest(self.registry)


def figures(
    facts: RunFacts, target_tokens: int, peers_known: int, stands: Mapping[str, float | None]
) -> dict[str, float | None]:
    """A run's figures by their names. `stands`: those that its events tell."""
    return {
        "peers_live": facts.peers_live,
        "peers_known": peers_known,
        "round": facts.round,
        "rounds_committed": facts.rounds_committed,
        "rounds_void": facts.rounds_void,
        "tokens_merged": facts.tokens,
        "tokens_target": target_tokens,
        "tokens_per_second": facts.tokens_per_second,
        "train_loss": facts.train_loss,
        "validation_loss": facts.validation_loss,
        "digests_agree": facts.digests_agree,
        "sent_bytes_per_round": facts.bytes_sent_per_round,
        **stands,
    }


class _Runs(Collector):
    def __init__(self, runs: RunsRead) -> None:
        self._runs = runs

    def describe(self) -> Iterator[Metric]:
        """Names without figures: registering asks for them, and no thread of ours is there yet."""
        yield from self._families().values()

    def collect(self) -> Iterator[Metric]:
        families = self._families()
        for run_id, told in self._runs.run_figures():
            for name, value in told.items():
                if value is not None:
                    families[name].add_metric([run_id], float(value))
        yield from families.values()

    def _families(self) -> dict[str, GaugeMetricFamily]:
        return {
            name: GaugeMetricFamily(f"murmuration_run_{name}", text, labels=["run_id"])
            for name, text in RUN_FIGURES.items()
        }


class _Reading(Collector):
    def __init__(self, name: str, text: str, read: Callable[[], float]) -> None:
        self._name, self._text, self._read = name, text, read

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(self._name, self._text)

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(self._name, self._text, value=self._read())


class _Version(Collector):
    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily(
            "murmuration_coordinator", "This coordinator.", value={"version": SOFTWARE_VERSION}
        )

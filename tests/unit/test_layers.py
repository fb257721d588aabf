"""Imports point one way: read from the syntax tree of every module of the project."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_LINES = 350

PURE = {
    "peer.averaging.agreement",
    "peer.averaging.codec_names",
    "peer.averaging.codecs",
    "peer.averaging.coverage",
    "peer.averaging.feedback",
    "peer.averaging.lineage",
    "peer.averaging.links",
    "peer.averaging.malformed",
    "peer.averaging.manifest",
    "peer.averaging.own_codec",
    "peer.averaging.parts",
    "peer.averaging.roster",
    "peer.averaging.sparse",
    "peer.averaging.state",
    "peer.checkpoint_manifest",
    "peer.condition",
    "peer.doctor.findings",
    "peer.doctor.traffic",
    "peer.doctor.verdict",
    "peer.halves",
    "peer.limits.cooling",
    "peer.limits.hours",
    "peer.limits.month",
    "peer.limits.units",
    "peer.machine",
    "peer.members",
    "peer.membership",
    "peer.orders",
    "peer.resting.due",
    "peer.resting.rest",
    "peer.swarm.bucket",
    "peer.swarm.dial_quota",
    "peer.swarm.reach",
    "peer.service.description",
    "peer.service.launchd",
    "peer.service.outcomes",
    "peer.service.systemd",
    "peer.support.hiding",
    "peer.limits.memory_guard",
    "peer.training.allowance",
    "peer.training.lease_queue",
    "peer.training.pace",
    "peer.training.run_tokens",
    "peer.training.shuffle",
    "peer.transfer.candidates",
    "peer.transfer.incoming",
    "peer.transfer.messages",
    "peer.transfer.pace",
    "peer.transfer.pins",
    "peer.transfer.progress",
    "peer.transfer.turns",
    "peer.outlook",
    "peer.limits.words",
    "peer.loss_history",
    "peer.round_ahead",
    "peer.screen.curve",
    "peer.screen.frame",
    "peer.screen.line",
    "peer.screen.plain",
    "peer.screen.words",
    "coordinator.reports.asking",
    "coordinator.reports.crediting",
    "coordinator.spectators.condition",
    "coordinator.spectators.headline",
    "coordinator.spectators.participants",
    "coordinator.happenings.happening",
    "coordinator.happenings.presence",
    "coordinator.happenings.rounds",
    "coordinator.happenings.watch",
    "coordinator.membership.peer_names",
    "coordinator.membership.people",
    "coordinator.reports.pace",
    "coordinator.reports.progress",
    "coordinator.reports.receipts",
    "swarmpb.redaction",
    "coordinator.membership.run_life",
    "coordinator.happenings.stalling",
    "swarmpb.endpoints",
}
IMPURE = {
    "anyio", "asyncio", "grpc", "hivemind", "os", "random", "secrets", "socket", "subprocess",
    "threading", "time", "torch", "transformers",
}  # fmt: skip


def module_name(path: Path) -> str:
    parts = list(path.relative_to(ROOT).with_suffix("").parts)
    if parts[0] == "proto":
        del parts[0]
    if parts[-1] == "__init__":
        del parts[-1]
    return ".".join(parts)


@lru_cache
def modules() -> dict[str, ast.Module]:
    """The syntax trees of all modules that are installed, by name."""
    found = {}
    for folder in ("peer", "coordinator", "proto"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "_pb2" not in path.name and path.name != "generate.py":
                found[module_name(path)] = ast.parse(path.read_text(encoding="utf-8"))
    return found


def imports(tree: ast.Module) -> Iterator[str]:
    """Every name that a module imports anywhere in it, `from a import b` as `a.b`."""
    for found in ast.walk(tree):
        if isinstance(found, ast.Import):
            yield from (alias.name for alias in found.names)
        elif isinstance(found, ast.ImportFrom):
            assert found.level == 0, "relative imports hide where they point"
            yield from (f"{found.module}.{alias.name}" for alias in found.names)


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


def importers(package: str) -> set[str]:
    """The modules that import anything of `package`."""
    return {
        name for name, tree in modules().items() if any(within(it, package) for it in imports(tree))
    }


def test_the_modules_are_found() -> None:
    assert {"peer.runtime", "peer.averaging", "coordinator.server", "swarmpb.spec"} <= set(
        modules()
    )
    assert "peer.runtime" in set(imports(ast.parse("def f():\n    import peer.runtime")))
    assert importers("numpy") > {"peer.averaging.codecs"}


@pytest.mark.parametrize(
    ("package", "homes"),
    [
        ("hivemind", ["peer.swarm"]),
        ("torch", ["peer.training"]),
        ("transformers", ["peer.training", "swarmpb.architecture"]),
    ],
)
def test_heavy_packages_stay_where_they_belong(package: str, homes: list[str]) -> None:
    elsewhere = {name for name in importers(package) if not within(name, *homes)}
    assert not elsewhere
    assert importers(package), "nobody imports it: this test looks at nothing"


def test_training_does_not_know_the_swarm_and_the_peer_not_the_coordinator() -> None:
    assert not {name for name in importers("peer.swarm") if within(name, "peer.training")}
    assert not {name for name in importers("peer.averaging") if within(name, "peer.training")}
    assert not {name for name in importers("coordinator") if not within(name, "coordinator")}


def test_messages_know_neither_peer_nor_coordinator() -> None:
    for package in ("peer", "coordinator"):
        assert not {name for name in importers(package) if within(name, "swarmpb")}


def test_the_swarm_and_averaging_do_not_know_the_daemon() -> None:
    below = ("peer.swarm", "peer.averaging", "swarmpb")
    for name, tree in modules().items():
        if within(name, "peer.swarm", "peer.averaging"):
            above = {it for it in imports(tree) if within(it, "peer") and not within(it, *below)}
            assert not above, name
        if within(name, "peer.swarm"):
            assert not {it for it in imports(tree) if within(it, "peer.averaging")}, name


def test_the_coordinator_shares_messages_its_dht_peer_and_the_lock_with_a_peer() -> None:
    shared = ("peer.swarm.libp2p", "peer.swarm.dial_back", "peer.swarm.clock", "peer.runtime")
    for name, tree in modules().items():
        if within(name, "coordinator"):
            others = {it for it in imports(tree) if within(it, "peer") and not within(it, *shared)}
            assert not others, name


def reached(start: str) -> dict[str, str]:
    """The project's modules that a module imports directly or not, each with who imports it."""
    found, waiting = {start: start}, [start]
    while waiting:
        importer = waiting.pop()
        for name in imports(modules()[importer]):
            target = name if name in modules() else name.rpartition(".")[0]
            if target in modules() and target not in found:
                found[target] = importer
                waiting.append(target)
    return found


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_modules_have_neither_clock_nor_network_nor_chance(name: str) -> None:
    impure = {it for it in imports(modules()[name]) if within(it, *IMPURE)}
    assert not impure


@pytest.mark.parametrize("name", sorted(PURE))
def test_pure_modules_reach_nothing_that_runs(name: str) -> None:
    running = ("anyio", "asyncio", "grpc", "hivemind", "socket", "subprocess", "torch")
    for module, importer in reached(name).items():
        impure = {it for it in imports(modules()[module]) if within(it, *running)}
        assert not impure, f"{name} reaches {module} through {importer}"


def calls(tree: ast.Module) -> Iterator[ast.Call]:
    return (it for it in ast.walk(tree) if isinstance(it, ast.Call))


def test_nothing_that_arrives_is_run() -> None:
    for package in ("pickle", "cloudpickle", "dill", "marshal", "shelve"):
        assert not importers(package), package
    for name, tree in modules().items():
        for call in calls(tree):
            called = ast.unparse(call.func)
            assert called not in ("torch.load", "eval", "exec", "compile", "__import__"), name
            arguments = {it.arg: ast.unparse(it.value) for it in call.keywords}
            assert arguments.get("trust_remote_code", "False") == "False", name
            assert arguments.get("allow_pickle", "False") == "False", name
            assert arguments.get("shell", "False") == "False", name


def test_nobody_imports_a_package_that_others_own() -> None:
    """`proto` is that of the PyPI package proto-plus wherever that is installed."""
    assert not importers("proto")


def test_files_stay_small_enough_to_read() -> None:
    long = {}
    for folder in ("peer", "coordinator", "proto/swarmpb"):
        for path in (ROOT / folder).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > MOST_LINES and "_pb2" not in path.name:
                long[module_name(path)] = lines
    assert not long

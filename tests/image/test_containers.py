"""`deploy/compose.yaml` in real containers: they join, train, leave, come back as who they were.

The containers are runc's, with what the file asks for: a read-only root file system, no capability,
no new privileges, the engines' seccomp profile, limited memory, a network of their own. What is not
tested is the engine itself: its name server, its published ports, its restarts.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e.processes import eventually
from tests.image.composed import Project, project
from tests.image.containers import Container
from tests.image.image import Image

RUN = "my-run"
READY_SECONDS = 180.0
MOUNTS = "/proc/self/mountinfo"
LEAVE_SECONDS = 10.0
"""What we promise of a peer; a cloud gives 30 s at least."""


@dataclass
class Swarm:
    """The project after `docker compose --profile cpu up`."""

    project: Project
    coordinator: Container
    peers: list[Container]

    def status(self, number: int) -> dict[str, Any] | None:
        """What a peer says of itself; None while it starts."""
        asked = self.peers[number].inside("peer", "status", "--json")
        found: dict[str, Any] = json.loads(asked.stdout) if asked.returncode == 0 else {}
        return found or None

    def until_merged(self, number: int) -> dict[str, Any]:
        """Wait for a round that has merged the peer's work."""

        def look() -> dict[str, Any] | None:
            assert self.peers[number].process.poll() is None, self.peers[number].told()
            status = self.status(number)
            return status if status and status["tokens"] > 0 else None

        return eventually(look, READY_SECONDS, "a round with its work", self.peers[number].told)


@pytest.fixture(scope="module")
def swarm(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swarm]:
    with project(tmp_path_factory.mktemp("murmuration"), image, RUN=RUN) as it:
        coordinator = it.up("coordinator")
        coordinator.out.wait_for("join with: ", READY_SECONDS)
        # as the file describes it for a run of one's own; this one will not end meanwhile
        spec = coordinator.output("coordinator", "run", "preset", "demo")
        spec = re.sub("(?m)^run_id = .*", f'run_id = "{RUN}"', spec)
        spec = re.sub("(?m)^tokens = .*", "tokens = 1_000_000_000", spec)
        create = "cat > /tmp/run.toml; coordinator run create --invite-only /tmp/run.toml"
        coordinator.output("sh", "-c", create, given=spec)
        link = it.up("link")
        assert link.wait(READY_SECONDS) == 0, link.told()
        yield Swarm(it, coordinator, [it.up("peer-1"), it.up("peer-2")])


def test_the_link_is_for_the_peers_only_and_names_the_certificate(swarm: Swarm) -> None:
    swarm.until_merged(0)
    path = swarm.project.volume("join") / "link"
    link = path.read_text().strip()
    assert re.fullmatch(
        rf"murmuration://coordinator:7700/{RUN}/pin=[0-9a-f]{{64}}/invite=[\w-]+", link
    )
    assert path.stat().st_mode & 0o777 == 0o600
    assert link not in swarm.peers[0].output("sh", "-c", "cat /proc/*/cmdline")


def test_peers_join_over_tls_and_average_their_work(swarm: Swarm) -> None:
    statuses = [swarm.until_merged(number) for number in (0, 1)]
    assert [it["run_id"] for it in statuses] == [RUN, RUN]
    assert statuses[0]["peer_id"] != statuses[1]["peer_id"]


def test_nothing_can_be_written_but_its_volumes_and_nothing_gained(swarm: Swarm) -> None:
    peer = swarm.peers[0]
    swarm.until_merged(0)
    for place in ("/", "/etc", "/opt/murmuration", "/join"):
        assert peer.inside("touch", f"{place}/x").returncode != 0, place
    for place in ("/state", "/tmp"):  # noqa: S108  in the container
        peer.output("touch", f"{place}/x")
    mounted = peer.output("sed", "-n", r"s/.* \(\/\|\/join\) \(r[wo]\),.*/\1 \2/p", MOUNTS)
    assert sorted(mounted.splitlines()) == ["/ ro", "/join ro"]
    assert peer.output("id", "-u") == peer.output("id", "-g") == "10001\n"
    status = dict(line.split(":\t") for line in peer.output("cat", "/proc/1/status").splitlines())
    assert int(status["CapBnd"], 16) == int(status["CapEff"], 16) == 0
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    assert peer.output("cat", "/proc/1/comm").strip() == "tini"


def test_its_health_is_that_of_whichever_of_the_two_it_is(swarm: Swarm) -> None:
    swarm.until_merged(0)
    assert swarm.peers[0].is_healthy()
    assert swarm.coordinator.is_healthy()


def test_sigterm_leaves_in_time_and_a_new_container_goes_on_as_the_same_peer(
    swarm: Swarm, capsys: pytest.CaptureFixture[str]
) -> None:
    before = swarm.until_merged(1)
    began = time.monotonic()
    code = swarm.peers[1].stop(LEAVE_SECONDS)
    took = time.monotonic() - began
    with capsys.disabled():
        print(f"\nSIGTERM: left after {took:.1f} s")
    assert code == 0, swarm.peers[1].told()
    assert "stopped: asked to leave" in swarm.peers[1].out.to_the_end()
    swarm.peers[1] = swarm.project.up("peer-2")
    after = swarm.until_merged(1)
    assert after["peer_id"] == before["peer_id"]
    assert after["round"] >= before["round"]


def test_leave_by_hand_as_kubernetes_has_it_ends_the_container(swarm: Swarm) -> None:
    swarm.until_merged(0)
    # its exit code says nothing: the container ends with the peer, and takes the command with it
    assert swarm.peers[0].inside("peer", "leave").stdout.startswith("leaving\n")
    assert swarm.peers[0].wait(LEAVE_SECONDS) == 0
    swarm.peers[0] = swarm.project.up("peer-1")
    swarm.until_merged(0)


def test_a_new_coordinator_on_the_same_volume_is_the_one_that_the_link_names(
    swarm: Swarm,
) -> None:
    link = (swarm.project.volume("join") / "link").read_text()
    assert swarm.coordinator.stop(LEAVE_SECONDS) == 0
    swarm.coordinator = swarm.project.up("coordinator")
    swarm.coordinator.out.wait_for("join with: ", READY_SECONDS)
    again = swarm.project.up("link")
    assert again.wait(READY_SECONDS) == 0, again.told()
    fresh = (swarm.project.volume("join") / "link").read_text()
    assert fresh.partition("/invite=")[0] == link.partition("/invite=")[0]
    runs = json.loads(swarm.coordinator.output("coordinator", "run", "list", "--json"))
    assert RUN in {it["run_id"] for it in runs}

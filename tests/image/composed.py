"""`deploy/compose.yaml` acted out: its services as containers, without an engine."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.image.containers import Container, Network, Wanted, network, volume
from tests.image.image import ROOT, Image

FILE = ROOT / "deploy/compose.yaml"


def resolved(**environment: str) -> dict[str, Any]:
    """What docker-compose makes of the file with all profiles: anchors, variables, defaults.

    Debian's is of before `name:`, which the file therefore comes without.
    """
    text = "".join(
        line for line in FILE.read_text().splitlines(keepends=True) if not line.startswith("name:")
    )
    folder = str(FILE.parent)
    done = subprocess.run(
        (
            *("docker-compose", "--file", "-", "--project-directory", folder),
            *("--profile", "cpu", "--profile", "gpu", "config"),
        ),
        input=text,
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout.replace("$$", "$"))
    return found


class Project:
    """The services of the file, to be started one by one."""

    def __init__(self, folder: Path, image: Image, network: Network, **environment: str) -> None:
        """environment: the variables of the file."""
        self._folder = folder
        self._image = image
        self._network = network
        self._services = resolved(**environment)["services"]
        self._running: dict[str, Container] = {}
        for name in ("coordinator", "peer-1", "peer-2"):
            network.host(name)

    def up(self, name: str) -> Container:
        """A new container of a service; its volumes are those of the one before."""
        if name in self._running:
            self._running[name].remove()
        self._running[name] = Container(self._folder, name, self._image, self._wanted(name))
        return self._running[name]

    def volume(self, name: str, mounted_at: str = "/state") -> Path:
        """Where a named volume lies."""
        path = self._folder / "volumes" / name
        return path if path.exists() else volume(path, self._image, mounted_at)

    def down(self) -> None:
        """End all containers."""
        for container in self._running.values():
            container.remove()

    def _wanted(self, name: str) -> Wanted:
        service = self._services[name]
        # what every container of `Container` is: so the file has to ask for it
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        host = service.get("network_mode", f"service:{name}").removeprefix("service:")
        volumes = []
        for told in service["volumes"]:
            source, place, mode = told.split(":")
            volumes.append((self.volume(source, place), place, mode == "rw"))
        return Wanted(
            command=service["command"],
            network=self._network.host(host),
            hosts=self._network.hosts,
            environment=service.get("environment") or {},
            volumes=volumes,
            temporary=dict(told.split(":", 1) for told in service["tmpfs"]),
            memory=int(service["mem_limit"].removesuffix("g").removesuffix("m"))
            << (30 if service["mem_limit"].endswith("g") else 20),
        )


@contextmanager
def project(folder: Path, image: Image, **environment: str) -> Iterator[Project]:
    """A project that ends all its containers; `folder` has to have a name of its own."""
    with network(folder.name) as lan:
        it = Project(folder, image, lan, **environment)
        try:
            yield it
        finally:
            it.down()

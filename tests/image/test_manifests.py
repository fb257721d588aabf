"""What deploys the image, checked with its own tools; and the notice of a cloud, played."""

from __future__ import annotations

import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.image.composed import FILE, resolved
from tests.image.conftest import needs
from tests.image.image import ROOT, run

DEPLOY = ROOT / "deploy"
LEAVE_SECONDS = 10
"""What a peer takes at most to leave."""


# ---- Dockerfile and compose.yaml -------------------------------------------------------


def test_the_linter_of_dockerfiles_has_nothing_to_say() -> None:
    needs("hadolint")
    run("hadolint", "--failure-threshold", "info", DEPLOY / "Dockerfile")


def test_what_is_built_from_is_named_file_by_file() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    rules = [it for it in lines if it and not it.startswith("#")]
    assert rules[0] == "*"
    let_in = {it[1:] for it in rules if it.startswith("!")}
    assert let_in == {
        *("constraints.txt", "pyproject.toml", "README.md", "coordinator", "peer", "proto")
    }


def test_the_compose_file_is_one() -> None:
    needs("check-jsonschema")
    run("check-jsonschema", "--builtin-schema", "vendor.compose-spec", FILE)


def test_each_service_of_the_compose_file_is_as_narrow_as_it_can_be() -> None:
    needs("docker-compose")
    services = resolved()["services"]
    by_profile = {name: it.get("profiles") for name, it in services.items()}
    assert by_profile == {
        "coordinator": None,
        "link": None,
        **{f"peer-{number}": ["cpu"] for number in (1, 2)},
        **{f"gpu-peer-{number}": ["gpu"] for number in (1, 2)},
    }
    for name, it in services.items():
        assert it["read_only"], name
        assert it["cap_drop"] == ["ALL"], name
        assert it["security_opt"] == ["no-new-privileges:true"], name
        assert "mem_limit" in it, name
        assert int(it["stop_grace_period"].removesuffix("s")) > LEAVE_SECONDS, name
        assert "privileged" not in it, name
    volumes = [told.split(":")[0] for it in services.values() for told in it["volumes"]]
    states = [it for it in volumes if it not in ("join", "coordinator")]
    assert len(states) == len(set(states)) == 4  # each peer has an identity of its own


# ---- Kubernetes ------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["cpu", "gpu"])
def objects(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What `kubectl apply -k` would send, valid for a cluster, by kind and name."""
    needs("kubernetes-validate")
    if shutil.which("kubectl") is None:
        pytest.skip("kubectl resolves the files, and no registry that CI reaches has a new one")
    text = run("kubectl", "kustomize", DEPLOY / "kubernetes" / request.param)
    path = tmp_path_factory.mktemp("kubernetes") / "all.yaml"
    path.write_text(text)
    run("kubernetes-validate", "--strict", path)
    found = list(yaml.safe_load_all(text))
    return {(it["kind"], it["metadata"]["name"]): it for it in found}


def pods(objects: Any) -> Iterator[dict[str, Any]]:
    for kind, name in (("StatefulSet", "coordinator"), ("Deployment", "peer")):
        yield objects[kind, name]["spec"]["template"]["spec"]


def test_pods_keep_to_the_restricted_standard_that_their_namespace_enforces(objects: Any) -> None:
    labels = objects["Namespace", "murmuration"]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for pod in pods(objects):
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["runAsUser"] == 10001
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["securityContext"]["fsGroupChangePolicy"] == "OnRootMismatch"
        assert pod["automountServiceAccountToken"] is False
        assert pod["terminationGracePeriodSeconds"] > LEAVE_SECONDS
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {it["mountPath"] for it in container["volumeMounts"]} >= {"/state", "/tmp"}  # noqa: S108  in the pod


def test_what_names_something_else_names_what_is_there(objects: Any) -> None:
    peer = objects["Deployment", "peer"]
    scaled = objects["HorizontalPodAutoscaler", "peer"]["spec"]
    assert scaled["scaleTargetRef"]["name"] == peer["metadata"]["name"]
    assert "replicas" not in peer["spec"]  # each new `apply` would undo what was scaled
    assert scaled["maxReplicas"] > scaled["minReplicas"] >= 2
    budget = objects["PodDisruptionBudget", "peer"]["spec"]
    labels = peer["spec"]["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    coordinator = objects["StatefulSet", "coordinator"]["spec"]
    service = objects["Service", coordinator["serviceName"]]["spec"]
    assert service["selector"].items() <= coordinator["template"]["metadata"]["labels"].items()
    (container,) = coordinator["template"]["spec"]["containers"]
    names = {it["name"] for it in container["ports"]}
    assert {it["targetPort"] for it in service["ports"]} == names
    assert any(it == "--advertise=coordinator:7700" for it in container["args"])
    probed = {container[f"{it}Probe"]["httpGet"]["port"] for it in ("startup", "liveness")}
    assert probed <= names
    (claim,) = coordinator["volumeClaimTemplates"]
    assert claim["metadata"]["name"] in {it["name"] for it in container["volumeMounts"]}


# ---- a bare cloud machine --------------------------------------------------------------


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    """The files that cloud-init.yaml writes, by their place."""
    found = yaml.safe_load((DEPLOY / "cloud-init.yaml").read_text())
    return {it["path"]: it["content"] for it in found["write_files"]}


def test_the_file_for_cloud_init_is_one() -> None:
    needs("cloud-init")
    told = run("cloud-init", "schema", "--config-file", DEPLOY / "cloud-init.yaml")
    assert "Valid" in told


def test_its_scripts_and_its_unit_are_valid(written: dict[str, str], tmp_path: Path) -> None:
    needs("systemd-analyze")
    scripts = [it for it in written.values() if it.startswith("#!/bin/sh")]
    assert len(scripts) == 2
    for script in scripts:
        subprocess.run(["/bin/sh", "-n"], input=script, text=True, check=True)
    unit = tmp_path / "spot-notice.service"
    # where it is verified there is no such program
    unit.write_text(
        written["/etc/systemd/system/spot-notice.service"].replace(
            "/usr/local/sbin/spot-notice", "/bin/true"
        )
    )
    run("systemd-analyze", "verify", unit)


Pages = dict[str, bytes]


@contextmanager
def metadata_service(pages: Pages) -> Iterator[str]:
    """The address of one that has these pages, by path; what has none is not found."""

    class Requests(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            page = pages.get(self.path)
            self.send_response(200 if page is not None else 404)
            self.end_headers()
            self.wfile.write(page or b"")

        do_PUT = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Requests) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


NOTICES = {
    "amazon": {
        "/latest/api/token": b"t",
        "/latest/meta-data/spot/instance-action": b'{"action": "terminate"}',
    },
    "google": {"/computeMetadata/v1/instance/preempted": b"TRUE"},
    "azure": {
        "/metadata/scheduledevents?api-version=2020-07-01": json.dumps(
            {"Events": [{"EventType": "Preempt"}]}
        ).encode()
    },
}
QUIET: Pages = {
    "/latest/api/token": b"t",
    "/computeMetadata/v1/instance/preempted": b"FALSE",
    "/metadata/scheduledevents?api-version=2020-07-01": b'{"Events": []}',
}


@pytest.mark.parametrize("cloud", NOTICES)
def test_a_clouds_notice_makes_the_peer_leave_and_nothing_else_does(
    cloud: str, written: dict[str, str], tmp_path: Path
) -> None:
    pages = dict(QUIET)
    asked = threading.Event()

    class Watched(dict[str, bytes]):
        def get(self, key: str, default: Any = None) -> Any:
            if "scheduledevents" in key:  # the last that is asked for in a turn
                asked.set()
            return super().get(key, default)

    watched = Watched(pages)
    script = tmp_path / "spot-notice"
    script.write_text(written["/usr/local/sbin/spot-notice"])
    with metadata_service(watched) as address:
        watching = subprocess.Popen(
            ["/bin/sh", str(script)],
            env={
                "PATH": "/usr/bin:/bin",
                "METADATA": address,
                "PAUSE": "0.05",
                "LEAVE": f"touch {tmp_path}/left",
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            for _ in range(2):  # two quiet turns
                asked.clear()
                assert asked.wait(10)
            assert watching.poll() is None
            assert not (tmp_path / "left").exists()
            watched.update(NOTICES[cloud])
            said, _ = watching.communicate(timeout=10)
        finally:
            watching.kill()
            watching.wait()
    assert "about to be taken away: its peer leaves" in said
    assert (tmp_path / "left").exists()

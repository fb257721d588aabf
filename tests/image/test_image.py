"""What is in the image, and what it says of itself."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from swarmpb.version import SOFTWARE_VERSION
from tests.image.image import ROOT, Image

OURS = "opt/murmuration"
MOST_BYTES = 1_600_000_000
SECRETS = re.compile(rb"PRIVATE KEY-----|(?i:password|token|secret|api_?key)=[^\s\"'${]")


def files(image: Image) -> Iterator[Path]:
    """All of them; what Python finds there is not followed out of the image."""
    for folder, _, names in os.walk(image.files):
        yield from (Path(folder) / name for name in names)


def test_it_says_how_it_wants_to_be_run(image: Image) -> None:
    config = image.config
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["/usr/bin/tini", "--"]
    assert config["StopSignal"] == "SIGTERM"
    assert list(config["Volumes"]) == ["/state"]
    assert config["WorkingDir"] == "/state"
    assert sorted(config["ExposedPorts"]) == ["7700/tcp", "7701/tcp", "7780/tcp"]
    assert "peer status --quiet || coordinator health" in config["Healthcheck"]["Test"]
    assert config["Healthcheck"]["StartPeriod"] > config["Healthcheck"]["Interval"]


def test_its_labels_say_what_it_is(image: Image) -> None:
    labels = image.config["Labels"]
    assert labels["org.opencontainers.image.title"] == "Murmuration"
    assert labels["org.opencontainers.image.version"] == SOFTWARE_VERSION
    assert labels["org.murmuration.variant"] == "cpu"


def test_no_layer_holds_a_secret_or_says_one(image: Image) -> None:
    ours = [it for it in files(image) if OURS in str(it)]
    names = (".key", ".pem", ".crt", ".token", ".secret", ".sqlite")
    public = {"cacert.pem", "roots.pem"}  # certifi's and gRPC's certificates of authorities
    assert [it for it in ours if it.name.endswith(names) and it.name not in public] == []
    said = [*image.config["Env"], *(str(it.get("created_by")) for it in image.history)]
    assert [it for it in said if SECRETS.search(it.encode())] == []
    # the settings of the machine that built it were mounted, not copied
    assert (
        not (image.files / "etc/pip.conf").exists()
        or not (image.files / "etc/pip.conf").read_bytes()
    )
    assert list((image.files / "state").iterdir()) == []


def test_what_builds_and_tests_is_not_in_it(image: Image) -> None:
    programs = {it.name for folder in ("usr/bin", OURS + "/bin") for it in _in(image, folder)}
    assert programs & {"gcc", "cc", "make", "git", "pip", "pip3", "curl"} == set()
    assert {"tini", "peer", "coordinator"} <= programs
    (packages,) = (image.files / OURS / "lib").glob("python3*/site-packages")
    assert {"peer", "coordinator", "swarmpb", "torch"} <= {it.name for it in packages.iterdir()}
    assert not (packages / "tests").exists()
    assert not (packages / "pip").exists()
    assert not list(image.files.glob("root/.cache/*"))
    assert not list(image.files.glob("var/lib/apt/lists/*"))


def test_its_user_owns_nothing_but_the_folders_of_volumes(image: Image) -> None:
    theirs, writable = [], []
    for folder, names, leaves in os.walk(image.files):
        for name in (*names, *leaves):
            path = Path(folder) / name
            it = path.lstat()
            if it.st_uid == 10001:
                theirs.append(str(path.relative_to(image.files)))
            elif it.st_mode & stat.S_IWOTH and not it.st_mode & (stat.S_ISVTX | stat.S_IFLNK):
                writable.append(str(path.relative_to(image.files)))
    assert sorted(theirs) == ["join", "state"]
    assert [it for it in writable if not it.startswith(("dev/", "proc/"))] == []
    assert stat.S_IMODE((image.files / "state").stat().st_mode) == 0o700


def test_its_size_is_what_the_page_says(image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\nimage: {image.size / 1e9:.2f} GB, {image.base_size / 1e9:.2f} GB of them Debian")
    told = re.search(r"([0-9.]+) GB unpacked", (ROOT / "deploy/README.md").read_text())
    assert told is not None
    assert image.size == pytest.approx(float(told[1]) * 1e9, rel=0.05)


def _in(image: Image, folder: str) -> Iterator[Path]:
    return (image.files / folder).iterdir()

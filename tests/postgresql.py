"""A PostgreSQL server for tests: Debian's, in a temporary folder, reached by a Unix socket only.

Without its programs the tests that need it are skipped, unless MURMURATION_REQUIRE_ALL is set, as
`.ci/run` does.
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import count
from pathlib import Path

import psycopg
import pytest

HURRY = ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")
"""Nothing of it has to outlive the tests."""
_NUMBERS = count(1)


def programs() -> Path | None:
    """The folder of the server's programs; the newest version."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
    if found:
        return found[-1].parent
    elsewhere = shutil.which("initdb")
    return Path(elsewhere).parent if elsewhere else None


@contextmanager
def running_server() -> Iterator[str]:
    """The URL of a server's database; without the programs the test is skipped."""
    folder = programs()
    if folder is None:
        why = "PostgreSQL is not installed: apt-get install postgresql"
        if os.environ.get("MURMURATION_REQUIRE_ALL"):
            pytest.fail(why)
        pytest.skip(why)
    with tempfile.TemporaryDirectory(prefix="pg-") as name:
        home, data = Path(name), Path(name) / "data"
        drop = []
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            user = pwd.getpwnam("postgres")
            os.chown(home, user.pw_uid, user.pw_gid)
            drop = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
        # it ends with us, however we end
        start = [shutil.which("setpriv") or "setpriv", "--pdeathsig=QUIT", *drop]
        subprocess.run(
            [*start, folder / "initdb", "--no-sync", "--auth=trust", "--username=test", data],
            check=True,
            stdout=subprocess.DEVNULL,
            cwd=home,
        )
        options = [f"-c{it}=off" for it in HURRY]
        server = subprocess.Popen(
            [
                *start,
                folder / "postgres",
                "-D",
                data,
                "-k",
                home,
                "-c",
                "listen_addresses=",
                *options,
            ],
            stderr=subprocess.PIPE,
            text=True,
            cwd=home,
        )
        with server:
            assert server.stderr is not None
            try:
                for line in server.stderr:
                    if "ready to accept connections" in line:
                        break
                yield f"postgresql://test@/postgres?host={home}"
            finally:
                server.send_signal(signal.SIGINT)
                server.stderr.read()


@contextmanager
def fresh_schema(server: str) -> Iterator[str]:
    """The URL of a schema of its own in a server's database; gone at the end."""
    name = f"test_{next(_NUMBERS)}"
    with closing(psycopg.connect(server, autocommit=True)) as connection:
        connection.execute(f"CREATE SCHEMA {name}".encode())
        try:
            yield f"{server}&options=-csearch_path%3D{name}"
        finally:
            connection.execute(f"DROP SCHEMA {name} CASCADE".encode())

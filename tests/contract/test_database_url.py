"""What `coordinator serve --database URL` says about a database that it cannot use."""

from __future__ import annotations

import builtins
from contextlib import closing
from typing import Any
from unittest import mock

import psycopg
import pytest
from sqlalchemy import make_url, text

from coordinator.domain import StorageError
from coordinator.storage import postgresql as backend
from coordinator.storage.store import Store
from swarmpb.exits import Exit, UserError
from tests.postgresql import fresh_schema


@pytest.mark.parametrize(
    "url", ["nonsense", "mysql://user:hunter2@host/name", "postgresql://host", "sqlite:///file"]
)
def test_what_is_no_postgresql_url_is_refused_with_an_example(url: str) -> None:
    with pytest.raises(UserError, match="postgresql://user:password@host/database") as caught:
        Store.open(url)
    assert caught.value.code == Exit.BAD_CONFIG
    assert "hunter2" not in str(caught.value)


def test_a_missing_driver_is_named_with_the_command_that_installs_it() -> None:
    real = builtins.__import__

    def without_psycopg(name: str, *others: Any) -> Any:
        if name == "psycopg":
            raise ImportError(name)
        return real(name, *others)

    with (
        mock.patch.object(builtins, "__import__", without_psycopg),
        pytest.raises(UserError, match=r"pip install 'murmuration\[postgresql\]'") as caught,
    ):
        Store.open("postgresql://host/name")
    assert caught.value.code == Exit.BAD_CONFIG


def test_a_server_that_is_not_there_is_said_in_one_line_without_the_password() -> None:
    url = "postgresql://anna:hunter2@127.0.0.1:1/name?connect_timeout=2"
    with pytest.raises(UserError, match="cannot use the database name of") as caught:
        Store.open(url)
    assert caught.value.code == Exit.STATE_FOLDER
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_message_that_quotes_a_secret_is_told_without_it() -> None:
    url = make_url("postgresql://anna:hunter2@host/name?sslpassword=swordfish")
    quoted = "no entry for anna with hunter2 and swordfish"
    assert backend.without_secrets(quoted, url) == "no entry for anna with *** and ***"


def test_two_coordinators_cannot_use_one_database(postgresql: str) -> None:
    with fresh_schema(postgresql) as url:
        with (
            closing(Store.open(url)),
            mock.patch.object(backend, "LOCK_MS", 10),
            pytest.raises(UserError, match="another coordinator uses") as caught,
        ):
            Store.open(url)
        assert caught.value.code == Exit.ALREADY_RUNNING
        Store.open(url).close()
        with fresh_schema(postgresql) as beside, closing(Store.open(url)):
            Store.open(beside).close()


def test_a_server_that_hung_up_is_called_again(postgresql: str) -> None:
    with fresh_schema(postgresql) as url, closing(Store.open(url)) as store:
        with store.together() as connection:
            process = connection.scalar(text("SELECT pg_backend_pid()"))
        with closing(psycopg.connect(postgresql, autocommit=True)) as other:
            other.execute("SELECT pg_terminate_backend(%s, 5000)", [process])
        with pytest.raises(StorageError, match="cannot use its database"):
            store.runs()
        assert store.runs() == []

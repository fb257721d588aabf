"""How the `coordinator` command words numbers and errors."""

from __future__ import annotations

from typing import Any

import click
import pytest
from click.testing import CliRunner

from coordinator.cli import PlainErrors, main
from coordinator.commands.display import (
    byte_size,
    count,
    next_steps,
    percent,
    seconds_ago,
    text_seen,
)
from coordinator.domain import Coverage
from swarmpb.endpoints import JoinLink, parse_endpoint
from swarmpb.exits import Exit, UserError
from swarmpb.v1 import coordinator_pb2, membership_pb2
from swarmpb.v1.membership_pb2 import RunState


@click.group(cls=PlainErrors)
@click.option("--debug", is_flag=True)
def command(debug: bool) -> None:
    """A command with every sort of end."""


@command.command()
def mistake() -> None:
    raise UserError(Exit.UNKNOWN_RUN, "no run named 'x';\nlook again")


@command.command()
def bug() -> None:
    raise ZeroDivisionError("division by zero")


@command.command()
def interrupted() -> None:
    raise KeyboardInterrupt


def test_what_a_user_can_mend_is_one_line_with_its_own_exit_code() -> None:
    end = CliRunner().invoke(command, ["mistake"])
    assert end.exit_code == Exit.UNKNOWN_RUN
    assert end.stderr == "coordinator: no run named 'x'; look again\n"
    assert end.stdout == ""


def test_a_bug_of_ours_says_so_and_how_to_see_more() -> None:
    end = CliRunner().invoke(command, ["bug"])
    assert end.exit_code == 1
    assert end.stderr == (
        "coordinator: a bug of ours: ZeroDivisionError: division by zero;"
        " `coordinator --debug …` shows where\n"
    )


@pytest.mark.parametrize("name", ["bug", "mistake"])
def test_debug_shows_where_an_error_comes_from(name: str) -> None:
    end = CliRunner().invoke(command, ["--debug", name])
    assert "Traceback" in end.stderr
    assert f"in {name}" in end.stderr


def test_an_interrupt_is_no_bug() -> None:
    end = CliRunner().invoke(command, ["interrupted"])
    assert (end.exit_code, end.stderr.strip()) == (Exit.INTERRUPTED, "")


def test_counts_are_short() -> None:
    shown = [count(number) for number in (0, 999, 999.6, 12_345, 999_950, 1_245_760, 10**16)]
    assert shown == ["0", "999", "1k", "12.3k", "1M", "1.25M", "10P"]


def test_a_run_is_not_complete_before_it_is() -> None:
    assert (percent(0, 10), percent(999, 1000), percent(12, 10)) == ("0 %", "99 %", "120 %")


def test_the_share_of_the_text_that_was_seen_is_shown_in_words() -> None:
    def seen(**changed: int) -> str:
        fields = {"round": 1, "pass_chunks": 1000, "passes": 0, "merged_once": 110}
        return text_seen(Coverage(**({"merged_again": 2} | fields | changed)))

    assert seen() == "11 % seen once, 0.2 % twice or more, 89 % not yet"
    assert seen(passes=2).startswith("pass 3 of it: 11 %")
    assert seen(pass_chunks=0, merged_once=0, merged_again=0).startswith("0 % seen once")


def test_ages_have_one_unit() -> None:
    shown = [seconds_ago(seconds) for seconds in (0.4, 119, 121, 7300, 200_000)]
    assert shown == ["0 s ago", "119 s ago", "2 min ago", "2 h ago", "2 d ago"]


def test_byte_sizes_are_decimal() -> None:
    assert [byte_size(size) for size in (0.0, 999, 1500, 2_500_000)] == [
        "0 B",
        "999 B",
        "1.5 kB",
        "2.5 MB",
    ]


def test_an_owner_is_told_what_comes_after_registering_a_run() -> None:
    def steps(**wanted: Any) -> list[str]:
        info = coordinator_pb2.RunInfo(run_id="my-run")
        info.orders.orders = membership_pb2.Orders(**wanted).SerializeToString()
        return next_steps(info, JoinLink(parse_endpoint("192.0.2.7:7700"), "my-run"))

    assert steps() == ["join with: peer join murmuration://192.0.2.7:7700/my-run"]
    draft, invite = steps(state=RunState.DRAFT, invite_only=True)
    assert draft.endswith("coordinator run resume my-run")
    # the plain link would be refused
    assert invite.endswith("coordinator invite create --run my-run")


def test_a_run_that_its_owner_keeps_after_all_is_not_deleted() -> None:
    end = CliRunner().invoke(main, ["run", "delete", "my-run"], input="n\n")
    assert end.exit_code == 0
    assert end.stdout.endswith("run my-run stays\n")

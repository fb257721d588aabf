"""A join link that is a container's secret: `peer join @FILE`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest

from peer.commands.options import join_link
from swarmpb.endpoints import MAX_LINK

LINK = "murmuration://coordinator:7700/demo/invite=0123456789abcdef"


def read(value: str | None) -> Any:
    context = click.Context(click.Command("join"))
    return join_link(context, click.Argument(["link"]), value)


def refusal(value: str) -> str:
    with pytest.raises(click.BadParameter) as caught:
        read(value)
    return caught.value.message


def test_a_file_stands_for_the_link_in_it(tmp_path: Path) -> None:
    path = tmp_path / "link"
    path.write_text(LINK + "\n")  # as `coordinator invite create >link` writes it
    assert read(f"@{path}") == read(LINK)
    assert read(None) is None


def test_what_is_no_link_is_said_with_its_file_or_its_letters(tmp_path: Path) -> None:
    path = tmp_path / "link"
    assert refusal(f"@{path}") == f"cannot read {path}: No such file or directory"
    path.write_bytes(b"\xff\xfe")
    assert "holds no join link" in refusal(f"@{path}")
    path.write_text("http://example.org")
    assert "is no join link" in refusal(f"@{path}")


def test_of_an_endless_file_only_the_beginning_is_read() -> None:
    assert f"a link has at most {MAX_LINK} letters" in refusal("@/dev/zero")

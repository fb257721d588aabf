"""Join links: what an owner sends is what a volunteer's machine reads, and nothing else is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarmpb.endpoints import (
    MAX_LINK,
    SCHEME,
    Endpoint,
    JoinLink,
    LinkError,
    parse_endpoint,
    parse_link,
)

PIN = "3f" * 32
HOSTS = st.one_of(
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map(str),
    st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z]{2,9}){0,3}", fullmatch=True),
)
ENDPOINTS = st.builds(
    Endpoint, HOSTS, st.integers(1, 65535), st.sampled_from([b"", bytes(32), bytes.fromhex(PIN)])
)
LINKS = st.builds(
    JoinLink,
    ENDPOINTS,
    st.one_of(st.just(""), st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)),
    st.one_of(st.just(""), st.from_regex(r"[A-Za-z0-9_-]{16,128}", fullmatch=True)),
)


@given(LINKS)
def test_a_link_is_read_as_it_was_written_in_a_shell_and_in_a_chat(link: JoinLink) -> None:
    text = str(link)
    assert parse_link(text) == link
    assert parse_link(f"  {text}\n") == link, "copied with what is around it"
    assert not set(text) & set(" \t\"'`$&;|<>()*?!#\\~"), "a shell would not take it as one word"


@given(ENDPOINTS)
def test_an_endpoint_is_read_as_it_was_written_by_itself_or_from_a_link(place: Endpoint) -> None:
    assert parse_endpoint(str(place)) == place
    assert parse_endpoint(str(JoinLink(place, "demo", "x" * 32))) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "demo",
        "http://host:7700/demo",
        f"{SCHEME}host/demo",
        f"{SCHEME}host:0/demo",
        f"{SCHEME}host:65536/demo",
        f"{SCHEME}host:7700/../../etc",
        f"{SCHEME}host:7700/Demo",
        f"{SCHEME}host:7700/demo/",
        f"{SCHEME}host:7700/demo/pin={PIN[:-2]}",
        f"{SCHEME}host:7700/demo/pin={PIN}/pin={PIN}",
        f"{SCHEME}host:7700/demo/invite=short",
        f"{SCHEME}host:7700/demo/invite={'x' * 16}/pin={PIN}",
        f"{SCHEME}host:7700/demo?invite={'x' * 16}",
        f"{SCHEME}user@host:7700/demo",
        f"{SCHEME}-oProxyCommand=evil:7700/demo",
        f"{SCHEME}[::1/demo",
        f"{SCHEME}[1.2.3.4.5]:7700/demo",
        f"{SCHEME}a..b:7700/demo",
        f"{SCHEME}host:7700/demo\x1b[31m",
        f"{SCHEME}host:7700/demo\nhost:7700",
        SCHEME + "h" * MAX_LINK + ":7700/demo",
        f"{SCHEME}höst:7700/demo",
        f"{SCHEME}host:٧٧٠٠/demo",  # noqa: RUF001  digits, but not ours
    ],
)
def test_what_is_no_link_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(LinkError) as refused:
        parse_link(text)
    assert len(str(refused.value).splitlines()) == 1
    assert "\x1b" not in str(refused.value)


@given(st.text(max_size=80))
def test_anything_is_either_a_link_or_refused(text: str) -> None:
    for parse in (parse_link, parse_endpoint):
        try:
            parse(SCHEME + text)
        except LinkError:
            continue


def test_a_refusal_does_not_repeat_the_secret() -> None:
    with pytest.raises(LinkError) as refused:
        parse_link(f"{SCHEME}host:7700/demo/invite={'s' * 32}!")
    assert "sss" not in str(refused.value)


@pytest.mark.parametrize(
    ("host", "local"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
     ("10.0.0.1", False), ("192.0.2.1", False), ("localhost.evil.example", False)],
)  # fmt: skip
def test_plain_text_is_for_this_machine_only(host: str, local: bool) -> None:
    assert Endpoint(host, 7700).is_local is local

"""A user's terminal: drawn on with little, never waited for, and always given back."""

from __future__ import annotations

import fcntl
import io
import logging
import os
import re
import struct
import sys
import termios
from collections.abc import Iterator

import pyte
import pytest

from peer.screen import stage
from peer.screen.restoring import restore_terminal
from peer.screen.said import Said
from peer.screen.stage import Stage
from peer.screen.terminal import Terminal
from swarmpb.v1 import control_pb2

SIZE = (20, 5)


class Window:
    """The other end of a pseudo-terminal."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()
        os.set_blocking(self.ours, False)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", SIZE[1], SIZE[0], 0, 0))
        self.terminal = Terminal(self.theirs, self.theirs)

    def read(self) -> str:
        """What was written since the last time."""
        found = b""
        try:
            while data := os.read(self.ours, 65536):
                found += data
        except BlockingIOError:
            pass
        return found.decode()

    def close(self) -> None:
        self.terminal.close()
        os.close(self.theirs)
        os.close(self.ours)


@pytest.fixture
def window() -> Iterator[Window]:
    window = Window()
    yield window
    window.close()


def test_a_terminal_is_given_back_as_it_was(window: Window) -> None:
    window.terminal.take()
    taken = window.read()
    assert taken.startswith("\x1b[?1049h")
    assert "\x1b[?25l" in taken
    window.terminal.give_back()
    assert window.read().endswith("\x1b[?25h\x1b[?1049l")
    window.terminal.give_back()
    assert window.read() == ""


def test_only_lines_that_changed_are_written(window: Window) -> None:
    window.terminal.take()
    window.terminal.draw(["one", "two", "three"], SIZE, "utf-8")
    window.read()
    window.terminal.draw(["one", "2", "three"], SIZE, "utf-8")
    assert window.read() == "\x1b[2;1H\x1b[K2"
    window.terminal.draw(["one", "2", "three"], SIZE, "utf-8")
    assert window.read() == ""
    window.terminal.draw(["one"], SIZE, "utf-8")
    assert window.read() == "\x1b[2;1H\x1b[J"


def test_another_size_and_what_others_wrote_are_drawn_anew(window: Window) -> None:
    window.terminal.take()
    window.terminal.draw(["one"], SIZE, "utf-8")
    window.read()
    window.terminal.draw(["one"], (30, 5), "utf-8")
    assert window.read().startswith("\x1b[2J")
    window.terminal.forget()
    window.terminal.draw(["one"], (30, 5), "utf-8")
    assert window.read().startswith("\x1b[2J")


def test_a_terminal_that_stands_still_is_not_waited_for(window: Window) -> None:
    """Nobody reads: what does not fit into the line's buffer must not hold up the daemon."""
    window.terminal.take()
    for number in range(200):
        window.terminal.draw([f"{number:1000}"] * 5, SIZE, "utf-8")  # comes back each time
    window.terminal.give_back()
    assert not window.terminal.taken


def test_after_it_stood_still_a_frame_is_whole_again(window: Window) -> None:
    window.terminal.take()
    for number in range(50):
        window.terminal.draw([f"{number:1000}"] * 5, SIZE, "utf-8")
    screen = pyte.Screen(*SIZE)
    stream = pyte.Stream(screen)
    for _ in range(20):
        stream.feed(window.read())
        window.terminal.draw(["the last"], SIZE, "utf-8")
    stream.feed(window.read())
    assert [line.strip() for line in screen.display] == ["the last", "", "", "", ""]


def test_letters_that_an_encoding_does_not_have_are_question_marks(window: Window) -> None:
    window.terminal.take()
    window.read()
    window.terminal.draw(["ü漢"], SIZE, "latin-1")
    assert os.read(window.ours, 100).endswith("ü?".encode("latin-1"))


def test_a_window_that_was_closed_is_no_error() -> None:
    window = Window()
    window.terminal.take()
    os.close(window.ours)
    window.terminal.draw(["x"], SIZE, "utf-8")
    window.terminal.give_back()
    window.terminal.close()
    os.close(window.theirs)


@pytest.mark.parametrize("kind", ["dumb", "", "unknown"])
def test_a_dumb_terminal_has_no_screen(
    window: Window, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open(os.dup(window.theirs), "w") as stream:  # noqa: PTH123  a descriptor
        monkeypatch.setenv("TERM", kind)
        assert Terminal.of_user(stream, stream) is None
        monkeypatch.setenv("TERM", "xterm")
        terminal = Terminal.of_user(stream, stream)
        assert terminal is not None
        terminal.close()
        assert Terminal.of_user(io.StringIO(), stream) is None


def test_a_terminal_of_another_process_group_is_not_drawn_on(window: Window) -> None:
    assert not window.terminal.is_ours  # it does not control this process


def test_a_line_without_a_size_has_the_usual_one(window: Window) -> None:
    fcntl.ioctl(window.theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 0, 0, 0, 0))
    assert window.terminal.size == (80, 24)


def drawn_by_a_stage(window: Window) -> str:
    """A status with a bar and a phase, on a stage of this window."""
    shown = Stage(window.terminal)
    shown.open()
    window.read()
    reply = control_pb2.StatusReply(phase="training", reason="round 1", round_progress=0.5)
    shown.draw(reply, ("q ends", "p"), "")
    text = window.read()
    shown.done()
    return text


def test_a_phase_has_its_colour(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;32mtraining" in drawn_by_a_stage(window)


def test_no_color_is_heard(window: Window, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[\d;]*3[0-7]", drawn_by_a_stage(window))


@pytest.mark.parametrize(("term", "encoding"), [("xterm", "latin-1"), ("linux", "utf-8")])
def test_terminals_of_few_letters_get_ascii(
    window: Window, term: str, encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", term)
    monkeypatch.setattr(stage, "encoding_of", lambda _stream: encoding)
    text = drawn_by_a_stage(window)
    assert "q ends | p" in text
    assert text.isascii()


def test_a_process_that_ends_at_once_can_give_the_terminal_back(window: Window) -> None:
    shown = Stage(window.terminal)
    shown.open()
    window.read()
    restore_terminal()
    assert window.read().endswith("\x1b[?1049l")
    assert not shown.is_open
    restore_terminal()
    assert window.read() == ""
    shown.done()


# ---- what is said meanwhile --------------------------------------------------------------


def terminal_as_stderr(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """In the test itself: pytest sets another stderr after the fixtures."""
    stream = io.StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", stream)
    return stream


def test_what_is_logged_under_a_screen_is_written_out_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stderr = terminal_as_stderr(monkeypatch)
    handler = logging.StreamHandler(stderr)
    monkeypatch.setattr(logging.getLogger(), "handlers", [handler])
    said = Said()
    said.begin()
    logging.getLogger("any").warning("the disk is full")
    print("first\nsec", end="", file=sys.stderr)
    print("ond", file=sys.stderr)
    assert stderr.getvalue() == ""
    assert said.lines() == ("the disk is full", "first", "second")
    said.end()
    assert stderr.getvalue() == "the disk is full\nfirst\nsecond\n"
    assert sys.stderr is stderr
    assert handler.stream is stderr
    said.end()
    logging.getLogger("any").warning("later")
    assert stderr.getvalue().endswith("second\nlater\n")


def test_of_very_much_that_was_said_the_newest_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = terminal_as_stderr(monkeypatch)
    said = Said()
    said.begin()
    for number in range(1000):
        print(number, file=sys.stderr)
    said.end()
    lines = stderr.getvalue().splitlines()
    assert lines[0] == "(800 earlier lines were left out)"
    assert lines[-1] == "999"


def test_a_stderr_that_is_a_file_stays_one(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    said = Said()
    said.begin()
    print("now", file=sys.stderr)
    assert stream.getvalue() == "now\n"
    said.end()

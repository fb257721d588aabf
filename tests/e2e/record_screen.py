"""Records what a volunteer sees, as text, from a real run: `python -m tests.e2e.record_screen`.

It writes `docs/screen.txt`, in about a minute and a half.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.e2e.pretend_terminal import PretendTerminal
from tests.e2e.processes import (
    JOIN_SECONDS,
    LEAVE_SECONDS,
    PEER,
    Home,
    PeerProcess,
    create_run,
    home_in,
    serving,
)
from tests.tiny import tiny_spec

TARGET = Path(__file__).resolve().parents[2] / "docs" / "screen.txt"
ROUND = {"target_tokens": 6_000, "min_seconds": 2, "max_seconds": 6, "min_peers": 2}
SETTINGS = """
[limits]
upload = "2 Mbit/s"
data_per_month = "20 GB"
on_battery = true

[energy]
watts = 65
price = 0.30
"""
ROUNDS = "[3-9]"
SECONDS = 180.0


def recorded(home: Home, coordinator: str) -> Iterator[str]:
    """The screen in the course of a peer's life, each time with a line that says what it is."""
    home.config.mkdir(parents=True, exist_ok=True)
    (home.config / "peer.toml").write_text(SETTINGS, encoding="utf-8")
    other = PeerProcess(home, "bert", coordinator, "tiny")
    other.start()
    other.out.wait_for("training", JOIN_SECONDS)
    anna = PeerProcess(home, "anna", coordinator, "tiny")
    environment = home.environment() | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    del environment["COLUMNS"], environment["NO_COLOR"]
    watching = [str(PEER), "status", "--watch", "--state-dir", str(anna.state_dir)]
    with PretendTerminal(80, 24) as terminal, PretendTerminal(40, 12) as small:
        process = terminal.start([str(PEER), *anna.arguments], environment)
        home.started.append(process)
        yield shot("`peer join`, at first", terminal.wait_for("^starting: ", JOIN_SECONDS))
        seen = terminal.wait_for(rf"training: round {ROUNDS}", SECONDS)
        yield shot("it trains, under limits", seen)

        home.started.append(small.start(watching, environment))
        seen = small.wait_for("training: [\\s\\S]*q ends", JOIN_SECONDS)
        yield shot("`peer status --watch` beside it, in 40 columns and 12 lines", seen)
        small.press("q")

        home.peer("pause", "--for", "2h", "--state-dir", str(anna.state_dir))
        yield shot("`peer pause --for 2h`", terminal.wait_for("^paused: ", JOIN_SECONDS))
        terminal.press("\x03")
        process.wait(LEAVE_SECONDS)
        seen = terminal.wait_for("^stopped: ", JOIN_SECONDS)
        yield shot("Ctrl-C: the user's own screen again", seen)
    other.leave()


def shot(what: str, lines: Sequence[str]) -> str:
    """One picture with its title, without the empty lines below."""
    text = "\n".join(lines).rstrip()
    return f"==== {what}\n\n{text}\n"


def main(target: Path) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="screen-") as folder,
        home_in(Path(folder)) as home,
        serving(home) as server,
    ):
        spec = tiny_spec(round=ROUND, stop={"tokens": 10_000_000})
        create_run(home, server.address, spec)
        shots = []
        for picture in recorded(home, server.address):
            print(picture, flush=True)
            shots.append(picture)
        server.stop()
    head = "Recorded from a real run by `python -m tests.e2e.record_screen`.\n"
    target.write_text("\n".join([head, *shots]), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else TARGET)

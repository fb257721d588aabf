"""Each limit of `[limits]`: the value set, and the value measured on real peers.

`python -m tests.benchmarks limits [--small] [--only NAME] [--out FOLDER]`. The rates are measured
as the kernel counts a peer's interface, in a network namespace of its own, over every ten seconds
while it has more to send or to receive than it may. Needs root; see README.md for results.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from tests.benchmarks.limits_machine import disk_rows, memory_rows, processor_rows
from tests.benchmarks.limits_network import download_rows, merging_rows, upload_rows
from tests.benchmarks.limits_report import HEADER, Row, line

MEASURED: dict[str, Callable[[bool], Iterator[Row]]] = {
    "upload": upload_rows,
    "download": download_rows,
    "merging": merging_rows,
    "processor": processor_rows,
    "memory": memory_rows,
    "disk": disk_rows,
}
"""By limit, what yields its rows; told whether they are to be few."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks limits")
    parser.add_argument("--small", action="store_true", help="one value of each limit")
    parser.add_argument("--only", choices=MEASURED, help="this limit")
    parser.add_argument("--out", type=Path, help="folder for limits.json")
    arguments = parser.parse_args()
    rows: list[Row] = []
    print(HEADER, flush=True)
    for name, measure in MEASURED.items():
        if arguments.only in (None, name):
            for row in measure(arguments.small):
                rows.append(row)
                print(line(row), flush=True)
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        text = json.dumps([asdict(row) for row in rows], indent=2)
        (arguments.out / "limits.json").write_text(text + "\n")

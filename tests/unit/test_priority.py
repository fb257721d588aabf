"""What is not urgent lets others go first, and only that."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import psutil
import pytest

from peer.training.priority import giving_way

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities on Linux")


def test_a_thread_gives_way_and_its_process_does_not() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    assert giving_way(niceness, before + 7, idle_io=True) == before + 7
    assert giving_way(niceness, 0, idle_io=True) == before, "none becomes less nice"
    assert niceness() == before
    assert psutil.Process().ionice().ioclass != psutil.IOPRIO_CLASS_IDLE


def test_what_goes_wrong_in_it_is_told() -> None:
    with pytest.raises(ZeroDivisionError):
        giving_way(lambda: 1 // 0, 19, idle_io=True)


@pytest.mark.parametrize(("idle", "expected"), [(True, "IDLE"), (False, "NONE")])
def test_a_process_that_gives_way_starts_threads_that_do(idle: bool, expected: str) -> None:
    code = (
        "import os, threading, psutil\n"
        "from peer.training.priority import give_way\n"
        f"give_way(4, {idle})\n"
        "thread = threading.Thread(target=lambda: print(os.getpriority(0, 0)))\n"
        "thread.start(); thread.join()\n"
        "print(psutil.Process().ionice().ioclass.name)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    niceness, io_class = done.stdout.split()
    assert int(niceness) >= 4
    assert io_class == f"IOPRIO_CLASS_{expected}"

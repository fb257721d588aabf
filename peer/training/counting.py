"""How many parameters a spec's model has: a process that says so and ends.

For a coordinator, which has no use for the hundreds of megabytes that the libraries take. Its
argument is the coordinator's process id; it reads the canonical spec from standard input, and
answers with a line of digits.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

LEAST_PRIORITY = 19
_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Count. Whatever fails ends the process with a traceback and without an answer."""
    if sys.platform == "linux":
        # a killed coordinator leaves nothing behind, even if it was gone before this call
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != int(sys.argv[1]):
            return
    os.nice(LEAST_PRIORITY)
    # the most of its work, so not before it has stepped back
    from peer.training.model import parameter_count
    from swarmpb.spec import MAX_SPEC_BYTES, parse_canonical

    spec = parse_canonical(sys.stdin.buffer.read(MAX_SPEC_BYTES + 1))
    print(parameter_count(spec))


if __name__ == "__main__":
    main()

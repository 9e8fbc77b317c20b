"""Commands that the kernel ends with SIGTERM when their parent dies, however the parent dies.

The guardian is a program of its own that becomes the command: Popen's preexec_fn would run Python in a forked copy of a
process full of gRPC's and Ray's threads. The signal is bound to the *thread* that started us: start from the main one.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def guarded(command: list[str]) -> list[str]:
    """The command line that runs `command` under a guardian, as a child of this process."""
    return [sys.executable, "-I", __file__, str(os.getpid()), *command]


if __name__ == "__main__":
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):  # the parent died before the line above
        sys.exit(1)
    os.execvp(sys.argv[2], sys.argv[2:])

"""Run a command that the kernel ends with SIGTERM when its parent dies, however the parent dies.

A program of its own (`python guardian.py PARENT_PID COMMAND...`): Popen's preexec_fn would run Python in a forked copy
of a process full of gRPC and Ray threads. The signal is bound to the *thread* that started us: start from the main one.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h

if __name__ == "__main__":
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != int(sys.argv[1]):  # the parent died before the line above
        sys.exit(1)
    os.execvp(sys.argv[2], sys.argv[2:])

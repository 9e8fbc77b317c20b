"""Ctrl-C and SIGTERM: once is an orderly end, twice an end at once."""

import os
import signal
import sys
import threading

from raybench.cli.exit_codes import INTERRUPTED

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def install_signal_handlers() -> None:
    """Ctrl-C or SIGTERM once ends in order, twice at once: supervisors then end what we started.

    A thread counts them: while the main one waits inside Ray, Python would take two of them for one.
    """
    counted, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    for number in _SIGNALS:
        signal.signal(number, _interrupt)
    threading.Thread(target=_leave_at_the_second, args=(counted,), daemon=True).start()


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _leave_at_the_second(counted: int) -> None:
    left = 2
    while left:
        left -= os.read(counted, 1)[0] in _SIGNALS
    if sys.stdout.isatty():
        os.write(sys.stdout.fileno(), b"\x1b[?25h\n")  # the live view hides the cursor
    os._exit(INTERRUPTED)

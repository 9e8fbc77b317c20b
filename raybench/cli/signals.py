"""Ctrl-C and signals like it: once is an orderly end, twice an end at once."""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from raybench.cli.exit_codes import INTERRUPTED

# SIGTERM is what `timeout`, containers and CI send; SIGHUP comes when a terminal or a connection to it closes.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_BURST_S = 0.1  # `timeout` sends SIGTERM to the command and to its group, a shell SIGHUP beside the kernel's
_AGAIN_S = 0.02  # when what drops an interrupt is over; it counts as the same one for the time of a burst

_last_words = [""]


class _First:
    """A signal handler that acts once: what comes after the first signal is left to the thread that counts them."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act, self._seen = act, False

    def __call__(self, *_: object) -> None:
        was_seen, self._seen = self._seen, True
        if not was_seen:
            self._act()


def install_signal_handlers() -> None:
    """Ctrl-C, SIGTERM or SIGHUP once ends in order, twice at once: supervisors then end what we started.

    A thread counts them: while the main one waits inside Ray, Python would take two of them for one.
    """
    counted, wakeup = os.pipe()
    os.set_blocking(wakeup, False)
    signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    raise_at_the_first()
    sys.unraisablehook = _raise_again
    threading.Thread(target=_leave_at_the_second, args=(counted,), daemon=True).start()


def at_the_first(act: Callable[[], None]) -> None:
    """Call `act` in the main thread at the next of the signals, once. SIGHUP stays ignored where it is, as by nohup."""
    handler = _First(act)
    for number in SIGNALS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, handler)


def raise_at_the_first() -> None:
    """KeyboardInterrupt in the main thread at the next of the signals, once."""
    at_the_first(_interrupt)


def interrupt_in_a_fork() -> None:
    """In a forked process, whose parent counts the signals: KeyboardInterrupt at the first, nothing at another.

    SIGCONT wakes it: Python calls the handlers of what came before, and waits on.
    """
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCONT, lambda *_: None)
    raise_at_the_first()


def say_at_the_second(sentence: str) -> None:
    """What an end at once prints on stderr."""
    _last_words[0] = sentence


def show_cursor() -> None:
    """The live view hides it, and may have been cut off."""
    with suppress(OSError, ValueError):
        if os.isatty(sys.stderr.fileno()):
            os.write(sys.stderr.fileno(), b"\x1b[?25h\n")


def _interrupt() -> None:
    raise KeyboardInterrupt


def _raise_again(dropped: "sys.UnraisableHookArgs") -> None:
    """Python drops an interrupt that comes while it runs a destructor or a weak reference's callback: send another."""
    if dropped.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(dropped)
        return
    raise_at_the_first()
    again = threading.Timer(_AGAIN_S, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    again.daemon = True
    again.start()


def _leave_at_the_second(counted: int) -> None:
    _await_signal(counted)
    time.sleep(_BURST_S)
    while select.select([counted], [], [], 0)[0]:
        os.read(counted, 4096)
    _await_signal(counted)
    show_cursor()
    with suppress(OSError):
        os.write(2, f"{_last_words[0]}\n".encode() if _last_words[0] else b"")
    os._exit(INTERRUPTED)


def _await_signal(counted: int) -> None:
    """A signal that is to end us: `raybench serve` reloads at SIGHUP."""
    while not isinstance(signal.getsignal(os.read(counted, 1)[0]), _First):
        pass

"""Interrupts that wait until nothing half-done can be lost by them."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event

_INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@contextmanager
def deferred_interrupts() -> Iterator[Callable[[], bool]]:
    """Within the block Ctrl-C and signals like it raise nothing; what is yielded says whether one has come.

    Only those that Python handles; the caller raises KeyboardInterrupt afterwards. To be entered on the main thread.
    """
    seen = Event()
    handlers = {number: signal.getsignal(number) for number in _INTERRUPTS}
    deferred = [number for number, handler in handlers.items() if callable(handler)]
    try:
        for number in deferred:
            signal.signal(number, lambda *_: seen.set())
        yield seen.is_set
    finally:
        for number in deferred:
            signal.signal(number, handlers[number])

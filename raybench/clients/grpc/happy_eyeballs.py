"""A TCP connection to a host with several addresses: they are raced, so that one which is dead costs nothing much
(Happy Eyeballs, RFC 8305)."""

import os
import select
import socket
import time
from collections import deque
from collections.abc import Callable
from itertools import chain, zip_longest

_STAGGER_S = 0.25  # between attempts (RFC 8305, 5)
_Address = tuple[socket.AddressFamily, tuple]


def addresses_of(host: str, port: int) -> list[_Address]:
    """The addresses of a host, IPv6 and IPv4 in turn from the preferred one on; raises OSError, ValueError and
    OverflowError for a host or port that cannot be."""
    found = [(family, address) for family, *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    preferred = [each for each in found if each[0] == found[0][0]]
    others = [each for each in found if each[0] != found[0][0]]
    return [each for each in chain(*zip_longest(preferred, others)) if each]


def connect_to_first(addresses: list[_Address], check: Callable[[], None]) -> socket.socket:
    """Connect to whichever address accepts first; raises the error of the first one that failed where none does.

    `check` is called several times a second, and raises where there is no sense in waiting any more.
    """
    race = _Race(deque(addresses))
    try:
        while (winner := race.step()) is None:
            check()
        return winner
    finally:
        race.close()


class _Race:
    """Attempts at addresses, each begun when the one before has failed or taken long."""

    def __init__(self, waiting: deque[_Address]) -> None:
        self._waiting = waiting
        self._attempts: dict[int, socket.socket] = {}
        self._poll, self._next_s = select.poll(), 0.0
        self._first_error: OSError | None = None

    def step(self) -> socket.socket | None:
        """Begin what is due, and wait a little; the connection, if there is one."""
        if self._waiting and time.perf_counter() >= self._next_s:
            self._begin(*self._waiting.popleft())
        if not self._attempts and not self._waiting:
            raise self._first_error or ConnectionError("its host has no address")
        until_s = self._next_s - time.perf_counter() if self._waiting else _STAGGER_S
        for number, _ in self._poll.poll(max(0.0, until_s) * 1e3):
            self._poll.unregister(number)
            ended = self._attempts.pop(number)
            if not (code := ended.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)):
                return ended
            ended.close()
            self._failed(OSError(code, os.strerror(code)))
        return None

    def close(self) -> None:
        for each in self._attempts.values():
            each.close()

    def _begin(self, family: socket.AddressFamily, address: tuple) -> None:
        self._next_s = time.perf_counter() + _STAGGER_S
        begun = socket.socket(family, socket.SOCK_STREAM)
        try:
            begun.setblocking(False)
            begun.connect(address)
        except BlockingIOError:
            pass
        except BaseException as error:
            begun.close()
            if not isinstance(error, OSError):
                raise
            self._failed(error)
            return
        self._attempts[begun.fileno()] = begun
        self._poll.register(begun, select.POLLOUT)

    def _failed(self, error: OSError) -> None:
        self._first_error, self._next_s = self._first_error or error, 0.0

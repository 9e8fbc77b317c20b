"""A connected socket whose calls wait until a deadline and no longer."""

import math
import select
import socket
import time
from contextlib import suppress

Bytes = bytes | memoryview

_READ_BYTES = 2**16
_BUFFERS = 1000  # of one sendmsg(2): IOV_MAX is 1024


class DeadlineSocket:
    """It waits in poll(2) alone.

    `deadline_s` is of time.perf_counter(). Raises OSError where the connection breaks, TimeoutError at the deadline.
    """

    def __init__(self, opened: socket.socket, deadline_s: float) -> None:
        opened.setblocking(False)
        self._socket, self.deadline_s = opened, deadline_s
        self.read_bytes = 0  # by the last read
        self._low_water_mark = 1
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(opened, select.POLLIN)
        self._writable.register(opened, select.POLLOUT)

    def close(self) -> None:
        self._socket.close()

    def receive(self) -> bytes:
        """The next bytes; raises ConnectionError at the end of them."""
        self._wake_at(1)
        while True:
            self._wait(self._readable)
            if said := self.receive_now():
                return said

    def receive_now(self) -> bytes:
        """The bytes that are there already, none if there are none; raises ConnectionError at the end of them."""
        try:
            said = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return b""
        if not said:
            raise ConnectionError("the server closed the connection")
        self.read_bytes = len(said)
        return said

    def is_readable_within(self, limit_s: float, size: int) -> bool:
        """Whether so many bytes come in so short a time."""
        self._wake_at(min(size, _READ_BYTES))
        return bool(self._readable.poll(math.ceil(limit_s * 1e3)))

    def send(self, out: list[Bytes]) -> None:
        """Send all of it and empty the list."""
        while out:
            if time.perf_counter() >= self.deadline_s:
                raise TimeoutError
            with suppress(BlockingIOError):
                _drop(out, self._socket.sendmsg(out[:_BUFFERS]))
            if out:  # the system's buffer is full, or it takes no more pieces at once
                self._wait(self._writable)

    def _wake_at(self, size: int) -> None:
        """How many bytes make the socket readable."""
        if size != self._low_water_mark:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
            self._low_water_mark = size

    def _wait(self, poll: select.poll) -> None:
        left_s = self.deadline_s - time.perf_counter()
        if left_s <= 0 or not poll.poll(left_s * 1e3):
            raise TimeoutError


def _drop(out: list[Bytes], sent: int) -> None:
    """Take what was sent off the list."""
    whole = 0
    while whole < len(out) and sent >= len(out[whole]):
        sent -= len(out[whole])
        whole += 1
    del out[:whole]
    if sent:
        out[0] = memoryview(out[0])[sent:]

"""The same over TLS: bytes are encrypted in memory, so that many records take one system call."""

import socket
import ssl
from collections.abc import Iterator

from raybench.clients.grpc.deadline_socket import Bytes, DeadlineSocket
from raybench.clients.grpc.http2_frames import take_bytes

_SENT_BYTES = 2**17  # at a time, copied to be encrypted


class TlsSocket(DeadlineSocket):
    """A DeadlineSocket on which the handshake is done; raises ssl.SSLError, an OSError, where TLS fails."""

    def __init__(self, opened: socket.socket, deadline_s: float, context: ssl.SSLContext, host: str) -> None:
        super().__init__(opened, deadline_s)
        self._has_ended = False  # the server has said that no more comes
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        while not self._has_shaken_hands():
            self._incoming.write(super().receive_now() or self._receive_encrypted())

    def receive_now(self) -> bytes:
        said = b"" if self._has_ended else super().receive_now()
        self._incoming.write(said)
        pieces = self._decrypted()
        if self._has_ended and not pieces:
            raise ConnectionError("the server closed the connection")
        if self._outgoing.pending:  # new keys, which are acknowledged
            super().send([self._outgoing.read()])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def send(self, out: list[Bytes]) -> None:
        for piece in _joined(out):
            self._tls.write(piece)  # all of it, as memory takes any size
            super().send([self._outgoing.read()])
        out.clear()

    def _has_shaken_hands(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            if self._outgoing.pending:  # what is to come next, or what the server did wrong
                super().send([self._outgoing.read()])
        return True

    def _receive_encrypted(self) -> bytes:
        while True:
            self._wait(self._readable)
            if said := super().receive_now():
                return said

    def _decrypted(self) -> list[bytes]:
        """All whole records that have come, of which a proxy may send hundreds of small ones a request."""
        pieces = []
        try:
            while size := self._incoming.pending or self._tls.pending():
                if not (said := self._tls.read(size)):
                    self._has_ended = True
                    break
                pieces.append(said)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._has_ended = True
        return pieces


def _joined(out: list[Bytes]) -> Iterator[bytes]:
    """The same bytes in pieces of `_SENT_BYTES`, but for the last one."""
    left = sum(map(len, out))
    if 0 < left <= _SENT_BYTES:  # as in a small window, where a request takes hundreds of calls
        yield b"".join(out)
        return
    pieces = [memoryview(each) for each in out]
    while left:
        size = min(left, _SENT_BYTES)
        left -= size
        yield b"".join(take_bytes(pieces, size))

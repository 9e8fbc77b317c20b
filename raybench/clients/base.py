"""The seam between a worker and what it loads: one request out, one reply back, failures as values."""

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

OK, UNAVAILABLE = "OK", "UNAVAILABLE"  # gRPC's names


class Reply(NamedTuple):
    """What became of one request; `body` is the answer as it came, undecoded. A tuple, as a Sample is."""

    status: str  # OK or a gRPC status name
    body: Any = None
    received_bytes: int = 0
    error: str | None = None

    @property
    def is_ok(self) -> bool:
        return self.status == OK


@dataclass(frozen=True)
class Description:
    """What answers at an endpoint, as far as it says."""

    server: str
    version: str | None
    model_version: int | None = None
    inputs: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()


class ClientError(Exception):
    """An endpoint that cannot be used: one sentence."""


class Client(Protocol):
    """One endpoint, used by the lanes of one worker."""

    def describe(self) -> Description:
        """What answers; raises ClientError where nothing does, or the wrong thing."""

    def encode(self, batch: np.ndarray) -> Any:
        """A request ready to send, from uint8 [n, h, w, 3] or JPEG files, bytes [n] of dtype S; off the clock."""

    def prepare(self, calls: int) -> None:
        """Open what so many calls at once will need, off the clock; what cannot be opened is left to them to tell."""

    def send(self, request: Any, timeout_s: float) -> Reply:
        """One call, on the clock; never raises for what the server or the network does."""

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        """The answer's arrays by name; off the clock."""

    def close(self) -> None: ...


def size(request: Any) -> int:
    """The payload bytes of an encoded request."""
    if not isinstance(request, np.ndarray):
        return len(request)
    return sum(map(len, request)) if request.dtype.kind == "S" else int(request.nbytes)

"""The seam between a worker and what it loads: one request out, one reply back, failures as values."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

import numpy as np

from raybench.inputs.tensors import Batch
from raybench.models.saved_models import Signature

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


@dataclass(frozen=True, kw_only=True)
class Description:
    """What answers at an endpoint, as far as it says, what it takes and returns, and what else the model has."""

    server: str
    version: str | None
    signature: Signature
    model_version: int | None = None
    signatures: Mapping[str, Signature] = field(default_factory=dict)


class InputRegion(Protocol):
    """Shared memory where a Triton reads the inputs of one worker's requests."""

    size: int  # bytes of all inputs that were added

    @property
    def name(self) -> str:
        """By which a request names it."""

    def add(self, payload: bytes) -> int:
        """Take an input of the request that is being encoded; returns its offset, bytes."""

    def staged(self, body: bytes) -> Any:
        """What is to be sent for that request, of which this is the encoded rest."""

    def sender(self, infer: Callable[[bytes, float], Reply]) -> Callable[[Any, float], Reply]:
        """What sends that, by what sends encoded requests; on the clock."""

    def register(self, echo_url: str | None = None) -> None:
        """Have Triton map it, and one that does nothing, if there is one: once, after the last input and before the
        first request."""

    @property
    def copied(self) -> tuple[int, int] | None:
        """How many requests' inputs were copied on the clock until now, and how long that took, ns; None where none
        are."""

    def close(self) -> None: ...


class ClientError(Exception):
    """An endpoint that cannot be used: one sentence."""


class MalformedReplyError(Exception):
    """A reply with status OK that cannot be an answer: one sentence."""


class UnsupportedReplyError(Exception):
    """An answer of a type or in a form that raybench does not read: one sentence."""


class Client(Protocol):
    """One endpoint, used by the lanes of one worker."""

    def describe(self) -> Description:
        """What answers; raises ClientError where nothing does, or the wrong thing."""

    def encode(self, batch: Batch) -> Any:
        """A request ready to send, off the clock."""

    def prepare(self, calls: int) -> None:
        """Open what so many calls at once will need, off the clock; what cannot be opened is left to the calls."""

    def send(self, request: Any, timeout_s: float) -> Reply:
        """One call, on the clock; never raises for what the server or the network does."""

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        """The answer's arrays by name, bfloat16 as float32; off the clock.

        Raises UnsupportedReplyError for what raybench does not read, and anything else for what is no answer.
        """

    def close(self) -> None: ...

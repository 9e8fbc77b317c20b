"""Several servers behind one url list: each request goes to one of them, as the arrivals of the load ask for."""

import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import numpy as np

from raybench.clients.base import Client, ClientError, Description, Reply
from raybench.inputs.tensors import Batch

Turns = Callable[[], int]  # the number of the replica that gets the next request; called by several lanes at once


def in_turn(replicas: int, *, first: int = 0, step: int = 1) -> Turns:
    """One replica after the other, from `first`: of constant gaps each gets constant gaps again."""
    numbers = count(first, step)
    return lambda: next(numbers) % replicas


def at_random(replicas: int, seed: Sequence[int]) -> Turns:
    """Each request to a replica drawn from the seed: of a Poisson stream each replica gets a Poisson stream."""
    draw = random.Random(":".join(map(str, seed))).random
    return lambda: int(draw() * replicas)


class ReplicatedClient:
    """A client for each of several servers that are alike; what is encoded for one of them goes to any."""

    def __init__(self, urls: Sequence[str], clients: Sequence[Client], turns: Turns) -> None:
        self._urls, self._clients, self._turns = tuple(urls), tuple(clients), turns

    def describe(self) -> Description:
        """What all of them say alike; raises ClientError where one does not answer or has another signature."""
        first, *others = (client.describe() for client in self._clients)
        for url, other in zip(self._urls[1:], others, strict=True):
            if other.signature != first.signature:
                raise ClientError(
                    f"the model at {url} has another signature than at {self._urls[0]}: name servers that are alike"
                )
        return replace(
            first,
            version=_common([first.version, *(other.version for other in others)]),
            model_version=_common([first.model_version, *(other.model_version for other in others)]),
        )

    def encode(self, batch: Batch) -> Any:
        return self._clients[0].encode(batch)

    def prepare(self, calls: int) -> None:
        """Any of them may get so many calls at once."""
        for client in self._clients:
            client.prepare(calls)

    def send(self, request: Any, timeout_s: float) -> Reply:
        return self._clients[self._turns()].send(request, timeout_s)

    def decode(self, reply: Reply) -> dict[str, np.ndarray]:
        return self._clients[0].decode(reply)

    def close(self) -> None:
        for client in self._clients:
            client.close()


def _common(values: Sequence[Any]) -> Any:
    """The value that all have; None where they differ."""
    return values[0] if len(set(values)) == 1 else None

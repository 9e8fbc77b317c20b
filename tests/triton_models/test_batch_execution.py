"""A batch -> one TensorFlow call -> what each of its requests gets."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
from helpers import backend_module

batch_execution, dynamic_batching = backend_module("batch_execution"), backend_module("dynamic_batching")
RequestError = backend_module("request_parsing").RequestError
KEY = dynamic_batching.SignatureKey("scale", 1, "times")


class InvalidArgumentError(Exception):
    """As TensorFlow raises it."""


class UnimplementedError(Exception):
    """As TensorFlow raises it."""


TENSORFLOW = SimpleNamespace(
    errors=SimpleNamespace(InvalidArgumentError=InvalidArgumentError, UnimplementedError=UnimplementedError)
)


class Executor:
    """Calls a function of one array, and notes the items of each call."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def call(self, function: Callable[[np.ndarray], Any], parts: dict[str, list[np.ndarray]], wanted: frozenset) -> Any:
        x = np.concatenate(parts["x"])
        self.calls.append(len(x))
        return {name: function(x) for name in wanted}


def run(function: Callable[[np.ndarray], Any], *inputs: list[int]) -> tuple[list[Any], list[int], set[Any]]:
    """The result of each request of one batch, the items of each call, and the signatures that still batch."""
    batch = tuple(
        dynamic_batching.ParsedRequest(position, KEY, {"x": np.array(x)}, frozenset({"y"}))
        for position, x in enumerate(inputs)
    )
    models, executor = SimpleNamespace(functions={KEY: function}, batchable={KEY}), Executor()
    results = batch_execution.BatchExecution(TENSORFLOW, models, executor).run(batch)
    shown = [r if isinstance(r, RequestError) else r["y"].tolist() for r in results]
    return shown, executor.calls, models.batchable


def test_requests_share_a_call_and_get_their_own_items() -> None:
    """One call answers the whole batch, and each request gets as many items back as it sent, in order."""
    assert run(lambda x: 3 * x, [1], [2, 3], [4]) == ([[3], [6, 9], [12]], [4], {KEY})


def test_a_fault_stays_with_its_request() -> None:
    """Where a shared call fails each request is executed alone: only the faulty one gets the error, without frame."""

    def fails_at_zero(x: np.ndarray) -> np.ndarray:
        if 0 in x:
            raise InvalidArgumentError("Graph execution error:\n\nDetected at node x\n{{node x}} no zero\n")
        return x

    (good, bad, other), calls, _ = run(fails_at_zero, [1], [0], [2])
    assert (good, other, calls) == ([1], [2], [3, 1, 1, 1])
    assert (bad.code, str(bad)) == ("INVALID_ARG", "scale/times: no zero")


def test_outputs_without_a_row_per_item_end_the_batching() -> None:
    """A signature whose outputs cannot be split answers each request alone, and is not batched again."""
    assert run(np.unique, [1, 1], [2]) == ([[1], [2]], [3, 2, 1], set())


def test_what_is_no_fault_of_the_request_is_internal() -> None:
    """A client can tell its own mistake from a server that failed."""

    def out_of_memory(_: np.ndarray) -> np.ndarray:
        raise MemoryError("no memory left")

    ((error,), _, _) = run(out_of_memory, [1])
    assert (error.code, str(error)) == ("INTERNAL", "scale/times: no memory left")

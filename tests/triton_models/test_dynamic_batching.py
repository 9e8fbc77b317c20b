"""Requests of one execute() -> batches that share a TensorFlow call."""

from typing import Any

import numpy as np
import pytest
from helpers import backend_module

dynamic_batching = backend_module("dynamic_batching")
KEY = dynamic_batching.SignatureKey("resnet50", 1, "predict_images")


def request_of(position: int, n: int = 1, *, key: tuple = KEY, **inputs: np.ndarray) -> Any:
    arrays = inputs or {"images": np.full((n, 2, 2, 3), position, np.uint8)}
    return dynamic_batching.ParsedRequest(position=position, key=key, inputs=arrays, outputs=frozenset({"logits"}))


def batches_of(requests: list[Any], max_items: int = 100) -> list[list[int]]:
    """The positions of the requests of each batch."""
    found = dynamic_batching.batches(requests, max_items=max_items)
    return [[each.position for each in batch] for batch in found]


@pytest.mark.parametrize(("counts", "full"), [([1], False), ([1, 2], False), ([2, 1], True), ([3], True), ([9], True)])
def test_a_batch_is_full_when_no_request_like_its_first_fits(counts: list[int], full: bool) -> None:
    """Only a batch that would gain nothing by waiting leaves execute() for the pipeline."""
    batch = tuple(request_of(position, n) for position, n in enumerate(counts))
    assert dynamic_batching.is_full(batch, max_items=4) == full


@pytest.mark.parametrize(
    ("counts", "max_items", "expected"),
    [
        ([], 4, []),
        ([1, 1, 1], 3, [[0, 1, 2]]),
        ([1, 1, 1], 2, [[0, 1], [2]]),
        ([2, 2, 1], 4, [[0, 1], [2]]),
        ([3, 2, 1], 4, [[0], [1, 2]]),
        ([9, 1], 4, [[0], [1]]),
        ([1, 9, 1], 4, [[0], [1], [2]]),
        ([1, 1], 1, [[0], [1]]),
    ],
)
def test_a_batch_has_at_most_the_items_that_are_allowed(counts: list[int], max_items: int, expected: list) -> None:
    """Requests are batched in order of arrival up to the limit; a request beyond it goes alone."""
    assert batches_of([request_of(i, n) for i, n in enumerate(counts)], max_items) == expected


@pytest.mark.parametrize(
    "other",
    [
        request_of(1, key=("efficientnetb0", 1, "predict_images")),
        request_of(1, key=("resnet50", 2, "predict_images")),
        request_of(1, key=("resnet50", 1, "predict_jpeg")),
        request_of(1, images=np.zeros((1, 2, 2, 3), np.float32)),
        request_of(1, images=np.zeros((1, 2, 3, 3), np.uint8)),
        request_of(1, pictures=np.zeros((1, 2, 2, 3), np.uint8)),
        request_of(1, images=np.zeros((1, 2, 2, 3), np.uint8), boxes=np.zeros((1, 4), np.float32)),
    ],
    ids=["model", "version", "signature", "dtype", "shape", "name", "inputs"],
)
def test_only_what_is_alike_is_batched(other: Any) -> None:
    """Requests of another model, version, signature, dtype or trailing shape never share a call."""
    assert sorted(batches_of([request_of(0), other, request_of(2)])) == [[0, 2], [1]]


def test_the_order_of_inputs_does_not_matter() -> None:
    """Two requests that bring the same inputs in another order are alike."""
    a, b = np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32)
    assert batches_of([request_of(0, a=a, b=b), request_of(1, b=b, a=a)]) == [[0, 1]]


def test_every_request_is_in_exactly_one_request_of() -> None:
    """No request is lost or served twice, whatever meets in one execute()."""
    requests = [request_of(i, 1 + i % 3, key=("m", 1, "ab"[i % 2])) for i in range(20)]
    found = batches_of(requests, max_items=5)
    assert sorted(position for batch in found for position in batch) == list(range(20))
    assert all(batch == sorted(batch) for batch in found)


@pytest.mark.parametrize(("rows", "splittable"), [((3, 3), True), ((3, 2), False)])
def test_inputs_of_unlike_length_cannot_be_split(rows: tuple[int, int], splittable: bool) -> None:
    """A request whose inputs differ in their first dimension is not batched: one split would not fit all."""
    inputs = {name: np.zeros((n, 4), np.float32) for name, n in zip("ab", rows, strict=True)}
    assert request_of(0, **inputs).is_splittable is splittable

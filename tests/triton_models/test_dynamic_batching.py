"""Requests of one execute() -> TensorFlow calls that several requests share."""

from typing import Any

import numpy as np
import pytest
from helpers import backend_module

merging = backend_module("merging")
KEY = ("resnet50", 1, "predict_images")


def call(position: int, n: int = 1, *, key: tuple = KEY, **inputs: np.ndarray) -> Any:
    arrays = inputs or {"images": np.full((n, 2, 2, 3), position, np.uint8)}
    return merging.Call(position=position, key=key, inputs=arrays, outputs=frozenset({"logits"}))


def lots(calls: list[Any], max_images: int = 100) -> list[list[int]]:
    return [[each.position for each in lot] for lot in merging.merged(calls, max_images=max_images)]


@pytest.mark.parametrize(("counts", "full"), [([1], False), ([1, 2], False), ([2, 1], True), ([3], True), ([9], True)])
def test_a_lot_is_full_when_no_call_like_its_first_fits(counts: list[int], full: bool) -> None:
    """Only a lot that nothing would be gained by waiting for leaves execute() for the pipeline."""
    lot = tuple(call(position, n) for position, n in enumerate(counts))
    assert merging.is_full(lot, max_images=4) == full


@pytest.mark.parametrize(
    ("counts", "max_images", "expected"),
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
def test_a_call_has_at_most_the_images_that_are_allowed(counts: list[int], max_images: int, expected: list) -> None:
    """Requests are merged in order of arrival up to the limit; a request beyond it goes alone."""
    assert lots([call(i, n) for i, n in enumerate(counts)], max_images) == expected


@pytest.mark.parametrize(
    "other",
    [
        call(1, key=("efficientnetb0", 1, "predict_images")),
        call(1, key=("resnet50", 2, "predict_images")),
        call(1, key=("resnet50", 1, "predict_jpeg")),
        call(1, images=np.zeros((1, 2, 2, 3), np.float32)),
        call(1, images=np.zeros((1, 2, 3, 3), np.uint8)),
        call(1, pictures=np.zeros((1, 2, 2, 3), np.uint8)),
        call(1, images=np.zeros((1, 2, 2, 3), np.uint8), boxes=np.zeros((1, 4), np.float32)),
    ],
    ids=["model", "version", "signature", "dtype", "shape", "name", "inputs"],
)
def test_only_what_is_alike_is_merged(other: Any) -> None:
    """Requests of another model, version, signature, dtype or trailing shape never share a call."""
    assert sorted(lots([call(0), other, call(2)])) == [[0, 2], [1]]


def test_the_order_of_inputs_does_not_matter() -> None:
    """Two requests that bring the same inputs in another order are alike."""
    a, b = np.zeros((1, 2), np.float32), np.zeros((1, 3), np.float32)
    assert lots([call(0, a=a, b=b), call(1, b=b, a=a)]) == [[0, 1]]


def test_every_request_is_in_exactly_one_call() -> None:
    """No request is lost or served twice, whatever meets in one execute()."""
    calls = [call(i, 1 + i % 3, key=("m", 1, "ab"[i % 2])) for i in range(20)]
    found = lots(calls, max_images=5)
    assert sorted(position for lot in found for position in lot) == list(range(20))
    assert all(lot == sorted(lot) for lot in found)


@pytest.mark.parametrize(("rows", "aligned"), [((3, 3), True), ((3, 2), False)])
def test_inputs_of_unlike_length_cannot_be_split(rows: tuple[int, int], aligned: bool) -> None:
    """A request whose inputs differ in their first dimension is not merged: one split would not fit all."""
    inputs = {name: np.zeros((n, 4), np.float32) for name, n in zip("ab", rows, strict=True)}
    assert call(0, **inputs).is_aligned is aligned


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_concatenation_keeps_every_value(dtype: type) -> None:
    """The merged input holds each request's values in order, whatever was in the memory before."""
    scratch = merging.Scratch()
    scratch.concatenate("x", [np.full((50, 2, 3), 9, dtype)])
    parts = [np.arange(n * 6, dtype=dtype).reshape(n, 2, 3) + n for n in (1, 4, 2)]
    whole = scratch.concatenate("x", parts)
    assert whole.dtype == dtype
    assert whole.tolist() == [row for part in parts for row in part.tolist()]


@pytest.mark.parametrize("n", [1, 3, 7, 1000])
def test_merged_inputs_are_aligned_for_tensorflow(n: int) -> None:
    """Memory that TensorFlow borrows starts at a multiple of 64 bytes, as its CPU kernels demand."""
    scratch = merging.Scratch()
    starts = [scratch.concatenate(str(i), [np.zeros((n, 5), np.uint8)]).ctypes.data for i in range(8)]
    assert [start % 64 for start in starts] == [0] * 8


def test_memory_is_reused_and_kept_apart_by_name() -> None:
    """Equal calls use the same memory again; inputs of different names never share any."""
    scratch, part = merging.Scratch(), np.ones((4, 5), np.float32)
    first, other, again = (scratch.concatenate(name, [part]) for name in ("a", "b", "a"))
    assert np.shares_memory(first, again)
    assert not np.shares_memory(first, other)


def test_scratch_knows_what_is_its_own() -> None:
    """An answer that TensorFlow handed through from scratch memory is recognized, so that it can be copied."""
    scratch, part = merging.Scratch(), np.ones((4, 5), np.float32)
    whole = scratch.concatenate("a", [part, part])
    assert scratch.holds(whole[2:3])
    assert not scratch.holds(part)
    assert not scratch.holds(whole.copy())

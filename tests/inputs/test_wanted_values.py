"""Values from files: what an input takes is sent as it is, and what it does not take has a reason."""

import numpy as np
import pytest

from raybench.inputs.wanted_values import MisfitError, Wanted, from_raw, item_of

TAKEN = {
    "integers for floats": ([1, 2], "FP32", (2,), np.float32([1, 2])),
    "nested lists": ([[1, 2], [3, 4]], "INT8", (2, 2), np.int8([[1, 2], [3, 4]])),
    "a flat list of a declared shape": ([1, 2, 3, 4], "INT8", (2, 2), np.int8([[1, 2], [3, 4]])),
    "a list of any length": ([1, 2, 3], "UINT16", (-1,), np.uint16([1, 2, 3])),
    "an empty list": ([], "FP32", (-1,), np.zeros(0, np.float32)),
    "a number for a list of one": (7, "INT64", (1,), np.int64([7])),
    "a list of one for a number": ([7], "INT64", (), np.int64(7)),
    "the largest of 64 bits": ([2**64 - 1], "UINT64", (1,), np.uint64([2**64 - 1])),
    "whole floats for integers": ([1.0, -2.0], "INT32", (2,), np.int32([1, -2])),
    "truths": ([True, False], "BOOL", (2,), np.array([True, False])),
    "infinity": ([float("inf")], "FP16", (1,), np.float16([np.inf])),
    "what bfloat16 holds": ([1.1, float("-inf")], "BF16", (2,), np.float32([1.09375, -np.inf])),
    "texts": (["ä", b"a\0", ""], "BYTES", (3,), np.array(["ä".encode(), b"a\0", b""], object)),
    "a text": ("a", "BYTES", (), np.array(b"a", object)),
    "raw bytes": (b"\0\0\x80\x3f", "FP32", (1,), np.float32([1])),
    "any shape": ([[[1]]], "UINT8", None, np.uint8([[[1]]])),
}
REFUSED = {
    "null": (None, "FP32", (), "x is null"),
    "null in a list": ([None, 1], "FP32", (2,), "x has null, but it takes FP32"),
    "ragged rows": ([[1], [2, 3]], "FP32", (-1, -1), "x is ragged"),
    "ragged texts": ([["a"], ["b", "c"]], "BYTES", (-1, -1), "x is ragged"),
    "another rank": ([[1, 2]], "FP32", (2,), "x has shape [1, 2], but an item has [2]"),
    "another length": ([1, 2, 3], "FP32", (2,), "x has shape [3], but an item has [2]"),
    "NaN for an integer": ([float("nan")], "INT32", (1,), "x has nan, but INT32 takes whole numbers"),
    "a fraction for an integer": ([1.5], "INT32", (1,), "x has 1.5"),
    "beyond 8 bits": ([300], "INT8", (1,), "x has 300, which INT8 does not hold"),
    "below 0": ([-1], "UINT16", (1,), "x has -1, which UINT16 does not hold"),
    "beyond 64 bits": ([2**64], "UINT64", (1,), "x has 18446744073709551616, which UINT64 does not hold"),
    "the first float beyond 64 bits": ([2.0**63], "INT64", (1,), "which INT64 does not hold"),
    "beyond half precision": ([1e6], "FP16", (1,), "x has 1000000.0, beyond FP16"),
    "beyond bfloat16": ([3.4e38], "BF16", (1,), "beyond BF16"),
    "a number for a truth": ([1], "BOOL", (1,), "x has 1, but it takes BOOL"),
    "a truth for a number": ([True], "INT32", (1,), "x has True, but it takes INT32"),
    "a text for a number": (["a"], "FP32", (1,), "x has 'a', but it takes FP32"),
    "a number for a text": ([7], "BYTES", (1,), "x has 7, but it takes text"),
    "an object": ([{}], "FP32", (1,), "x has a dict"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_an_input_takes_is_sent_in_its_type_and_shape(name: str) -> None:
    """Numbers, texts, bytes and nested lists become arrays of the declared type and shape."""
    value, datatype, shape, expected = TAKEN[name]
    found = item_of(value, Wanted("x", datatype, shape))
    assert found.dtype == np.asarray(expected).dtype
    assert found.shape == np.shape(expected)
    assert found.tolist() == np.asarray(expected).tolist()


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_input_does_not_take_has_a_reason(name: str) -> None:
    """A value is never cut, wrapped or rounded to fit: it is refused with what is wrong."""
    value, datatype, shape, reason = REFUSED[name]
    with pytest.raises(MisfitError) as error:
        item_of(value, Wanted("x", datatype, shape))
    assert reason in str(error.value)


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "expected"),
    [
        (np.array([1, -2], "<i2").tobytes(), "INT16", (2,), [1, -2]),
        (np.array([1.5], "<f8").tobytes(), "FP64", (), 1.5),
        (b"\x80\x3f\0\xc0", "BF16", (2,), [1.0, -2.0]),
        (b"\2\0\0\0a\0\0\0\0\0", "BYTES", (2,), [b"a\0", b""]),
        (b"\1\0", "BOOL", (2,), [True, False]),
    ],
)
def test_raw_bytes_are_little_endian_and_texts_have_their_length(
    data: bytes, datatype: str, shape: tuple[int, ...], expected: object
) -> None:
    """Raw tensors are read as perf_analyzer and Triton lay them out."""
    assert from_raw(data, Wanted("x", datatype, shape), shape).tolist() == expected


@pytest.mark.parametrize(
    ("data", "datatype", "reason"),
    [
        (bytes(6), "FP32", "6 bytes, which do not make whole FP32 values"),
        (bytes(4), "FP32", "x has 4 bytes, and [2] FP32 takes 8 bytes"),
        (b"\5\0\0\0a", "BYTES", "ends beyond its bytes"),
        (b"\1\0\0\0a", "BYTES", "x has 1 texts, and [2] BYTES takes 2 texts"),
    ],
)
def test_raw_bytes_of_another_length_are_refused(data: bytes, datatype: str, reason: str) -> None:
    """Bytes that are too few, too many or cut off are never padded."""
    with pytest.raises(MisfitError, match=reason.replace("[", r"\[").replace("]", r"\]")):
        from_raw(data, Wanted("x", datatype, (2,)), (2,))

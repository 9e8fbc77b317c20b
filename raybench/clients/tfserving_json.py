"""Tensors in the JSON of TensorFlow Serving's REST API: requests to predict, and the answers.

The forms are those of tensorflow_serving/g3doc/api_rest.md, as tensorflow_serving/util/json_tensor.cc reads and writes
them.
"""

import base64
import json
from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

import numpy as np

from raybench.clients.base import MalformedReplyError, UnsupportedReplyError
from raybench.inputs.random_values import NUMPY_TYPES
from raybench.inputs.tensors import Batch, bytes_of
from raybench.models.saved_models import TensorSpec

# The types that json.loads gives the values of a tensor of each of numpy's kinds.
_LEAVES: dict[str, set[type]] = {"f": {float, int}, "i": {int}, "u": {int}, "b": {bool}, "O": {str, dict}}
_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}
_LEAST, _MOST = -128, 255  # of integers of one byte
_SMALL = np.array([str(value) for value in range(_LEAST, _MOST + 1)], object)
_NOT_UTF8 = "surrogateescape"  # strings come as the bytes that they are


def request_json(signature: str, batch: Batch, *, is_row_format: bool) -> bytes:
    """A request to predict: in row format `instances`, an element an item; else `inputs`, an input whole.

    The values of a single input stand without its name.
    """
    key, values = ("instances", _instances(batch)) if is_row_format else ("inputs", _inputs(batch))
    return f'{{"signature_name":{json.dumps(signature)},"{key}":{values}}}'.encode()


def answered_arrays(content: bytes, outputs: Mapping[str, TensorSpec]) -> dict[str, np.ndarray]:
    """The arrays of an answer in either format, by the name and in the type of the signature's outputs.

    Raises UnsupportedReplyError for a type that is not read, and ValueError, TypeError, LookupError or
    MalformedReplyError for what is no answer of these outputs.
    """
    answer = json.loads(content.decode("utf-8", _NOT_UTF8))
    values = _columns(answer, len(outputs) == 1)
    named = dict.fromkeys(outputs, values) if len(outputs) == 1 else dict(values)
    if set(named) != set(outputs):
        raise MalformedReplyError(f"the answer has outputs {sorted(named)}, the signature {sorted(outputs)}")
    return {name: _array(named[name], outputs[name]) for name in sorted(outputs)}


def _instances(batch: Batch) -> str:
    if len(batch) == 1:
        return _inputs(batch)
    by_item = zip(*(map(_value, _items(array)) for array in batch.values()), strict=True)
    return f"[{','.join(_object(batch, values) for values in by_item)}]"


def _inputs(batch: Batch) -> str:
    values = [_value(array) for array in batch.values()]
    return values[0] if len(values) == 1 else _object(batch, values)


def _object(names: Iterable[str], values: Iterable[str]) -> str:
    return f"{{{','.join(f'{json.dumps(name)}:{value}' for name, value in zip(names, values, strict=True))}}}"


def _items(array: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(item, array.dtype) for item in array]


def _value(array: np.ndarray) -> str:
    """An array as nested lists; a scalar stands alone."""
    if not array.size:
        return json.dumps(array.tolist(), separators=(",", ":"))
    pieces = np.empty(2 * array.size, object)
    pieces[::2], pieces[1::2] = _texts(array.reshape(-1)), _separators(array.shape)
    return "[" * array.ndim + "".join(pieces.tolist()) + "]" * array.ndim


def _separators(shape: tuple[int, ...]) -> np.ndarray:
    """What follows each value of an array of such a shape: where lists end, as many as end there."""
    found = np.full(prod(shape), ",", object)
    for closed in range(1, len(shape)):
        size = prod(shape[-closed:])
        found[size - 1 :: size] = "]" * closed + "," + "[" * closed
    found[-1] = ""
    return found


def _texts(values: np.ndarray) -> np.ndarray:
    """The JSON of each value; a float in the fewest digits that read back as the same float of its type."""
    kind, size = values.dtype.kind, values.dtype.itemsize
    if kind in "OS":
        return _objects([f'{{"b64":"{base64.b64encode(value).decode()}"}}' for value in bytes_of(values)])
    if kind == "b":
        return np.array(["false", "true"], object)[values.astype(np.intp)]
    if size == 1:
        return np.asarray(_SMALL[values.astype(np.intp) - _LEAST])
    if kind in "iu":
        return _objects(list(map(str, values.tolist())))
    bits, places = np.unique(values.view(f"u{size}"), return_inverse=True)  # pictures have few values
    texts = [str(value) for value in bits.view(values.dtype)]
    return np.asarray(_objects([_NOT_FINITE.get(text, text) for text in texts])[places])


def _objects(values: list[Any]) -> np.ndarray:
    made = np.empty(len(values), object)
    made[:] = values
    return made


def _columns(answer: Any, is_single: bool) -> Any:
    """What an answer says of each output: one value where the signature has a single output, else values by name."""
    if not isinstance(answer, dict) or not {"predictions", "outputs"} & set(answer):
        raise MalformedReplyError("the answer has neither predictions nor outputs")
    if "outputs" in answer or is_single:
        return answer.get("outputs", answer.get("predictions"))
    rows = answer["predictions"]
    return {name: [row[name] for row in rows] for name in rows[0]}


def _array(values: Any, spec: TensorSpec) -> np.ndarray:
    if spec.datatype not in NUMPY_TYPES:
        raise UnsupportedReplyError(f"raybench does not read TensorFlow's type {spec.datatype} from JSON")
    dtype: Any = np.dtype(NUMPY_TYPES[spec.datatype])
    leaves = np.array(values, object)
    flat = leaves.reshape(-1).tolist()
    if wrong := set(map(type, flat)) - _LEAVES[dtype.kind]:
        raise TypeError(f"{spec.datatype} cannot be of JSON's {wrong.pop().__name__}")
    if dtype.kind == "O":
        return _objects([_bytes(leaf) for leaf in flat]).reshape(leaves.shape)
    if dtype.kind in "iu" and flat and not np.iinfo(dtype).min <= min(flat) <= max(flat) <= np.iinfo(dtype).max:
        raise ValueError(f"{spec.datatype} cannot be {min(flat)} to {max(flat)}")
    return leaves.astype(dtype).reshape(_shape(leaves.shape, spec))


def _shape(found: tuple[int, ...], spec: TensorSpec) -> tuple[int, ...]:
    """The shape of an answer; JSON does not say what is in an empty list, the signature may."""
    if prod(found) or spec.shape is None:
        return found
    return (*found, *(max(size, 0) for size in spec.shape[len(found) :]))


def _bytes(leaf: Any) -> bytes:
    """A string: text as its bytes, or what TensorFlow Serving wrote in base64 (outputs whose names end in _bytes)."""
    if isinstance(leaf, str):
        return leaf.encode("utf-8", _NOT_UTF8)
    ((key, text),) = leaf.items()
    if key != "b64":
        raise ValueError(f"a string cannot be an object with {key!r}")
    return base64.b64decode(text, validate=True)

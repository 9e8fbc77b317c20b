"""Requests of the REST API as messages, refused where tensorflow_serving/util/json_tensor.cc refuses them."""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from config_files import Refusal
from session import as_fields, cpp_name
from tensorflow_serving.apis import predict_pb2

INVALID, UNIMPLEMENTED = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.UNIMPLEMENTED
NOT_UTF8 = "surrogateescape"
_INT32, _INT64 = (-(2**31), 2**31 - 1), (-(2**63), 2**63 - 1)
_RANGES = {
    tf.int32: _INT32, tf.int16: _INT32, tf.int8: _INT32, tf.uint8: _INT32, tf.int64: _INT64,
    tf.uint32: (0, 2**32 - 1), tf.uint64: (0, 2**64 - 1),
}  # fmt: skip
_TYPES = {
    type(None): "Null", bool: "", dict: "Object", list: "Array", str: "String", int: "Number", float: "Number",
}  # fmt: skip
_MOST_SHOWN = 256
Inputs = Mapping[str, Any]  # TensorInfo by name


@dataclass(frozen=True)
class Instances:
    """What the elements of a list of instances have given so far: values and the shape of one, by input."""

    values: dict[str, list[Any]]
    shapes: dict[str, tuple[int, ...]]


def predict_request(body: bytes, spec: Any, inputs_of: Callable[[str], Inputs]) -> tuple[Any, bool]:
    """A PredictRequest, and whether it came in row format; raises Refusal."""
    asked = _document(body)
    name = asked.get("signature_name", "")
    if not isinstance(name, str):
        raise _refusal(asked, "not formatted correctly. 'signature_name' key must be a string value.")
    request = predict_pb2.PredictRequest(model_spec=spec)
    request.model_spec.signature_name = name
    inputs = inputs_of(name)
    if not inputs:
        raise Refusal(INVALID, f"Failed to get input map for signature: {name or 'DEFAULT'}")
    is_row_format = "instances" in asked
    if is_row_format and "inputs" in asked:
        raise _refusal(asked, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist ")
    if is_row_format:
        arrays = _from_instances(asked, inputs)
    elif "inputs" in asked:
        arrays = _from_inputs(asked["inputs"], inputs)
    else:
        raise Refusal(INVALID, "Missing 'inputs' or 'instances' key")
    for key, array in arrays.items():
        request.inputs[key].CopyFrom(as_fields(array, inputs[key].dtype))
    return request, is_row_format


def _document(body: bytes) -> dict[str, Any]:
    """The first value in the body; what follows it is not looked at."""
    if not body:
        raise Refusal(INVALID, "JSON Parse error: The document is empty")
    text = body.decode("utf-8", NOT_UTF8).lstrip()
    try:
        found, _ = json.JSONDecoder().raw_decode(text)
    except json.JSONDecodeError as error:
        raise Refusal(INVALID, f"JSON Parse error: Invalid value. at offset: {error.pos}") from error
    if not isinstance(found, dict):
        raise _refusal(found, "Is not object")
    return found


def _from_instances(asked: dict[str, Any], inputs: Inputs) -> dict[str, np.ndarray]:
    elements = asked["instances"]
    if not isinstance(elements, list):
        raise _refusal(asked, "Expecting 'instances' to be an list/array")
    if not elements:
        raise _refusal(asked, "No values in 'instances' array")
    if not isinstance(elements[0], dict) and len(inputs) > 1:
        raise Refusal(
            INVALID,
            "instances is a plain list, but expecting list of objects as multiple input tensors required as per "
            "tensorinfo_map",
        )
    are_objects, found = _is_object(elements[0]), Instances({}, {})
    for place, element in enumerate(elements):
        _add_element(place, element, are_objects, inputs, found)
    return {
        name: _filled(values, (len(elements), *found.shapes[name]), inputs[name].dtype)
        for name, values in found.values.items()
    }


def _add_element(place: int, element: Any, is_object: bool, inputs: Inputs, found: Instances) -> None:
    if _is_object(element) != is_object:
        wanted, got = ("object", "list") if is_object else ("value/list", "object")
        raise Refusal(INVALID, f"Expecting {wanted} but got {got} at item {place} of input list")
    named = element if is_object else {next(iter(inputs)): element}
    for key, value in named.items():
        try:
            _add_value(key, value, inputs, found)
        except Refusal as refusal:
            at = f"element: {place} key: {key}" if is_object else f"element: {place}"
            raise Refusal(INVALID, f"Failed to process {at} of 'instances' list. Error: {refusal}") from refusal
    if set(named) != set(inputs):
        raise Refusal(
            INVALID,
            f"Failed to process element: {place} of 'instances' list. JSON object: {_shown(element)} keys must be "
            f"equal to: {','.join(sorted(inputs))}",
        )


def _add_value(key: str, value: Any, inputs: Inputs, found: Instances) -> None:
    if key not in inputs:
        raise Refusal(INVALID, f"JSON object: does not have named input: {key}")
    flat, shape = _flat(value, inputs[key].dtype)
    known = found.shapes.setdefault(key, shape)
    if known != shape:
        if np.prod(known) != len(flat):
            raise Refusal(INVALID, f"Expecting tensor size: {np.prod(known):g} but got: {len(flat)}")
        raise Refusal(INVALID, f"Expecting shape {_dims(known)} but got: {_dims(shape)}")
    found.values.setdefault(key, []).extend(flat)


def _from_inputs(values: Any, inputs: Inputs) -> dict[str, np.ndarray]:
    if not _is_object(values):
        if len(inputs) > 1:
            raise Refusal(
                INVALID,
                "inputs is a plain value/list, but expecting an object as multiple input tensors required as per "
                "tensorinfo_map",
            )
        values = {next(iter(inputs)): values}
    if missing := [name for name in inputs if name not in values]:
        raise Refusal(INVALID, f"Missing named input: {missing[0]} in 'inputs' object.")
    flat = {name: _flat(values[name], info.dtype) for name, info in inputs.items()}
    return {name: _filled(*flat[name], inputs[name].dtype) for name in inputs}


def _flat(value: Any, number: int) -> tuple[list[Any], tuple[int, ...]]:
    """The values in a nest of lists, and its shape, by the first element of each list."""
    shape, first = [], value
    while isinstance(first, list):
        shape.append(len(first))
        first = first[0] if first else None
    flat: list[Any] = []
    _fill(value, 0, tuple(shape), number, flat)
    return flat, tuple(shape)


def _fill(value: Any, level: int, shape: tuple[int, ...], number: int, flat: list[Any]) -> None:
    rank = len(shape)
    if not isinstance(value, list):
        if level != rank:
            sentence = f"found at incorrect level: {level + 1} in the JSON DOM. Expected at level: {rank}"
            raise _refusal(value, sentence)
        flat.append(_leaf(value, number))
        return
    if level >= rank:
        raise Refusal(INVALID, f"Encountered list at unexpected level: {level} expected < {rank}")
    if len(value) != shape[level]:
        raise Refusal(
            INVALID,
            f"Encountered list at unexpected size: {len(value)} at level: {level} expected size: {shape[level]}",
        )
    for each in value:
        _fill(each, level + 1, shape, number, flat)


def _leaf(value: Any, number: int) -> Any:
    dtype, kind = tf.dtypes.as_dtype(number), type(value)
    if dtype == tf.string and kind is dict:
        return _decoded(value)
    if kind is dict or (dtype in ACCEPTED and not ACCEPTED[dtype](value)):
        name = str(value) if kind is bool else _TYPES[kind]
        raise _refusal(value, f"Type: {name} is not of expected type: {cpp_name(number)}")
    if dtype not in ACCEPTED:
        raise Refusal(UNIMPLEMENTED, f"Conversion of JSON Value: {_shown(value)} to type: {cpp_name(number)}")
    return value.encode("utf-8", NOT_UTF8) if kind is str else value


def _is_integer(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and least <= value <= most


ACCEPTED: dict[Any, Callable[[Any], bool]] = {
    **{dtype: _is_integer(*limits) for dtype, limits in _RANGES.items()},
    **dict.fromkeys((tf.float32, tf.float64), lambda value: type(value) in (int, float)),
    tf.bool: lambda value: type(value) is bool,
    tf.string: lambda value: type(value) is str,
}


def _decoded(value: dict[str, Any]) -> bytes:
    if not _is_base64(value):
        raise _refusal(value, "not formatted correctly for base64 data")
    try:
        return base64.b64decode(value["b64"], validate=True)
    except binascii.Error as error:
        raise Refusal(INVALID, "Unable to base64 decode") from error


def _filled(flat: list[Any], shape: tuple[int, ...], number: int) -> np.ndarray:
    """Integers are cut to the bytes of their type, as those of a TensorProto are."""
    dtype = tf.dtypes.as_dtype(number)
    if dtype == tf.string:
        made = np.empty(len(flat), object)
        made[:] = flat
        return made.reshape(shape)
    wide = np.array(flat, np.int64) if dtype.size < 8 and dtype.is_integer else np.array(flat, dtype.as_numpy_dtype)
    return wide.astype(dtype.as_numpy_dtype).reshape(shape)


def _is_base64(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict) and not _is_base64(value)


def _refusal(value: Any, sentence: str) -> Refusal:
    return Refusal(INVALID, f"JSON Value: {_shown(value)} {sentence}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        fields = ",\n".join(f"    {json.dumps(key)}: {json.dumps(each)}" for key, each in value.items())
        return f"{{\n{fields}\n}}"[:_MOST_SHOWN]
    return json.dumps(value)[:_MOST_SHOWN]


def _dims(shape: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, shape))}]"

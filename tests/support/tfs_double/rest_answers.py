"""Answers of the REST API as JSON, as tensorflow_serving/util/json_tensor.cc writes them."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf
from config_files import Refusal
from rest_requests import ACCEPTED, INVALID, NOT_UTF8
from session import cpp_name


def answer_json(response: Any, *, is_row_format: bool) -> bytes:
    """A PredictResponse as JSON; raises Refusal for what it cannot say."""
    tensors = dict(response.outputs)
    texts = {name: _texts(name, proto) for name, proto in tensors.items()}
    shapes = {name: tuple(dim.size for dim in proto.tensor_shape.dim) for name, proto in tensors.items()}
    if not is_row_format:
        whole = {name: _nested(texts[name], shapes[name]) for name in tensors}
        text = f'{{\n    "outputs": {_named(whole)}\n}}'
        return text.encode("utf-8", NOT_UTF8)
    counts = _counts(shapes)
    rows = []
    for item in range(counts):
        parts = {name: _nested(*_part(texts[name], shapes[name], item)) for name in tensors}
        rows.append(_named(parts))
    return f'{{\n    "predictions": [{", ".join(rows)}\n    ]\n}}'.encode("utf-8", NOT_UTF8)


def error_json(sentence: str) -> bytes:
    return json.dumps({"error": sentence}, indent=4).encode()


def _counts(shapes: Mapping[str, tuple[int, ...]]) -> int:
    """How many items every output has."""
    count = -1
    for name, shape in shapes.items():
        if not shape:
            raise Refusal(INVALID, f"Tensor name: {name} has no shape information ")
        if count not in (-1, shape[0]):
            raise Refusal(INVALID, f"Tensor name: {name} has inconsistent batch size: {shape[0]} expecting: {count}")
        count = shape[0]
    return count


def _part(texts: list[str], shape: tuple[int, ...], item: int) -> tuple[list[str], tuple[int, ...]]:
    size = len(texts) // shape[0]
    return texts[item * size : (item + 1) * size], shape[1:]


def _named(values: Mapping[str, str]) -> str:
    if len(values) == 1:
        return next(iter(values.values()))
    return f"{{{', '.join(f'{json.dumps(name)}: {value}' for name, value in values.items())}}}"


def _nested(texts: list[str], shape: tuple[int, ...]) -> str:
    if not shape:
        return texts[0]
    size = len(texts) // shape[0] if shape[0] else 0
    parts = [_nested(texts[item * size : (item + 1) * size], shape[1:]) for item in range(shape[0])]
    return f"[{', '.join(parts)}]"


def _texts(name: str, proto: Any) -> list[str]:
    dtype = tf.dtypes.as_dtype(proto.dtype)
    values = tf.make_ndarray(proto).reshape(-1)
    if dtype == tf.string:
        return [_string(value, name.endswith("_bytes")) for value in values]
    if dtype not in ACCEPTED:
        raise Refusal(INVALID, f"Failed to write JSON value for tensor type: {cpp_name(proto.dtype)}")
    if dtype.is_floating:
        return [_decimal(value, 9 if dtype == tf.float32 else 17) for value in values]
    return [json.dumps(value) for value in values.tolist()]


def _string(value: bytes, is_binary: bool) -> str:
    if is_binary:
        return json.dumps({"b64": base64.b64encode(value).decode()})
    return json.dumps(value.decode("utf-8", NOT_UTF8), ensure_ascii=False)


def _decimal(value: Any, digits: int) -> str:
    """Six digits where they read back as the same number, else all; a whole number ends in .0."""
    if not np.isfinite(value):
        return "NaN" if np.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    text = f"{value:g}"
    if type(value)(text) != value:
        text = f"{value:.{digits}g}"
    return text if "." in text or "e" in text else f"{text}.0"

"""What a request names and brings, checked; what it cannot be served for is a Refusal. Knows no Triton."""

from typing import Any

import numpy as np
from saved_models import Signature

_LONGEST_LISTING = 1000  # gRPC refuses long error messages
_NUMPY_NAMES = {"FP32": "float32", "FP64": "float64", "FP16": "float16", "BOOL": "bool", "BYTES": "object"}


class Refusal(Exception):
    """A request that cannot be served: the name of Triton's error code and a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def routing(tensor: np.ndarray | None, parameter: object, what: str, there: Any) -> str:
    if tensor is None and parameter is None:
        raise Refusal(
            "INVALID_ARG", f"{what} is missing: send it as an input or as a parameter; there are {listing(there)}"
        )
    if parameter is not None:
        return str(parameter)
    value = tensor.reshape(-1)[0]  # type: ignore[union-attr]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def served_version(name: str, asked: object, served: tuple[int, ...]) -> int:
    if asked is None:
        return served[-1]
    by_text = {str(version): version for version in served}
    if str(asked) not in by_text:
        raise Refusal("NOT_FOUND", f"model {name!r} has no version {str(asked)[:100]!r}; there are {list(served)}")
    return by_text[str(asked)]


def unwrapped(where: str, name: str, array: np.ndarray, signature: Signature) -> np.ndarray:
    """An input without Triton's leading element, checked against the signature."""
    spec = signature.inputs[name]
    if array.shape[:1] != (1,):
        raise Refusal("INVALID_ARG", f"{where}: input {name!r} has a leading dimension of {array.shape[0]}; send 1")
    if array.dtype != numpy_name(spec.datatype):
        raise Refusal("INVALID_ARG", f"{where}: input {name!r} is {array.dtype}; it takes {spec.datatype}")
    inner = array[0].reshape(()) if spec.shape == () and array.size == 1 else array[0]
    shape = spec.shape if spec.shape is not None else inner.shape
    if len(inner.shape) != len(shape) or any(s not in (-1, d) for s, d in zip(shape, inner.shape, strict=True)):
        raise Refusal("INVALID_ARG", f"{where}: input {name!r} has shape {list(inner.shape)}; it takes {list(shape)}")
    if inner.size == 0:
        raise Refusal("INVALID_ARG", f"{where}: input {name!r} is empty, shape {list(inner.shape)}; send at least one")
    return inner


def numpy_name(datatype: str) -> str:
    return _NUMPY_NAMES.get(datatype, datatype.lower())


def listing(names: Any) -> str:
    text = ", ".join(sorted(names)) or "none"
    return text if len(text) < _LONGEST_LISTING else f"{text[:_LONGEST_LISTING]}..."

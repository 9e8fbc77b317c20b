"""What a request names and brings -> what is executed, or the error that it gets."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import backend_module

saved_models, dynamic_batching = backend_module("saved_models"), backend_module("dynamic_batching")
request_parsing = backend_module("request_parsing")

X = np.ones((1, 3, 2), np.float32)
SPEC = saved_models.TensorSpec("FP32", (-1, 2))
SIGNATURE = saved_models.Signature(inputs={"x": SPEC}, outputs={"y": SPEC})
KEYS = [dynamic_batching.SignatureKey("scale", version, "times") for version in (1, 3)]
PARSER = request_parsing.RequestParser(
    versions={"scale": (1, 3)},
    signatures=dict.fromkeys(KEYS, SIGNATURE),
    unservable={},
    declared_outputs=frozenset({"y", "about"}),
)
REQUEST = request_parsing.RawRequest(
    arrays={"x": X}, parameters={"model": "scale", "signature": "times"}, outputs=frozenset({"y"})
)


def names(**parts: str) -> dict[str, Any]:
    """Routing tensors as clients of the demo send them."""
    return {name: np.array([[part.encode()]], object) for name, part in parts.items()}


@pytest.mark.parametrize(("version", "expected"), [(None, 3), ("1", 1), (1, 1)])
def test_the_newest_version_answers_unless_another_is_named(version: object, expected: int) -> None:
    """A request gets the highest version that is served, or the one that it names, as text or as number."""
    parsed = PARSER.parse(7, replace(REQUEST, parameters={**REQUEST.parameters, "version": version}))
    assert (parsed.position, parsed.key.version, parsed.items) == (7, expected, 3)
    assert parsed.inputs["x"].shape == (3, 2)


def test_tensors_route_as_parameters_do() -> None:
    """The demo's routing tensors name the same signature, and are not among the inputs that it gets."""
    by_tensors = PARSER.parse(
        0, replace(REQUEST, arrays={**names(model_name="scale", signature="times"), "x": X}, parameters={})
    )
    assert by_tensors.key == PARSER.parse(0, REQUEST).key
    assert set(by_tensors.inputs) == {"x"}


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"parameters": {}}, "INVALID_ARG", ["model_name is missing", "choose from scale"]),
        ({"parameters": {"model": "nope"}}, "NOT_FOUND", ["'nope' is not in this Triton", "scale"]),
        ({"parameters": {"model": "scale"}}, "INVALID_ARG", ["signature is missing", "times"]),
        ({"parameters": {"model": "scale", "signature": "nope"}}, "NOT_FOUND", ["no signature 'nope'", "times"]),
        ({"parameters": {**REQUEST.parameters, "version": "2"}}, "NOT_FOUND", ["no version '2'", "[1, 3]"]),
        ({"arrays": {}}, "INVALID_ARG", ["scale/times: input 'x' is missing", "it takes x"]),
        ({"arrays": {"x": X, "z": X}}, "INVALID_ARG", ["input 'z' is not one of its inputs", "it takes x"]),
        ({"arrays": {"x": X[0]}}, "INVALID_ARG", ["leading dimension of 3; send 1"]),
        ({"arrays": {"x": X.astype("f8")}}, "INVALID_ARG", ["is float64; it takes FP32"]),
        ({"arrays": {"x": X[..., :1]}}, "INVALID_ARG", ["shape [3, 1]; it takes [-1, 2]"]),
        ({"arrays": {"x": X[:, :0]}}, "INVALID_ARG", ["is empty, shape [0, 2]"]),
        ({"outputs": frozenset({"scores"})}, "INVALID_ARG", ["scale/times has no output 'scores'", "it gives y"]),
    ],
)
def test_a_wrong_request_is_refused_with_its_culprit(changes: dict[str, Any], code: str, words: list[str]) -> None:
    """What cannot be served gets Triton's error code, and a sentence that names the culprit and what would do."""
    with pytest.raises(request_parsing.RequestError) as refused:
        PARSER.parse(0, replace(REQUEST, **changes))
    assert refused.value.code == code
    assert all(word in str(refused.value) for word in words), refused.value


def test_a_request_for_every_declared_output_is_served() -> None:
    """A request that names no output asks, as Triton passes it on, for those of all signatures: it gets its own."""
    assert PARSER.parse(0, replace(REQUEST, outputs=PARSER.declared_outputs)).key == KEYS[1]


def test_what_the_config_cannot_declare_is_refused_with_the_reason() -> None:
    """A signature that contradicts an earlier declaration is not served, and says why."""
    parser = replace(PARSER, unservable={"scale/times": "its tensor 'x' has no fixed rank, which Triton needs"})
    with pytest.raises(request_parsing.RequestError, match="cannot be served; its tensor 'x' has no fixed rank"):
        parser.route(REQUEST)

"""Triton python backend without a model: counts the items it is sent, or adds up their bytes where asked.

Output `checksum`, which the launcher's self-check compares, is for requests that name it alone: one that names no
output asks, in Triton's words, for all of them, and the checksum costs more than all the rest. Output `about`, named
alone, is what the models of layout per-model say of themselves: they have no output for it.
"""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

_ROUTING = ("model_name", "signature")


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        parameters = json.loads(args["model_config"]).get("parameters", {})
        text = {key: str(value["string_value"]) for key, value in parameters.items()}
        self._item_axis = 1 if text.get("layout", "multi") == "multi" else 0
        self._facts = text.get("facts", "")

    def execute(self, requests: list[Any]) -> list[Any]:
        return [_answer(request, self._item_axis, self._facts) for request in requests]


def _answer(request: Any, item_axis: int, facts: str) -> Any:
    asked = list(request.requested_output_names())
    if asked == ["about"]:
        text = json.dumps(_about(facts, *(_name(request, each) for each in _ROUTING)))
        return _response("about", np.array([text.encode()], object))
    tensor = next((each for each in request.inputs() if each.name() not in _ROUTING), None)
    if tensor is None:
        code = pb_utils.TritonError.INVALID_ARG
        return pb_utils.InferenceResponse(error=pb_utils.TritonError("give an input besides the names", code))
    if asked == ["checksum"]:
        return _response("checksum", np.array([_checksum(tensor.as_numpy())], np.int64))
    return _response("count", np.array([[*tensor.shape(), 1][item_axis]], np.int64))


def _response(name: str, array: np.ndarray) -> Any:
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(name, array)])


def _checksum(items: np.ndarray) -> int:
    """The sum of their bytes, each times its position, from 1 on."""
    return int((items.reshape(-1) * np.arange(1, items.size + 1, dtype=np.int64)).sum())


def _name(request: Any, which: str) -> str:
    tensor = pb_utils.get_input_tensor_by_name(request, which)
    return "" if tensor is None else tensor.as_numpy().reshape(-1)[0].decode("utf-8", "replace")


def _about(facts: str, model: str, signature: str) -> dict[str, Any]:
    """Of all models, or how requests for a signature of one, of its newest version, are executed."""
    found = _read(facts)
    if model:
        return next((each["facts"].get(signature, {}) for each in reversed(found) if each["model"] == model), {})
    return {
        "models": [*dict.fromkeys(each["model"] for each in found)],
        **{
            part: {name: it for each in found for name, it in each[part].items()} for part in ("unservable", "unmerged")
        },
        "signatures": {name: it for each in found for name, it in each["signatures"].items()},
        "warm_ups": [span for each in found for span in each["warm_ups"]],
    }


def _read(facts: str) -> list[dict[str, Any]]:
    """The files of all models, a newer version after an older."""
    if not facts:
        return []
    files = Path(os.fsdecode(facts.encode())).glob("*.json")
    read = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return sorted(read, key=lambda each: each["version"])

"""Triton python backend without a model: counts the items it is sent, or adds up their bytes where asked.

Output `checksum`, which the launcher's self-check compares, is for requests that name it alone: one that names no
output asks, in Triton's words, for all of them, and the checksum costs more than all the rest.
"""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

INPUTS = ("images", "jpeg_images")


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> list[Any]:
        return [_answer(request) for request in requests]


def _answer(request: Any) -> Any:
    tensor = next((there for name in INPUTS if (there := pb_utils.get_input_tensor_by_name(request, name))), None)
    if tensor is None:
        code = pb_utils.TritonError.INVALID_ARG
        return pb_utils.InferenceResponse(error=pb_utils.TritonError("give images or jpeg_images", code))
    items = tensor.as_numpy()[0]
    if list(request.requested_output_names()) == ["checksum"]:
        answer = pb_utils.Tensor("checksum", np.array([_checksum(items)], np.int64))
    else:
        answer = pb_utils.Tensor("count", np.array([len(items)], np.int64))
    return pb_utils.InferenceResponse(output_tensors=[answer])


def _checksum(items: np.ndarray) -> int:
    """The sum of their bytes, each times its position, from 1 on."""
    return int((items.reshape(-1) * np.arange(1, items.size + 1, dtype=np.int64)).sum())

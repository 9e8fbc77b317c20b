"""Triton python backend without a model: counts the images it is sent, and adds up their bytes where asked.

Output `checksum`, computed only for requests that name it, is what the launcher's self-check compares.
"""

from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests: list[Any]) -> list[Any]:
        return [_answer(request) for request in requests]


def _answer(request: Any) -> Any:
    images = pb_utils.get_input_tensor_by_name(request, "images").as_numpy()[0]
    answers = {"count": np.array([len(images)], np.int64)}
    if "checksum" in request.requested_output_names():
        weights = np.arange(1, images.size + 1, dtype=np.int64)
        answers["checksum"] = np.array([int((images.reshape(-1) * weights).sum())], np.int64)
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor(name, a) for name, a in answers.items()])

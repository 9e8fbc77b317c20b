"""What a python backend is at its simplest: one request, one TensorFlow call, one after the other.

It serves the newest version of every model of models.conf to requests that name model and signature by inputs, and
stands in for triton_models/saved_model in tests/benchmarks/serving.py, as what that is compared with.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import triton_python_backend_utils as pb_utils
from declare import union
from saved_models import read_models_conf, read_signatures
from warm_up import read_warm_up


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        config = auto_complete_model_config.as_dict()
        signatures = [
            (f"{name}/{signature}", spec)
            for name, folder in _folders(config).items()
            for signature, spec in read_signatures(folder).items()
        ]
        union(config, signatures)
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        for gpu in tf.config.list_physical_devices("GPU"):
            tf.config.experimental.set_memory_growth(gpu, True)
        config = json.loads(args["model_config"])
        self._models = {name: tf.saved_model.load(str(folder)) for name, folder in _folders(config).items()}
        for call in read_warm_up(_parameter(config, "warm_up")):
            self._models[call.model].signatures[call.signature](**call.inputs)

    def execute(self, requests: list[Any]) -> list[Any]:
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        arrays = {tensor.name(): tensor.as_numpy()[0] for tensor in request.inputs()}
        model, signature = (arrays.pop(name)[0].decode() for name in ("model_name", "signature"))
        tensors = {name: tf.constant(array) for name, array in arrays.items()}
        results = self._models[model].signatures[signature](**tensors)
        outputs = [pb_utils.Tensor(name, np.atleast_1d(tensor.numpy())) for name, tensor in results.items()]
        return pb_utils.InferenceResponse(output_tensors=outputs)


def _folders(config: Any) -> dict[str, Path]:
    """The newest version of each model that is asked for, by name."""
    asked = _parameter(config, "models").split(",")
    models = [model for model in read_models_conf(Path(_parameter(config, "models_conf"))) if model.name in asked]
    return {model.name: model.base_path / str(model.versions()[-1]) for model in models}


def _parameter(config: Any, key: str) -> str:
    return str(config["parameters"][key]["string_value"])

"""Calls to make before Triton says ready: the first of a shape takes TensorFlow long, with XLA seconds."""

import json
from dataclasses import dataclass

import numpy as np
from batch_files import read_batches
from dynamic_batching import SignatureKey
from loaded_models import LoadedModels
from request_parsing import numpy_name
from saved_models import local_path
from tensorflow_errors import sentence
from tensorflow_executor import Executor


@dataclass(frozen=True)
class WarmUpCall:
    """A request that a signature will get: its inputs, without Triton's leading element."""

    model: str
    signature: str
    inputs: dict[str, np.ndarray]


def read_warm_up(parameter: str) -> list[WarmUpCall]:
    """The calls that a parameter such as {"calls": [["MODEL", "SIGNATURE"]], "file": "/tmp/x.npz"} names."""
    asked = json.loads(parameter)
    calls = asked.get("calls", [])
    batches = read_batches(local_path(asked["file"]), len(calls)) if calls else []
    return [WarmUpCall(*names, inputs) for names, inputs in zip(calls, batches, strict=True)]


def warm_up(models: LoadedModels, executor: Executor, calls: list[WarmUpCall]) -> list[str]:
    """Make the calls, and return why some could not be made: that keeps no model from being served."""
    complaints = []
    for call in calls:
        try:
            _make(models, executor, call)
        except Exception as error:
            complaints.append(f"{call.model}/{call.signature} is not warm: {sentence(error)}")
    return complaints


def _make(models: LoadedModels, executor: Executor, call: WarmUpCall) -> None:
    versions = models.versions.get(call.model, ())
    for key in (SignatureKey(call.model, version, call.signature) for version in versions[-1:]):
        if key in models.functions:
            signature = models.signatures[key]
            inputs = {name: [_typed(a, signature.inputs[name].datatype)] for name, a in call.inputs.items()}
            executor.call(models.functions[key], inputs, frozenset(signature.outputs))


def _typed(array: np.ndarray, datatype: str) -> np.ndarray:
    """As TensorFlow takes it: bfloat16 cannot be made without ml_dtypes."""
    wanted = numpy_name(datatype)
    return array if array.dtype.name == wanted else array.astype(wanted)

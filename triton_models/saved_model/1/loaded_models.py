"""SavedModels in TensorFlow: their signatures, the functions behind them, and which of them batch."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from dynamic_batching import SignatureKey
from request_parsing import numpy_name
from saved_models import ModelConfig, Signature, read_signatures, utf8
from tensorflow_executor import Executor

# signature -> input name -> shapes
WarmUpShapes = Mapping[str, Mapping[str, list[list[int]]]]


def import_tensorflow(args: Mapping[str, str]) -> Any:
    """TensorFlow on this instance's device alone, with memory growth, so that instances can share a GPU."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    own = [gpus[int(args["model_instance_device_id"])]] if args["model_instance_kind"] == "GPU" and gpus else []
    tf.config.set_visible_devices(own, "GPU")
    for gpu in tf.config.get_visible_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    return tf


class LoadedModels:
    """All served versions of some models, in memory.

    `batchable` has the signatures whose requests may share a call; a thread that finds that one may not takes it out.
    """

    def __init__(self, tf: Any, models: Sequence[ModelConfig], *, batches_xla: bool) -> None:
        self.versions = {model.name: model.versions() for model in models}
        self.signatures: dict[SignatureKey, Signature] = {}
        self.functions: dict[SignatureKey, Any] = {}
        self.batchable: set[SignatureKey] = set()
        for model in models:
            for version in self.versions[model.name]:
                self._load(tf, model, version, batches_xla=batches_xla)

    def _load(self, tf: Any, model: ModelConfig, version: int, *, batches_xla: bool) -> None:
        folder = model.version_folder(version)
        loaded = tf.saved_model.load(utf8(folder))
        for name, signature in read_signatures(folder).items():
            key = SignatureKey(model.name, version, name)
            self.signatures[key], self.functions[key] = signature, loaded.signatures[name]
            if signature.is_batched and (batches_xla or not is_compiled(loaded.signatures[name])):
                self.batchable.add(key)

    def warm_up(self, executor: Executor, shapes: WarmUpShapes) -> None:
        """Make the first call of each asked shape before Triton says ready; XLA compiles here."""
        for key, function in self.functions.items():
            signature, asked = self.signatures[key], shapes.get(key.signature, {})
            for name in asked.keys() & signature.inputs.keys():
                for shape in asked[name]:
                    zeros = np.zeros(shape, numpy_name(signature.inputs[name].datatype))
                    executor.call(function, {name: [zeros]}, frozenset(signature.outputs))


def is_compiled(function: Any) -> bool:
    """Whether a graph, or a function that it calls, asks XLA to compile it (attribute `_XlaMustCompile`)."""
    graph = function.graph.as_graph_def(add_shapes=False)
    nodes = [*graph.node, *(node for each in graph.library.function for node in each.node_def)]
    return any(
        "_XlaMustCompile" in each.attr and each.attr["_XlaMustCompile"].b for each in (*nodes, *graph.library.function)
    )

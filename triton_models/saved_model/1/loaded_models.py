"""SavedModels in TensorFlow: their signatures, the functions behind them, and which of them batch."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from cuda_libraries import load_cuda_libraries
from dynamic_batching import SignatureKey
from saved_model_loader import leave_out_keras, load_saved_model
from saved_models import Signature, read_signatures, utf8
from tensorflow_errors import readable, sentence


def import_tensorflow(args: Mapping[str, str]) -> Any:
    """TensorFlow on this instance's device alone, with memory growth, so that instances can share a GPU."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    load_cuda_libraries()
    leave_out_keras()
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    own = [gpus[int(args["model_instance_device_id"])]] if args["model_instance_kind"] == "GPU" and gpus else []
    tf.config.set_visible_devices(own, "GPU")
    for gpu in tf.config.get_visible_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    return tf


class ServedModel(Protocol):
    """A model and where its versions are."""

    @property
    def name(self) -> str: ...

    def versions(self) -> tuple[int, ...]:
        """Those to serve, lowest first; raises ValueError where there is none."""

    def version_folder(self, version: int) -> Path: ...


class LoadedModels:
    """All served versions of some models, in memory.

    `failed` says by model why one, or a version of it, is not served. `batchable` has the signatures whose requests may
    share a call, `unmerged` why the others may not; a thread that finds that one may not takes it out.
    """

    def __init__(self, tf: Any, models: Sequence[ServedModel]) -> None:
        self.versions: dict[str, tuple[int, ...]] = {}
        self.failed: dict[str, str] = {}
        self.signatures: dict[SignatureKey, Signature] = {}
        self.functions: dict[SignatureKey, Any] = {}
        self.batchable: set[SignatureKey] = set()
        self.unmerged: dict[SignatureKey, str] = {}
        for model in models:
            self._load_all(tf, model)

    def _load_all(self, tf: Any, model: ServedModel) -> None:
        """Every version of a model that loads: one that does not costs no other its place."""
        try:
            versions = model.versions()
        except ValueError as error:
            self.failed[model.name] = readable(str(error))
            return
        for version in versions:
            try:
                self._load(tf, model, version)
            except Exception as error:
                self.failed[model.name] = f"version {version} cannot be loaded: {sentence(error)}"
            else:
                self.versions[model.name] = (*self.versions.get(model.name, ()), version)

    def _load(self, tf: Any, model: ServedModel, version: int) -> None:
        folder = model.version_folder(version)
        signatures = read_signatures(folder)
        loaded = load_saved_model(tf, utf8(folder))
        functions = {name: loaded.signatures[name] for name in signatures}
        for name, signature in signatures.items():
            key = SignatureKey(model.name, version, name)
            self.signatures[key], self.functions[key] = signature, functions[name]

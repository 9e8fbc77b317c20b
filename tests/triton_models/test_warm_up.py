"""Calls that are made before Triton says ready."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from helpers import backend_module

from raybench.servers.repository import TritonOptions, model_config
from raybench.servers.warm_up import WarmUp

warm_up, dynamic_batching = backend_module("warm_up"), backend_module("dynamic_batching")
saved_models = backend_module("saved_models")
FILES = np.array([b"\xff\xd8 a file\0", b""], object)
BATCHES = (
    WarmUp("photos", "predict_jpegs", {"jpeg_images": FILES}),
    WarmUp("a/b", "refuses", {"x": np.ones((1, 2), np.float32)}),
    WarmUp("a/b", "two", {"x": np.ones((3, 2), np.float32), "n": np.arange(3)}),
    WarmUp("not-there", "two", {"x": np.ones((3, 2), np.float32)}),
)


def spec(**inputs: tuple[str, tuple[int, ...]]) -> Any:
    tensors = {name: saved_models.TensorSpec(*each) for name, each in inputs.items()}
    return saved_models.Signature(tensors, {"y": saved_models.TensorSpec("FP32", (-1,))})


SIGNATURES = {
    dynamic_batching.SignatureKey("photos", 2, "predict_jpegs"): spec(jpeg_images=("BYTES", (-1,))),
    dynamic_batching.SignatureKey("a/b", 1, "refuses"): spec(x=("FP32", (-1, 2))),
    dynamic_batching.SignatureKey("a/b", 1, "two"): spec(x=("FP32", (-1, 2)), n=("INT32", (-1,))),
}
LOADED = SimpleNamespace(
    versions={"photos": (1, 2), "a/b": (1,)},
    signatures=SIGNATURES,
    functions={key: key.signature for key in SIGNATURES},
)


class Executor:
    """Notes the calls, and fails one."""

    def __init__(self) -> None:
        self.calls: dict[str, dict[str, np.ndarray]] = {}

    def call(self, function: str, parts: dict[str, list[np.ndarray]], wanted: frozenset[str]) -> None:
        assert wanted == {"y"}
        if function == "refuses":
            raise ValueError("no")
        self.calls[function] = {name: array for name, (array,) in parts.items()}


def test_the_batches_that_will_be_sent_are_called(tmp_path: Path) -> None:
    """Every signature is warmed with a whole request that it will get: files, several inputs, in the types it takes."""
    (tmp_path / "models.conf").write_text("")
    options = TritonOptions(models_conf=tmp_path / "models.conf", warm_up=BATCHES)
    parameter = model_config(options, (), tmp_path).parameters["warm_up"].string_value
    executor = Executor()
    complaints = warm_up.warm_up(LOADED, executor, warm_up.read_warm_up(parameter))
    assert executor.calls["predict_jpegs"]["jpeg_images"].tolist() == FILES.tolist()
    assert executor.calls["two"]["x"].shape == (3, 2)
    assert executor.calls["two"]["n"].dtype == np.int32
    assert complaints == ["a/b/refuses is not warm: no"]


def test_without_calls_nothing_is_warmed() -> None:
    """The shipped config.pbtxt asks for no call."""
    assert warm_up.read_warm_up(json.dumps({})) == []

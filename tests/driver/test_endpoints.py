"""The endpoints of a run: what each takes, and what is said where that cannot be served."""

import re
from pathlib import Path

import numpy as np
import pytest
from helpers import saved_model

from raybench.config import Benchmark, ConfigError, ServerSpec
from raybench.driver import endpoints
from raybench.driver.endpoints import Endpoint
from raybench.inputs.declared_inputs import DeclaredInputs
from raybench.inputs.photo_source import NOISE, photo_source
from raybench.models.saved_models import ModelConfig, Signature, TensorSpec

UINT8, FP32, STRING, COMPLEX = 4, 1, 7, 8
SOURCE = DeclaredInputs(photo_source(NOISE, jpeg_quality=90))
TRITON = ServerSpec(kind="triton")
SIGNATURES = (
    ("predict_images", [("images", UINT8, (-1, 299, 299, 3))], [("scores", FP32, (-1, 9))]),
    ("predict_jpeg", [("jpeg_image", STRING, ())], [("scores", FP32, (9,))]),
    ("predict_jpegs", [("files", STRING, (-1,))], [("scores", FP32, (-1, 9))]),
    ("times", [("x", FP32, (-1, 2))], [("y", FP32, (-1, 2))]),
)


def here(tmp_path: Path, signature: str, *signatures: tuple[str, list, list]) -> Signature:
    """What is read of a model with these signatures, asked for one of them."""
    saved_model(tmp_path / "m" / "1", *(signatures or SIGNATURES))
    there = {"m": ModelConfig(name="m", base_path=tmp_path / "m")}
    return endpoints.signature_here(Endpoint(TRITON, "m", signature), tmp_path / "models.conf", there)


def test_a_signature_is_read_from_the_model(tmp_path: Path) -> None:
    """Tensors may have any name and size: what the SavedModel declares is what is sent."""
    assert here(tmp_path, "predict_images").inputs == {"images": TensorSpec("UINT8", (-1, 299, 299, 3))}
    assert here(tmp_path, "predict_jpegs").inputs == {"files": TensorSpec("BYTES", (-1,))}


@pytest.mark.parametrize("signature", ["predict_jpeg", "times"])
def test_any_signature_may_be_measured(signature: str, tmp_path: Path) -> None:
    """One that takes no images, or no batch, is as good as any other: inputs are made for it."""
    assert SOURCE.bind(here(tmp_path, signature), 0).batch(np.arange(1))


def test_a_signature_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """One sentence lists the signatures that the model has."""
    with pytest.raises(ConfigError) as error:
        here(tmp_path, "nope")
    assert str(error.value) == (
        "signature is nope; model m has predict_images, predict_jpeg, predict_jpegs, times: choose one of them"
    )


IMAGES = ("images", UINT8, (-1, 8, 8, 3))


@pytest.mark.parametrize(
    ("inputs", "outputs", "words"),
    [
        ([IMAGES], [("wave", COMPLEX, (-1, 4))], "wave DT_8 [-1, 4] is of a type that Triton does not support"),
        ([IMAGES], [("any", FP32, None)], "any FP32 of any rank has no fixed rank, which Triton needs"),
        ([("signature", UINT8, (-1, 8, 8, 3))], [], "it has a tensor 'signature', a name that the backend reserves"),
    ],
)
def test_what_triton_cannot_declare_is_refused(inputs: list, outputs: list, words: str, tmp_path: Path) -> None:
    """A signature whose every request this Triton would refuse is refused before a server starts; others serve it."""
    with pytest.raises(ConfigError, match=re.escape(words)) as error:
        here(tmp_path, "predict", ("predict", inputs, outputs))
    assert "leave out -s triton" in str(error.value)
    there = {"m": ModelConfig(name="m", base_path=tmp_path / "m")}
    local = Endpoint(ServerSpec(kind="local"), "m", "predict")
    assert endpoints.signature_here(local, tmp_path / "models.conf", there).inputs


def test_a_model_that_cannot_be_read_is_left_to_its_server(tmp_path: Path) -> None:
    """A broken SavedModel is the server's to report: the others are still measured."""
    (tmp_path / "m" / "1").mkdir(parents=True)
    (tmp_path / "m" / "1" / "saved_model.pb").write_bytes(b"broken")
    there = {"m": ModelConfig(name="m", base_path=tmp_path / "m")}
    found = endpoints.signature_here(Endpoint(TRITON, "m", "predict_images"), tmp_path / "models.conf", there)
    assert list(found.inputs) == ["images"]


@pytest.mark.parametrize("datatype", ["BYTES", "BOOL"])
def test_what_no_gpu_holds_is_not_passed_on_one(datatype: str) -> None:
    """Strings and booleans in CUDA shared memory are refused before a server starts; elsewhere they may travel."""
    asked = {
        Endpoint(TRITON, "m", "s"): Signature(
            {"x": TensorSpec("FP32", (-1, 2)), "ids": TensorSpec(datatype, (-1,))}, {}
        ),
        Endpoint(ServerSpec(kind="local"), "m", "s"): Signature({"ids": TensorSpec(datatype, (-1,))}, {}),
    }
    load = {"server": ("triton", "local"), "model": ("m",), "signature": "s"}
    sentence = f"shared-memory is cuda; input ids of model m is {datatype}, which .*: use --shared-memory system"
    with pytest.raises(ConfigError, match=sentence):
        endpoints.check_gpu_inputs(Benchmark(**load, shared_memory="cuda"), asked)
    endpoints.check_gpu_inputs(Benchmark(**load, shared_memory="system"), asked)


def test_models_of_a_mix_take_the_same() -> None:
    """Models that are mixed in one trial share its payloads: unlike inputs are refused before anything is sent."""
    benchmark = Benchmark(server=("triton",), model=("a", "b"), mix=True)
    pixels = {size: Signature({"x": TensorSpec("UINT8", (-1, size, size, 3))}, {}) for size in (32, 64)}
    for sizes in ((32, 32), (32, 64)):
        asked = zip(endpoints.endpoints(benchmark), sizes, strict=True)
        sources = {endpoint: SOURCE.bind(pixels[size], 0) for endpoint, size in asked}
        if len(set(sizes)) == 1:
            endpoints.check_mixes(benchmark, sources)
        else:
            with pytest.raises(ConfigError, match="mix is true; models a and b take different inputs"):
                endpoints.check_mixes(benchmark, sources)


def test_a_triton_model_declares_the_tensors_of_one_signature() -> None:
    """In layout per-model two signatures of a model are refused where one declaration cannot hold both."""
    own = ServerSpec(kind="triton", layout="per-model")
    x, y = TensorSpec("FP32", (-1, 2)), {"y": TensorSpec("FP32", (-1,))}
    whole, part, other = Signature({"x": x}, {**y, "z": x}), Signature({"x": x}, y), Signature({"w": x}, y)
    endpoints.check_layouts({Endpoint(own, "m", "a"): whole, Endpoint(own, "m", "b"): part})
    unlike = {Endpoint(own, "m", "a"): whole, Endpoint(own, "m", "b"): other}
    with pytest.raises(ConfigError, match="signature is b; in layout per-model the Triton model m serves s"):
        endpoints.check_layouts(unlike)
    endpoints.check_layouts({Endpoint(TRITON, each.model, each.signature): its for each, its in unlike.items()})

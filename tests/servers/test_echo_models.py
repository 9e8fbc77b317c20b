"""The models that do nothing declare what the signatures under test take."""

import pytest
from tritonclient.grpc import model_config_pb2

from raybench.config import MULTI, PER_MODEL
from raybench.models.saved_models import Signature, TensorSpec
from raybench.servers.echo_models import echo_configs

Y = {"y": TensorSpec("FP32", (-1,))}


def signature(outputs: dict[str, TensorSpec] = Y, **inputs: tuple[str, tuple[int, ...] | None]) -> Signature:
    return Signature({name: TensorSpec(*spec) for name, spec in inputs.items()}, outputs)


FLOATS = signature(x=("FP32", (-1, 2)), z=("FP32", (-1,)))
INTEGERS = signature(x=("INT32", (-1,)))
WHOLE = signature({"y": TensorSpec("FP32", ())}, x=("FP32", (3,)), scale=("FP32", ()))
IMAGES = signature(images=("FP32", (-1, 8, 8, 3)))


@pytest.mark.parametrize(
    ("layout", "signatures", "expected"),
    [
        # What travels: in layout multi a leading element of 1 before each; else a scalar as one element.
        (MULTI, [FLOATS], [{"x": ("FP32", 3), "z": ("FP32", 2)}]),
        (MULTI, [FLOATS, INTEGERS], [{"x": ("FP32", 3)}]),
        (MULTI, [IMAGES], [{"images": ("FP32", 5)}]),
        (MULTI, [], [{"images": ("UINT8", 5), "jpeg_images": ("STRING", 2)}]),
        (PER_MODEL, [FLOATS], [{"x": ("FP32", 2), "z": ("FP32", 2), "images": ("UINT8", 4)}]),
        (PER_MODEL, [FLOATS, INTEGERS], [{"x": ("FP32", 2)}, {"x": ("INT32", 2)}]),
        (PER_MODEL, [WHOLE, FLOATS], [{"x": ("FP32", 1), "scale": ("FP32", 1)}, {"x": ("FP32", 2)}]),
        (PER_MODEL, [signature(signature=("INT32", (-1, 3)))], [{"known": ("UINT8", 2)}, {"signature": ("INT32", 2)}]),
        (PER_MODEL, [signature(x=("FP32", None)), signature(x=("DT_8", (-1,)))], [{"images": ("UINT8", 4)}]),
    ],
)
def test_every_request_is_taken_by_one(layout: str, signatures: list[Signature], expected: list[dict]) -> None:
    """Each signature's inputs are declared together by one model, with their types and ranks as they travel."""
    configs = echo_configs(layout, signatures)
    assert list(configs) == ["echo", "echo-2"][: len(expected)]
    for config, wanted in zip(configs.values(), expected, strict=True):
        axes = 1 if config.max_batch_size else 0
        found = {each.name: each for each in config.input}
        for name, (datatype, rank) in wanted.items():
            assert (_type(found[name]), len(found[name].dims) + axes) == (datatype, rank), name
            assert found[name].optional


def test_what_is_compared_is_always_taken() -> None:
    """The self-check sends [1, n] bytes to `echo`, whatever the models take: with a batch axis or without."""
    for signatures in ([FLOATS], [WHOLE]):
        config = echo_configs(PER_MODEL, signatures)["echo"]
        known = next(each for each in config.input if each.name == "known")
        assert len(known.dims) + (1 if config.max_batch_size else 0) == 2


def _type(tensor: object) -> str:
    return model_config_pb2.DataType.Name(tensor.data_type).removeprefix("TYPE_")  # type: ignore[attr-defined]

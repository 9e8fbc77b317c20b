"""Requests as bytes: every type, scalars, empty tensors and bytes with NULs, for Triton and TensorFlow Serving.

Where Triton's own client knows a type, its bytes are the expected ones.
"""

from contextlib import closing
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.grpc import service_pb2

from raybench.clients.base import Reply
from raybench.clients.proto import tfserving_pb2 as pb
from raybench.clients.tensor_proto import array
from raybench.clients.tfserving_client import TfServingClient
from raybench.clients.triton_client import TritonClient
from raybench.inputs.random_values import NUMPY_TYPES, RandomValues
from raybench.models.saved_models import Signature, TensorSpec

NOWHERE = "127.0.0.1:1"  # nothing is sent
BFLOAT16 = 14  # DT_BFLOAT16
SHAPES: list[tuple[int, ...]] = [(), (3,), (2, 0), (2, 1, 4)]


def texts(*values: bytes, shape: tuple[int, ...]) -> np.ndarray:
    made = np.empty(shape, object)
    made[...] = np.array(values, object).reshape(shape)
    return made


ODD_TEXTS = texts(b"", b"a\0b", b"\0", "模".encode(), shape=(2, 2))


def values(datatype: str, shape: tuple[int, ...]) -> np.ndarray:
    """What is sent of such an input: an item of it where it has no axis of items."""
    return np.asarray(RandomValues("x", datatype, shape, 7).values(np.arange(1))[0], NUMPY_TYPES[datatype])


def spec(datatype: str, shape: tuple[int, ...]) -> Signature:
    return Signature({"x": TensorSpec(datatype, shape)}, {})


def triton_request(sent: np.ndarray, datatype: str) -> Any:
    """What a client that knows the signature sends to a model behind raybench's backend."""
    client = TritonClient(NOWHERE, model="m", signature="s", spec=spec(datatype, sent.shape))
    with closing(client):
        return service_pb2.ModelInferRequest.FromString(client.encode({"x": sent}))


def returned(request: Any) -> dict[str, np.ndarray]:
    """What the client reads in a reply with the tensors of a request."""
    response = service_pb2.ModelInferResponse()
    for tensor in request.inputs:
        response.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    response.raw_output_contents.extend(request.raw_input_contents)
    with closing(TritonClient(NOWHERE, model="m", signature="s")) as client:
        return client.decode(Reply(status="OK", body=response.SerializeToString()))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("datatype", NUMPY_TYPES)
def test_triton_gets_what_its_own_client_would_send(datatype: str, shape: tuple[int, ...]) -> None:
    """The bytes of every type are those of tritonclient, and none of them is lost on the way back."""
    sent = values(datatype, shape)
    request = triton_request(sent, datatype)
    tensor = next(tensor for tensor in request.inputs if tensor.name == "x")
    wire_shape = (1, *(shape or (1,)))  # Triton has no scalars
    known = sent.astype(ml_dtypes.bfloat16) if datatype == "BF16" else sent
    theirs = triton_grpc.InferInput("x", wire_shape, datatype).set_data_from_numpy(known.reshape(wire_shape))
    assert (tensor.datatype, tuple(tensor.shape)) == (datatype, wire_shape)
    assert request.raw_input_contents[-1] == (theirs._get_content() or b"")
    assert returned(request)["x"].tolist() == sent.reshape(wire_shape).tolist()


def test_bytes_are_sent_as_they_are() -> None:
    """Empty strings, NULs inside and at the end, and text that is no ASCII arrive as they are."""
    assert returned(triton_request(ODD_TEXTS, "BYTES"))["x"].tolist() == [ODD_TEXTS.tolist()]
    with closing(TfServingClient(NOWHERE, model="m", signature="s")) as client:
        request = pb.PredictRequest.FromString(client.encode({"x": ODD_TEXTS}))
    assert list(request.inputs["x"].string_val) == ODD_TEXTS.ravel().tolist()
    assert array(request.inputs["x"]).tolist() == ODD_TEXTS.tolist()


def test_the_demos_request_has_a_leading_one() -> None:
    """Behind raybench's backend a request names model and signature, and each input has a leading 1, scalars too."""
    for sent in (values("FP32", (2, 3)), values("FP32", ())):
        request = triton_request(sent, "FP32")
        assert request.model_name == "saved_model"
        assert {tensor.name: tuple(tensor.shape) for tensor in request.inputs} == {
            "model_name": (1, 1),
            "signature": (1, 1),
            "x": (1, *(sent.shape or (1,))),
        }


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("datatype", NUMPY_TYPES)
def test_tensorflow_serving_gets_what_was_made(datatype: str, shape: tuple[int, ...]) -> None:
    """Every type reaches TensorFlow Serving with its shape, scalars without dimensions, and nothing is lost."""
    sent = values(datatype, shape)
    with closing(TfServingClient(NOWHERE, model="m", signature="s", spec=spec(datatype, shape))) as client:
        tensor = pb.PredictRequest.FromString(client.encode({"x": sent})).inputs["x"]
    assert tuple(dim.size for dim in tensor.tensor_shape.dim) == shape
    assert (tensor.dtype == BFLOAT16) == (datatype == "BF16")
    assert array(tensor).tolist() == sent.tolist()

"""Triton over HTTP, binary and JSON: the same answers, refusals and facts as over gRPC."""

from collections.abc import Iterator
from contextlib import closing
from http.client import parse_headers
from io import BytesIO
from itertools import product
from typing import Any

import numpy as np
import pytest
from real_parts import TritonUnderTest, crops
from tritonclient.grpc import service_pb2

from raybench.clients import connect, connect_echo, shared_memory
from raybench.clients.base import ClientError, Reply
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS
from raybench.clients.http.connections import HttpAnswer
from raybench.clients.triton_client import TritonClient
from raybench.clients.triton_http import HttpService
from raybench.clients.triton_models import model_names, names_behind_saved_model
from raybench.clients.triton_tensors import raw_bytes
from raybench.config import HTTP, HTTP_JSON, ServerSpec
from raybench.inputs.random_values import NUMPY_TYPES, RandomValues
from raybench.models.saved_models import Signature, TensorSpec
from raybench.telemetry.triton_statistics import StatisticsReader, read_config

WAYS = [("grpc", "grpcio"), (HTTP, "http2"), (HTTP_JSON, "http2")]
IN_JSON = sorted({*NUMPY_TYPES} - {"FP16", "BF16"})  # test_what_json_cannot_carry_is_refused
TIMEOUT_S = 30.0


def client(triton: TritonUnderTest, protocol: str, model: str, signature: str, sender: str = "http2") -> TritonClient:
    url = triton.url if protocol == "grpc" else triton.http_url
    made = connect(
        ServerSpec(kind="triton"),
        url=url,
        model=model,
        signature=signature,
        models=str(triton.models),
        protocol=protocol,
        client=sender,
    )
    assert isinstance(made, TritonClient)
    return made


def answered(asking: TritonClient, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    with closing(asking):
        reply = asking.send(asking.encode(batch), TIMEOUT_S)
        assert reply.is_ok, reply.error
        return asking.decode(reply)


@pytest.mark.parametrize(("protocol", "sender"), WAYS)
def test_answers_are_those_of_grpc(protocol: str, sender: str, triton: TritonUnderTest) -> None:
    """Photos as pixels get the same outputs, of the same types and shapes, whichever way they travel."""
    batch, model = {"images": crops(3)}, ("mobilenet-no-opt", "predict_images")
    expected = answered(client(triton, "grpc", *model), batch)
    found = answered(client(triton, protocol, *model, sender), batch)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert (found[name].dtype, found[name].shape) == (values.dtype, values.shape)
        np.testing.assert_allclose(found[name], values, rtol=1e-6)


def returned(service: HttpService, request: bytes) -> Any:
    """What is read in an answer whose outputs are the inputs of a request."""
    head, _, content = request.partition(b"\r\n\r\n")
    fields = parse_headers(BytesIO(head + b"\r\n\r\n"))
    if (size := fields.get("Inference-Header-Content-Length")) is not None:
        fields.replace_header("Inference-Header-Content-Length", str(int(size) + 1))
    content = content.replace(b'"inputs"', b'"outputs"', 1)
    return service.decode(Reply(status="OK", body=HttpAnswer(fields, content)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 2, 3), (1, 0)])
@pytest.mark.parametrize(("datatype", "is_json"), [*product(NUMPY_TYPES, [False]), *product(IN_JSON, [True])])
def test_every_type_is_read_as_it_was_sent(datatype: str, is_json: bool, shape: tuple[int, ...]) -> None:
    """Numbers of every type, and strings, have the same bytes in an answer as in a request, binary and in JSON."""
    values = np.asarray(RandomValues("x", datatype, shape, 7).values(np.arange(1))[0], NUMPY_TYPES[datatype])
    request = service_pb2.ModelInferRequest(model_name="m")
    request.inputs.add(name="x", datatype=datatype, shape=shape)
    request.raw_input_contents.append(raw_bytes(values, datatype))
    with closing(HttpService("http://127.0.0.1:1", NO_CREDENTIALS, is_json=is_json)) as service:
        response = returned(service, service.encode(request))
    (tensor,), (raw,) = response.outputs, response.raw_output_contents
    assert (tensor.name, tensor.datatype, tuple(tensor.shape)) == ("x", datatype, shape)
    assert raw == raw_bytes(values, datatype)


@pytest.mark.parametrize("protocol", [HTTP, HTTP_JSON])
@pytest.mark.parametrize(
    ("model", "signature", "batch"),
    [
        ("nope", "predict_images", {"images": np.zeros((1, 2, 2, 3), np.uint8)}),
        ("mobilenet-no-opt", "nope", {"images": np.zeros((1, 2, 2, 3), np.uint8)}),
        ("mobilenet-no-opt", "predict_images", {"images": np.zeros((1, 4), np.uint8)}),
        ("mobilenet-no-opt", "predict_images", {"pictures": np.zeros((1, 2, 2, 3), np.uint8)}),
    ],
)
def test_refusals_are_those_of_grpc(
    protocol: str, model: str, signature: str, batch: dict[str, np.ndarray], triton: TritonUnderTest
) -> None:
    """A request that Triton refuses has the same status, and a sentence, over HTTP."""
    found = []
    for way in ("grpc", protocol):
        with closing(client(triton, way, model, signature)) as asking:
            found.append(asking.send(asking.encode(batch), TIMEOUT_S))
    assert found[1].status == found[0].status
    assert found[1].error


def test_everything_can_be_asked_over_http(triton: TritonUnderTest) -> None:
    """Where only the HTTP port is known, it says all that the gRPC port does: models, signatures, counts, settings."""
    grpc, http = triton.url, triton.http_url
    assert model_names(http) == model_names(grpc)
    assert names_behind_saved_model(http) == names_behind_saved_model(grpc)
    assert read_config(http, "saved_model") == read_config(grpc, "saved_model")
    with closing(StatisticsReader(http, "echo")) as by_http, closing(StatisticsReader(grpc, "echo")) as by_grpc:
        assert by_http() == by_grpc()
    described = []
    for protocol in ("grpc", HTTP):
        with closing(client(triton, protocol, "mobilenet-no-opt", "")) as asking:
            described.append(asking.describe())
    assert described[0] == described[1]


@pytest.mark.parametrize(("protocol", "sender"), WAYS)
def test_the_ceiling_is_of_the_same_requests(protocol: str, sender: str, triton: TritonUnderTest) -> None:
    """What the model gets, the model that does nothing takes too, by the same protocol and client."""
    with closing(client(triton, protocol, "mobilenet-no-opt", "predict_images")) as asking:
        request = asking.encode({"images": crops(2)})
    url = triton.url if protocol == "grpc" else triton.http_url
    with closing(connect_echo(url, protocol=protocol, client=sender)) as echo:
        send, body = echo.readdressed(request)
        reply = send(body, TIMEOUT_S)
    assert reply.is_ok, reply.error


@pytest.fixture
def region(triton: TritonUnderTest) -> Iterator[shared_memory.Region]:
    (name,) = shared_memory.names(triton.url, 1)
    made = shared_memory.Region(triton.http_url, name)
    yield made
    made.close()


@pytest.mark.parametrize("protocol", [HTTP, HTTP_JSON])
def test_shared_memory_works_over_http(protocol: str, region: shared_memory.Region, triton: TritonUnderTest) -> None:
    """Photos in shared memory, which is registered over HTTP, get the answers that they get over gRPC."""
    batch, model = {"images": crops(2)}, ("mobilenet-no-opt", "predict_images")
    expected = answered(client(triton, "grpc", *model), batch)
    asking = TritonClient(triton.http_url, model=model[0], signature=model[1], region=region, protocol=protocol)
    with closing(asking):
        request = asking.encode(batch)
        assert len(request) < 2_000
        region.register()
        reply = asking.send(request, TIMEOUT_S)
        assert reply.is_ok, reply.error
        np.testing.assert_allclose(asking.decode(reply)["scores"], expected["scores"], rtol=1e-6)


@pytest.mark.parametrize(
    ("datatype", "values", "sentence"),
    [
        ("BF16", np.ones((1, 2), np.float32), "JSON has no BF16"),
        ("FP16", np.ones((1, 2), np.float16), "JSON has no FP16"),
        ("BYTES", np.array([[b"\xff\xd8"]], object), "not UTF-8 text"),
    ],
)
def test_what_json_cannot_carry_is_refused(datatype: str, values: np.ndarray, sentence: str) -> None:
    """JSON has neither half-precision numbers nor files: one sentence says so, with the way out."""
    spec = Signature({"x": TensorSpec(datatype, (-1, 2))}, {})
    made = TritonClient("http://127.0.0.1:1", model="m", signature="s", spec=spec, protocol=HTTP_JSON)
    with closing(made), pytest.raises(ClientError) as refused:
        made.encode({"x": values})
    assert sentence in str(refused.value)
    assert "use http or grpc" in str(refused.value)


def test_text_travels_in_json(triton: TritonUnderTest) -> None:
    """Text, and every number that JSON can hold, is sent as plain clients send it."""
    spec = Signature({"x": TensorSpec("BYTES", (-1,)), "n": TensorSpec("INT64", (-1,))}, {})
    made = TritonClient(triton.http_url, model="m", signature="s", spec=spec, protocol=HTTP_JSON)
    with closing(made):
        sent = made.encode({"x": np.array(["模".encode(), b""], object), "n": np.array([2**53 + 1, -1])})
    assert b'"data":["\\u6a21",""]' in sent
    assert b'"data":[9007199254740993,-1]' in sent

"""TensorFlow Serving's REST client: its JSON is what the API takes, and it says what the gRPC client says.

The server is the double of tests/support/tfs_double, which answers as the sources of a real one say.
"""

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import numpy as np
import pytest
from real_parts import crops

from raybench.clients import connect
from raybench.clients.base import ClientError, MalformedReplyError, UnsupportedReplyError
from raybench.clients.http.connections import message
from raybench.clients.http.statuses import grpc_status
from raybench.clients.tfserving_client import TfServingClient
from raybench.clients.tfserving_json import answered_arrays, request_json
from raybench.clients.tfserving_rest_client import TfServingRestClient
from raybench.config import ServerSpec
from raybench.inputs.photos import jpeg_files
from raybench.models.saved_models import Signature, TensorSpec

MODEL, SIGNATURE = "mobilenet-no-opt", "predict_images"
DEADLINE_S = 30.0
ROWS, COLUMNS = "http", "http-columns"


def connected(url: str, model: str = MODEL, signature: str = SIGNATURE, protocol: str = ROWS) -> TfServingRestClient:
    return TfServingRestClient(url, model=model, signature=signature, protocol=protocol)


def strings(*values: bytes) -> np.ndarray:
    return np.array(values, object)


INF = float("inf")
WRITTEN = {
    "float32": (np.array([0.1, 1, -2.5e-30, 16777216, 3.4028235e38], np.float32),
                "[0.1,1.0,-2.5e-30,16777216.0,3.4028235e+38]"),
    "float64": (np.array([0.1, 1 / 3, 1e300]), "[0.1,0.3333333333333333,1e+300]"),
    "float16": (np.array([0.1, 65504], np.float16), "[0.1,65500.0]"),
    "not finite": (np.array([np.nan, INF, -INF, -0.0], np.float32), "[NaN,Infinity,-Infinity,-0.0]"),
    "bool": (np.array([True, False]), "[true,false]"),
    "uint8": (np.array([0, 255], np.uint8), "[0,255]"),
    "int8": (np.array([-128, 127], np.int8), "[-128,127]"),
    "int16": (np.array([-32768, 300], np.int16), "[-32768,300]"),
    "uint16": (np.array([65535, 1], np.uint16), "[65535,1]"),
    "int64": (np.array([-(2**63), 2**63 - 1]), "[-9223372036854775808,9223372036854775807]"),
    "uint64": (np.array([2**64 - 1, 1], np.uint64), "[18446744073709551615,1]"),
    "bytes": (strings(b"a", b"\xff\0", b""), '[{"b64":"YQ=="},{"b64":"/wA="},{"b64":""}]'),
    "nested": (np.arange(12).reshape(2, 3, 2), "[[[0,1],[2,3],[4,5]],[[6,7],[8,9],[10,11]]]"),
    "empty": (np.zeros((2, 0, 3)), "[[],[]]"),
    "scalar": (np.array(2.5, np.float32), "2.5"),
    "a string alone": (np.asarray(b"a", object), '{"b64":"YQ=="}'),
}  # fmt: skip


@pytest.mark.parametrize("case", WRITTEN)
@pytest.mark.parametrize(("is_row_format", "key"), [(True, "instances"), (False, "inputs")])
def test_each_type_has_its_json(case: str, is_row_format: bool, key: str) -> None:
    """A single input is its bare values in either format: floats in the fewest digits, bytes in base64."""
    values, text = WRITTEN[case]
    body = request_json("s", {"x": values}, is_row_format=is_row_format)
    assert body.decode() == f'{{"signature_name":"s","{key}":{text}}}'


def test_floats_read_back_as_they_were() -> None:
    """No float changes on its way: what any decimal says is the nearest float of its type."""
    bits = np.random.default_rng(5).integers(0, 2**32, 5000, np.uint64).astype(np.uint32)
    floats = bits.view(np.float32)[np.isfinite(bits.view(np.float32))]
    (read,) = json.loads(request_json("s", {"x": floats[None]}, is_row_format=True))["instances"]
    assert np.array(read, np.float32).tobytes() == floats.tobytes()


def test_several_inputs_have_names() -> None:
    """More than one input: an object an item in row format, an object of whole inputs in column format."""
    batch = {"x": np.array([[1, 2], [3, 4]], np.int32), 'a "name"': strings(b"a", b"b")}
    rows = json.loads(request_json("s", batch, is_row_format=True))
    columns = json.loads(request_json("s", batch, is_row_format=False))
    a, b = {"b64": "YQ=="}, {"b64": "Yg=="}
    assert rows["instances"] == [{"x": [1, 2], 'a "name"': a}, {"x": [3, 4], 'a "name"': b}]
    assert columns["inputs"] == {"x": [[1, 2], [3, 4]], 'a "name"': [a, b]}


FREE, FIXED = TensorSpec("INT32", (-1,)), TensorSpec("INT32", (2,))


@pytest.mark.parametrize(
    ("protocol", "spec", "key"),
    [
        ("http", Signature({"x": FREE}, {"y": FREE}), "instances"),
        ("http-json", Signature({"x": FREE}, {"y": FREE}), "instances"),
        ("http-columns", Signature({"x": FREE}, {"y": FREE}), "inputs"),
        ("http", Signature({"x": FIXED}, {"y": FREE}), "inputs"),
        ("http", Signature({"x": FREE}, {"y": TensorSpec("INT32", ())}), "inputs"),
        ("http", Signature({"x": TensorSpec("INT32", None)}, {"y": FREE}), "inputs"),
    ],
)
def test_row_format_is_for_signatures_with_items(protocol: str, spec: Signature, key: str) -> None:
    """Requests go by item where each input and output has an entry an item, unless columns were asked for."""
    with closing(TfServingRestClient("127.0.0.1:1", model="m", signature="s", spec=spec, protocol=protocol)) as client:
        head, _, body = client.encode({"x": np.array([1, 2], np.int32)}).partition(b"\r\n\r\n")
    assert json.loads(body) == {"signature_name": "s", key: [1, 2]}
    assert b"Content-Type: application/json" in head


def outputs(**types: str) -> dict[str, TensorSpec]:
    """Outputs of rank 1 by name."""
    return {name: TensorSpec(datatype, (-1,)) for name, datatype in types.items()}


ONE, TWO = outputs(y="FP32"), outputs(a="INT64", b="BYTES")
READ = {
    "one by item": ('{"predictions": [1.5, 2]}', ONE, {"y": np.float32([1.5, 2])}),
    "one whole": ('{"outputs": [1.5, 9e+06]}', ONE, {"y": np.float32([1.5, 9e6])}),
    "a scalar": ('{"outputs": -1.5}', ONE, {"y": np.float32(-1.5)}),
    "not finite": ('{"outputs": [NaN, Infinity, -Infinity]}', ONE, {"y": np.float32([np.nan, INF, -INF])}),
    "two by item": (
        '{"predictions": [{"a": 1, "b": "x"}, {"a": 2, "b": "é"}]}', TWO,
        {"a": np.array([1, 2]), "b": strings(b"x", "é".encode())},
    ),
    "two whole": ('{"outputs": {"a": [1], "b": ["x"]}}', TWO, {"a": np.array([1]), "b": strings(b"x")}),
    "base64": ('{"outputs": [{"b64": "/wA="}]}', outputs(y_bytes="BYTES"), {"y_bytes": strings(b"\xff\0")}),
    "largest": ('{"outputs": [18446744073709551615, 1]}', outputs(y="UINT64"), {"y": np.uint64([2**64 - 1, 1])}),
    "bool": ('{"outputs": [true, false]}', outputs(y="BOOL"), {"y": np.array([True, False])}),
    "half": ('{"outputs": [0.5]}', outputs(y="FP16"), {"y": np.float16([0.5])}),
    "bfloat16": ('{"outputs": [0.5]}', outputs(y="BF16"), {"y": np.float32([0.5])}),
    "nothing": ('{"outputs": []}', {"y": TensorSpec("INT8", (-1, 3))}, {"y": np.zeros((0, 3), np.int8)}),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_answers_are_arrays_of_the_signatures_types(case: str) -> None:
    """Either format gives the arrays that the signature declares, exactly."""
    text, specs, wanted = READ[case]
    read = answered_arrays(text.encode(), specs)
    assert {name: (each.dtype, each.shape) for name, each in read.items()} == {
        name: (each.dtype, each.shape) for name, each in wanted.items()
    }
    for name, values in wanted.items():
        np.testing.assert_array_equal(read[name], values)


def test_text_that_is_not_utf8_keeps_its_bytes() -> None:
    """TF Serving writes a string's bytes as they are, whatever they are: they come back so."""
    assert answered_arrays(b'{"outputs": ["\xff\\n"]}', outputs(y="BYTES"))["y"].tolist() == [b"\xff\n"]


@pytest.mark.parametrize(
    ("text", "specs"),
    [
        ("", ONE), ("<html>", ONE), ("[1]", ONE), ("{}", ONE), ('{"error": "none"}', ONE),
        ('{"outputs": ["1.5"]}', ONE), ('{"outputs": [true]}', ONE), ('{"outputs": [null]}', ONE),
        ('{"outputs": [[1], [1, 2]]}', ONE), ('{"outputs": {"y": [1]}}', ONE),
        ('{"outputs": [1.5]}', outputs(y="INT32")), ('{"outputs": [300]}', outputs(y="UINT8")),
        ('{"outputs": [1]}', outputs(y="BOOL")), ('{"outputs": [1]}', outputs(y="BYTES")),
        ('{"outputs": [{"b64": "?"}]}', outputs(y="BYTES")), ('{"outputs": [{"b65": "YQ=="}]}', outputs(y="BYTES")),
        ('{"outputs": {"a": [1]}}', TWO),
        ('{"outputs": {"a": [1], "b": ["x"], "c": 1}}', TWO),
        ('{"outputs": {"a": [1], "c": ["x"]}}', TWO),
        ('{"predictions": [{"a": 1, "b": "x"}, {"a": 2}]}', TWO), ('{"predictions": []}', TWO),
        ('{"predictions": [1]}', TWO),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_never_read_as_one(text: str, specs: dict[str, TensorSpec]) -> None:
    """A body of another form, or with values of another type, raises; nothing is rounded or wrapped to fit."""
    with pytest.raises((ValueError, TypeError, LookupError, AttributeError, MalformedReplyError)):
        answered_arrays(text.encode(), specs)


def test_a_type_that_is_not_read_says_so() -> None:
    """An output of a type without JSON is not taken for a broken answer."""
    with pytest.raises(UnsupportedReplyError, match="TensorFlow's type DT_8"):
        answered_arrays(b'{"outputs": [1]}', outputs(y="DT_8"))


def echoed() -> dict[str, np.ndarray]:
    """Values of each type at their limits."""
    ranges = {kind: np.iinfo(kind) for kind in ("int8", "int16", "int32", "int64", "uint8", "uint32", "uint64")}
    whole = {kind: np.array([[limits.min, limits.max], [0, 1]], kind) for kind, limits in ranges.items()}
    return {
        **whole,
        "bool": np.array([[True, False], [False, True]]),
        "float32": np.array([[0.1, np.nan], [INF, -3.4028235e38]], np.float32),
        "float64": np.array([[1 / 3, -INF], [5e-300, 1]]),
        "string": np.array([[b"\xff\0", b""], ["é".encode(), b'"\\\n']], object),
    }


PICTURES = crops(2)
BATCHES = {
    "pictures": (MODEL, "predict_images", {"images": PICTURES}),
    "files": (MODEL, "predict_jpegs", {"jpeg_images": jpeg_files(PICTURES, 95)}),
    "one file": (MODEL, "predict_jpeg", {"jpeg_image": np.asarray(jpeg_files(PICTURES, 95)[0], object)}),
    "floats": ("scale", "times", {"x": np.array([[0.1, 2], [3, -4e-9]], np.float32)}),
    "an output for all": ("scale", "total", {"x": np.array([[0.1, 2], [3, 4]], np.float32)}),
    "fewer out than in": ("scale", "distinct", {"x": np.array([[1, 2], [1, 4]], np.float32)}),
    "two inputs": ("scale", "boxed", {"images": PICTURES, "boxes": np.array([[0, 0, 1, 2]] * 2, np.float32)}),
    "every type": ("echoes", "rows", echoed()),
    "scalars": ("echoes", "scalars", {"x": np.array(0.1, np.float32), "text": np.asarray(b"\xe9", object)}),
    "no items": ("echoes", "grid", {"x": np.arange(6).reshape(2, 3)}),
}


@pytest.mark.parametrize("protocol", [ROWS, COLUMNS])
@pytest.mark.parametrize("case", BATCHES)
def test_answers_are_those_of_grpc(case: str, protocol: str, tfs_doors: tuple[str, str]) -> None:
    """The same inputs get the same arrays over REST as over gRPC, bit for bit, in either format."""
    model, signature, batch = BATCHES[case]
    own = TfServingClient(tfs_doors[0], model=model, signature=signature)
    rest = connected(f"http://{tfs_doors[1]}", model, signature, protocol)
    answers = []
    for client in (own, rest):
        with closing(client):
            reply = client.send(client.encode(batch), DEADLINE_S)
            assert reply.is_ok, reply.error
            assert reply.received_bytes > 0
            answers.append(client.decode(reply))
    assert list(answers[0]) == list(answers[1])
    for name, values in answers[0].items():
        assert values.dtype == answers[1][name].dtype
        np.testing.assert_array_equal(answers[1][name], values)


@pytest.mark.parametrize("model", [MODEL, "scale", "kinds", "echoes"])
def test_what_answers_is_described_as_by_grpc(model: str, tfs_doors: tuple[str, str]) -> None:
    """Versions, signatures, types and shapes are the same by REST as by gRPC."""
    with closing(TfServingClient(tfs_doors[0], model=model, signature="")) as own:
        wanted = own.describe()
    with closing(connected(tfs_doors[1], model, "")) as client:
        assert client.describe() == wanted
    assert wanted.signatures


@pytest.mark.parametrize(
    ("model", "signature", "sentences"),
    [
        ("nope", "a", ["NOT_FOUND: Could not find any versions of model nope", "with -m"]),
        (MODEL, "nope", ["signature is nope", f"{MODEL} has predict_images, predict_jpeg, predict_jpegs"]),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_load(
    model: str, signature: str, sentences: list[str], tfs_rest_double: str
) -> None:
    """A model or signature that is not there is one sentence with what there is, without TensorFlow's own signature."""
    with closing(connected(tfs_rest_double, model, signature)) as client, pytest.raises(ClientError) as error:
        client.describe()
    assert all(sentence in str(error.value) for sentence in sentences), error.value
    assert "__saved_model_init_op" not in str(error.value)


@contextmanager
def answering(code: int, content: bytes) -> Iterator[tuple[str, list[str]]]:
    """An HTTP server that answers everything alike: where it is, and the paths that it was asked for."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(code)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        server.server_close()


def refused(url: str, model: str = "a") -> str:
    """The sentence with which an endpoint is refused."""
    with closing(connected(url, model)) as client, pytest.raises(ClientError) as error:
        client.describe()
    return str(error.value)


@pytest.mark.parametrize(
    ("states", "sentence"),
    [
        ([("1", "LOADING", "OK")], "is loading version 1 of it: wait until that is available"),
        ([("1", "END", "NOT_FOUND")], "could not load version 1 of it (no variable): export it again, as a version 2"),
        ([("1", "END", "OK")], "has unloaded version 1 of it: add it to its models.conf"),
        ([], "has no version of it: name another model with -m"),
    ],
)
def test_a_model_that_is_not_there_yet_says_so(states: list[tuple[str, str, str]], sentence: str) -> None:
    """A model that is loading, failed to load or was unloaded is the sentence that it is over gRPC."""
    versions = [
        {"version": version, "state": state, "status": {"error_code": code, "error_message": "no variable"}}
        for version, state, code in states
    ]
    with answering(200, json.dumps({"model_version_status": versions}).encode()) as (url, _):
        assert refused(url).startswith(f"model is a; TF Serving {sentence}")


@pytest.mark.parametrize(
    ("code", "content"),
    [
        (404, b""), (404, b"<html>not here</html>"), (404, b'{"error": "no such path"}'), (200, b"hello"),
        (200, b"[1]"), (200, b'{"status": "ok"}'), (200, b'{"model_version_status": 5}'),
    ],
)  # fmt: skip
def test_another_http_server_says_so(code: int, content: bytes) -> None:
    """A server of something else is a sentence that sends the user to the REST port, and no row per request."""
    with answering(code, content) as (url, _):
        sentence = refused(url)
    assert sentence.startswith(f"url tfserving={url}; an HTTP server answers, but it is not TF Serving (")
    assert sentence.endswith("; name the REST port of one")


def test_a_models_name_is_part_of_the_path() -> None:
    """A name with a slash or a colon asks for that model and no other path."""
    with answering(404, b"") as (url, paths):
        refused(url, "a/b:c é")
    assert paths == ["/v1/models/a%2Fb%3Ac%20%C3%A9"]


def test_a_port_of_another_protocol_says_so(tfs_double: str) -> None:
    """The gRPC port, and a port where nothing listens, are sentences with the remedy."""
    assert refused(tfs_double).endswith(
        "no TF Serving answers: there is a gRPC server: name the REST port of a running server"
    )
    nothing = refused("127.0.0.1:1")
    assert "no TF Serving answers: there is nothing to connect to" in nothing
    assert nothing.endswith("name the REST port of a running server")


def predict(model: str = "scale", rest: str = "") -> str:
    return f"/v1/models/{model}{rest}:predict"


def asked(signature: str, **fields: Any) -> str:
    return json.dumps({"signature_name": signature, **fields})


ECHO = predict("echoes")
NOT_FOUND, INVALID, UNIMPLEMENTED, INTERNAL = "NOT_FOUND", "INVALID_ARGUMENT", "UNIMPLEMENTED", "INTERNAL"
FAILED = "Failed to process element:"
ANSWERS = {
    "another path": ("GET", "/v2/health", "", 404, NOT_FOUND, None),
    "no method": ("POST", "/v1/models/scale", "", 400, INVALID, "Malformed request: POST /v1/models/scale"),
    "predict by GET": ("GET", predict(), "", 400, INVALID, f"Malformed request: GET {predict()}"),
    "a method other than POST": ("PUT", predict(), "", 400, INVALID, f"Malformed request: PUT {predict()}"),
    "no model": ("GET", "/v1/models", "", 400, INVALID, "Missing model name in request."),
    "a version too high": (
        "GET", f"/v1/models/scale/versions/{2**64}", "", 400, INVALID,
        f"Failed to convert version: {2**64} to numeric.",
    ),
    "unknown model": (
        "POST", predict("nope"), '{"instances": [1]}', 404, NOT_FOUND,
        "Servable not found for request: Latest(nope)",
    ),
    "unknown version": (
        "POST", predict(rest="/versions/7"), '{"instances": [1]}', 404, NOT_FOUND,
        "Servable not found for request: Specific(scale, 7)",
    ),
    "unknown label": (
        "POST", predict(rest="/labels/stable"), '{"instances": [1]}', 400, INVALID,
        "Unrecognized servable version label: stable",
    ),
    "status of no model": (
        "GET", "/v1/models/nope", "", 404, NOT_FOUND, "Could not find any versions of model nope",
    ),
    "metadata of no model": (
        "GET", "/v1/models/nope/metadata", "", 404, NOT_FOUND, "Servable not found for request: Latest(nope)",
    ),
    "unknown signature": (
        "POST", predict(), asked("nope", instances=[1]), 400, INVALID,
        'Serving signature name: "nope" not found in signature def',
    ),
    "default signature": (
        "POST", predict(), '{"instances": [1]}', 400, INVALID,
        'Serving signature name: "serving_default" not found in signature def',
    ),
    "nothing": ("POST", predict("nope"), "", 400, INVALID, "JSON Parse error: The document is empty"),
    "no JSON": ("POST", predict(), "instances = [1]", 400, INVALID, "JSON Parse error: Invalid value. at offset: 0"),
    "no object": ("POST", predict(), "[1, 2]", 400, INVALID, "JSON Value: [1, 2] Is not object"),
    "a signature that is a number": (
        "POST", predict(), '{"signature_name": 100}', 400, INVALID,
        "JSON Value: {\n    \"signature_name\": 100\n} not formatted correctly. 'signature_name' key must be a string",
    ),
    "neither key": ("POST", predict(), asked("times"), 400, INVALID, "Missing 'inputs' or 'instances' key"),
    "no element": ("POST", predict(), asked("times", instances=[]), 400, INVALID, "JSON Value: "),
    "a plain list for two inputs": (
        "POST", predict(), asked("boxed", instances=[[1]]), 400, INVALID, "instances is a plain list, but expecting",
    ),
    "a plain value for two inputs": (
        "POST", predict(), asked("boxed", inputs=[[1]]), 400, INVALID, "inputs is a plain value/list, but expecting",
    ),
    "a wrong name": (
        "POST", predict(), asked("times", instances=[{"z": [1, 2]}]), 400, INVALID,
        f"{FAILED} 0 key: z of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: z",
    ),
    "a name that is missing": (
        "POST", predict(), asked("boxed", instances=[{"boxes": [1, 2, 3, 4]}]), 400, INVALID,
        f"{FAILED} 0 of 'instances' list. JSON object: ",
    ),
    "a missing column": (
        "POST", predict(), asked("boxed", inputs={"boxes": [1]}), 400, INVALID,
        "Missing named input: images in 'inputs' object.",
    ),
    "rows of two lengths": (
        "POST", predict(), asked("times", instances=[[1, 2], [1]]), 400, INVALID,
        f"{FAILED} 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 2 but got: 1",
    ),
    "rows of two shapes": (
        "POST", predict(), asked("times", instances=[[1, 2], [[1, 2]]]), 400, INVALID,
        f"{FAILED} 1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [2] but got: [1,2]",
    ),
    "lists of two lengths": (
        "POST", predict(), asked("times", inputs=[[1, 2], [1]]), 400, INVALID,
        "Encountered list at unexpected size: 1 at level: 1 expected size: 2",
    ),
    "lists of two depths": (
        "POST", predict(), asked("times", inputs=[[1, 2], 3]), 400, INVALID,
        "JSON Value: 3 found at incorrect level: 2 in the JSON DOM. Expected at level: 2",
    ),
    "text for a number": (
        "POST", predict(), asked("times", inputs=[["x", "y"]]), 400, INVALID,
        'JSON Value: "x" Type: String is not of expected type: float',
    ),
    "a fraction for an integer": (
        "POST", ECHO, asked("uneven", instances=[1.0]), 400, INVALID,
        f"{FAILED} 0 of 'instances' list. Error: INVALID_ARGUMENT: JSON Value: 1.0 Type: Number is not of expected",
    ),
    "half in columns": (
        "POST", ECHO, asked("halves", inputs=[0.5]), 501, UNIMPLEMENTED,
        "Conversion of JSON Value: 0.5 to type: half",
    ),
    "half in rows": (
        "POST", ECHO, asked("halves", instances=[0.5]), 400, INVALID,
        f"{FAILED} 0 of 'instances' list. Error: UNIMPLEMENTED: Conversion of JSON Value: 0.5 to type: half",
    ),
    "half in the answer": (
        "POST", predict("kinds"), asked("each", inputs=[1]), 400, INVALID,
        "Failed to write JSON value for tensor type: ",
    ),
    "an output for all": (
        "POST", predict(), asked("total", instances=[[1, 2]]), 400, INVALID,
        "Tensor name: sum has no shape information ",
    ),
    "a broken file": (
        "POST", predict(MODEL), asked("predict_jpegs", instances=[{"b64": "YQ=="}]), 400, INVALID,
        "Unknown image file format.",
    ),
    "text that is not base64": (
        "POST", predict(MODEL), asked("predict_jpegs", inputs=[{"b64": "?"}]), 400, INVALID, "Unable to base64 decode",
    ),
    "XLA where it is off": (
        "POST", predict("tiny-xla"), asked("means", inputs=[[[[1, 2, 3]]]]), 500, INTERNAL, "XLA compilation disabled",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ANSWERS)
def test_refusals_are_the_official_ones(case: str, tfs_rest_double: str) -> None:
    """What TF Serving refuses is a status, which is the gRPC one as far as HTTP tells, and JSON with its sentence."""
    verb, path, body, code, status, sentence = ANSWERS[case]
    with closing(HTTPConnection(tfs_rest_double, timeout=DEADLINE_S)) as connection:
        connection.request(verb, path, body)
        response = connection.getresponse()
        content = response.read()
    assert (response.status, grpc_status(response.status)) == (code, status)
    assert (response.headers["Content-Type"] == "application/json") == (sentence is not None)
    if sentence is not None:
        assert json.loads(content)["error"].startswith(sentence), content


def test_a_refusal_is_a_reply(tfs_rest_double: str) -> None:
    """Whatever TF Serving refuses is a reply with its status and its own sentence, never an exception."""
    with closing(connected(tfs_rest_double, "scale", "times")) as client:
        reply = client.send(message(b'{"signature_name": "times"}', "application/json"), DEADLINE_S)
    assert (reply.status, reply.body) == (INVALID, None)
    assert reply.error == "Missing 'inputs' or 'instances' key"


@pytest.mark.parametrize(
    ("model", "signature", "batch", "protocol", "words"),
    [
        ("echoes", "halves", {"x": np.float16([0.5])}, ROWS, "carry type half: use --protocol grpc"),
        ("echoes", "halves", {"x": np.float16([0.5])}, COLUMNS, "carry type half: use --protocol grpc"),
        ("kinds", "each", {"x": np.int32([1])}, COLUMNS, "carry type"),
        ("echoes", "uneven", {"x": np.int32([1, 2])}, ROWS, "use --protocol http-columns"),
    ],
)
def test_what_json_cannot_carry_has_a_remedy(
    model: str, signature: str, batch: dict[str, np.ndarray], protocol: str, words: str, tfs_rest_double: str
) -> None:
    """A model that REST, or row format, cannot carry is a refusal that names the protocol that can."""
    with closing(connected(tfs_rest_double, model, signature, protocol)) as client:
        reply = client.send(client.encode(batch), DEADLINE_S)
    assert not reply.is_ok
    assert words in (reply.error or "")


def test_a_lost_variable_has_the_remedy() -> None:
    """A Keras 3 model that tf.saved_model.save wrote says how to export it, though HTTP has no FAILED_PRECONDITION."""
    spec = Signature({"x": FREE}, {"y": FREE})

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(400)
            self.end_headers()
            self.wfile.write(b'{"error": "Could not find variable dense/kernel. This could mean"}')

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"127.0.0.1:{server.server_port}"
    with closing(TfServingRestClient(url, model="m", signature="s", spec=spec)) as client:
        reply = client.send(client.encode({"x": np.int32([1])}), DEADLINE_S)
    server.shutdown()
    server.server_close()
    assert "variable dense/kernel of" in (reply.error or "")
    assert "model.export(FOLDER)" in (reply.error or "")


def test_a_deadline_is_a_status(tfs_rest_double: str) -> None:
    """A request that is not answered in time is DEADLINE_EXCEEDED, with the gRPC client's sentence."""
    with closing(connected(tfs_rest_double, "slow")) as client:
        reply = client.send(client.encode({"images": crops(1)}), 1e-4)
    assert (reply.status, reply.error) == ("DEADLINE_EXCEEDED", "no answer within 0.0001 s")


def test_lanes_share_a_client(tfs_rest_double: str) -> None:
    """Many calls at once on one client each get the answer to their own request, on connections that are kept."""
    with closing(connected(tfs_rest_double, "scale", "times")) as client, ThreadPoolExecutor(16) as pool:
        client.prepare(16)
        sent = [client.encode({"x": np.full((2, 2), number, np.float32)}) for number in range(200)]
        replies = list(pool.map(lambda request: client.send(request, DEADLINE_S), sent))
        answers = [client.decode(reply)["y"][0, 0] for reply in replies]
    assert len(set(answers)) == 200
    np.testing.assert_allclose(np.array(answers[1:]) / answers[1], np.arange(1, 200), rtol=1e-6)


@pytest.mark.parametrize(
    ("url", "kind"),
    [("127.0.0.1:1", TfServingClient), ("http://127.0.0.1:1", TfServingRestClient)],
)
def test_the_url_picks_the_client(url: str, kind: type) -> None:
    """A url of HTTP makes the REST client of TF Serving, any other that of gRPC."""
    server = ServerSpec(kind="tfserving", url=url)
    with closing(connect(server, url=url, model="m", signature="s", models="")) as client:
        assert type(client) is kind

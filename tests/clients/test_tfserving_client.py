"""TensorFlow Serving's client: its bytes are the official ones, and each answer of a real server has its sentence.

The server is the double of tests/support/tfs_double, which answers as a real one was seen to.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import grpc
import numpy as np
import pytest
from real_parts import crops

from raybench.clients.base import ClientError, Reply, UnsupportedReplyError
from raybench.clients.proto import tfserving_pb2 as pb
from raybench.clients.tensor_proto import array, put
from raybench.clients.tfserving_client import TfServingClient
from raybench.inputs.photos import jpeg_files
from raybench.models.saved_models import TensorSpec

MODEL, SIGNATURE = "mobilenet-no-opt", "predict_images"
DEADLINE_S = 30.0
IMAGES = np.zeros((2, 224, 224, 3), np.uint8)


def connected(url: str, model: str = MODEL, signature: str = SIGNATURE) -> TfServingClient:
    return TfServingClient(url, model=model, signature=signature)


@pytest.fixture
def client(tfs_double: str) -> Iterator[TfServingClient]:
    client = connected(tfs_double)
    yield client
    client.close()


def request(images: np.ndarray = IMAGES, **changes: Any) -> pb.PredictRequest:
    """What the client sends; `changes` are of its ModelSpec."""
    made = pb.PredictRequest(model_spec={"name": MODEL, "signature_name": SIGNATURE, **changes})
    put(images, made.inputs["images"])
    return made


def other(change: Any) -> pb.PredictRequest:
    """The client's request, changed in place."""
    made = request()
    change(made)
    return made


def renamed(made: pb.PredictRequest) -> None:
    made.inputs["pictures"].CopyFrom(made.inputs["images"])
    del made.inputs["images"]


def as_float(made: pb.PredictRequest) -> None:
    made.inputs["images"].dtype = 1
    made.inputs["images"].tensor_content = IMAGES.astype(np.float32).tobytes()


def jpegs(files: np.ndarray) -> pb.PredictRequest:
    made = pb.PredictRequest(model_spec={"name": MODEL, "signature_name": "predict_jpegs"})
    put(files, made.inputs["jpeg_images"])
    return made


SIZE, ALIAS = "input size does not match signature", "output tensor alias not found in signature"
REFUSED = {
    "unknown model": (request(name="nope"), "NOT_FOUND", "Servable not found for request: Latest(nope)"),
    "unknown version": (
        request(version={"value": 7}), "NOT_FOUND", f"Servable not found for request: Specific({MODEL}, 7)",
    ),
    "empty model name": (request(name=""), "INVALID_ARGUMENT", "ModelSpec has no name specified."),
    "unknown signature": (
        request(signature_name="nope"), "FAILED_PRECONDITION", 'Serving signature key "nope" not found.',
    ),
    "empty signature": (
        request(signature_name=""), "FAILED_PRECONDITION", 'Serving signature key "serving_default" not found.',
    ),
    "wrong dtype": (other(as_float), "INVALID_ARGUMENT", "Expects arg[0] to be uint8 but float is provided"),
    "wrong rank": (request(IMAGES[0]), "INVALID_ARGUMENT", "input must be 4-dimensional[224,224,3]"),
    "4 channels": (
        request(np.zeros((2, 224, 224, 4), np.uint8)), "INVALID_ARGUMENT",
        "input depth must be evenly divisible by filter depth: 4 vs 3",
    ),
    "wrong input key": (
        other(renamed), "INVALID_ARGUMENT",
        f"Signature input alias: images(feed name: {SIGNATURE}_images:0) not found in request and no default",
    ),
    "no model": (other(lambda made: made.ClearField("model_spec")), "INVALID_ARGUMENT", "Missing ModelSpec"),
    "unknown label": (
        request(version_label="stable"), "INVALID_ARGUMENT", "Unrecognized servable version label: stable",
    ),
    "an output twice": (
        other(lambda made: made.output_filter.extend(["scores", "scores"])), "INVALID_ARGUMENT",
        "duplicate output tensor alias: scores",
    ),
    "no JPEG file": (
        jpegs(np.array([b"none"], object)), "INVALID_ARGUMENT", "Unknown image file format. One of JPEG",
    ),
    "no inputs": (
        other(lambda made: made.inputs.clear()), "INVALID_ARGUMENT",
        f"{SIZE}: 0!=1 len({{}}) != len({{images}}). Sent extra: {{}}. Missing but required: {{images}}.",
    ),
    "extra input": (
        other(lambda made: put(IMAGES, made.inputs["more"])), "INVALID_ARGUMENT",
        f"{SIZE}: 2!=1 len({{images,more}}) != len({{images}}). Sent extra: {{more}}.",
    ),
    "unknown output": (
        other(lambda made: made.output_filter.append("nope")), "INVALID_ARGUMENT",
        f"{ALIAS}: nope Outputs expected to be in the set {{classes,embeddings,scores}}.",
    ),
    "truncated content": (
        other(lambda made: setattr(made.inputs["images"], "tensor_content", b"\0" * 9)), "INVALID_ARGUMENT",
        "tensor parsing error: images",
    ),
    "XLA where it is off": (request(name="tiny-xla", signature_name="means"), "INTERNAL", "XLA compilation disabled"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_a_refusal_keeps_its_status_and_sentence(case: str, client: TfServingClient) -> None:
    """Whatever TensorFlow Serving refuses is a reply with its status and its own sentence, never an exception."""
    asked, status, sentence = REFUSED[case]
    reply = client.send(asked.SerializeToString(), DEADLINE_S)
    assert (reply.status, reply.body) == (status, None)
    assert (reply.error or "").startswith(sentence)


def test_a_refusal_for_want_of_a_thread_has_the_remedy(tfs_double: str) -> None:
    """More requests than TensorFlow Serving has gRPC threads are refused, not queued: a sentence names the flag."""
    with closing(connected(tfs_double, model="slow")) as client, ThreadPoolExecutor(64) as pool:
        sent = client.encode({"images": crops(1)})
        replies = list(pool.map(lambda _: client.send(sent, DEADLINE_S), range(256)))
    refused = {reply.error for reply in replies if reply.status == "RESOURCE_EXHAUSTED"}
    assert {reply.status for reply in replies} == {"OK", "RESOURCE_EXHAUSTED"}
    assert len(refused) == 1
    assert "start it with --grpc_max_threads" in str(refused)


STATE = pb.GetModelStatusResponse
BROKEN = {"error_code": 5, "error_message": "Could not find\nvariable"}


@pytest.mark.parametrize(
    ("versions", "sentence"),
    [
        ([{"version": 1, "state": STATE.LOADING}], "is loading version 1 of it: wait until that is available"),
        (
            [{"version": 2, "state": STATE.START}, {"version": 1, "state": STATE.END}],
            "is loading version 2 of it: wait",
        ),
        (
            [{"version": 1, "state": STATE.END, "status": BROKEN}],
            "could not load version 1 of it (Could not find variable): export it again, as a version 2",
        ),
        ([{"version": 1, "state": STATE.END}], "has unloaded version 1 of it: add it to its models.conf"),
        ([], "has no version of it: name another model with -m"),
    ],
)
def test_a_model_that_is_not_there_yet_says_so(versions: list[dict[str, Any]], sentence: str) -> None:
    """A model that is loading, failed to load or was unloaded is a sentence with what became of it and the remedy."""
    status = grpc.unary_unary_rpc_method_handler(
        lambda *_: STATE(model_version_status=versions), response_serializer=STATE.SerializeToString
    )
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler("tensorflow.serving.ModelService", {"GetModelStatus": status})]
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with closing(connected(f"127.0.0.1:{port}", model="a")) as client, pytest.raises(ClientError) as error:
            client.describe()
    finally:
        server.stop(None)
    assert str(error.value).startswith(f"model is a; TF Serving {sentence}")


def test_a_deadline_is_a_status(client: TfServingClient) -> None:
    """A request that is not answered in time is DEADLINE_EXCEEDED."""
    reply = client.send(client.encode({"images": IMAGES}), 1e-4)
    assert reply.status == "DEADLINE_EXCEEDED"
    assert (reply.error or "").startswith("no answer within 0.0001 s")


def test_a_prediction_is_the_models_own(client: TfServingClient) -> None:
    """Predict answers every output of the signature, an image a row, as TensorFlow itself does; crops differ."""
    pictures = crops(2)
    reply = client.send(client.encode({"images": pictures}), DEADLINE_S)
    assert reply.is_ok, reply.error
    outputs = client.decode(reply)
    assert {name: (each.dtype.name, each.shape[0]) for name, each in outputs.items()} == {
        "classes": ("int64", 2), "embeddings": ("float32", 2), "scores": ("float32", 2),
    }  # fmt: skip
    assert reply.received_bytes == len(reply.body) > outputs["scores"].nbytes
    np.testing.assert_allclose(outputs["scores"].sum(axis=1), 1, rtol=1e-5)
    np.testing.assert_array_equal(outputs["scores"].argmax(axis=1), outputs["classes"])
    assert not np.allclose(outputs["scores"][0], outputs["scores"][1])


def test_jpeg_files_are_sent_as_they_are(tfs_double: str) -> None:
    """The signature of JPEG files gets the files' bytes, and answers what the one of pixels answers to their pixels."""
    import tensorflow as tf

    files = jpeg_files(crops(2), 95)
    pixels = np.stack([tf.io.decode_jpeg(each, channels=3).numpy() for each in files])
    answers = []
    for signature, sent in (("predict_jpegs", {"jpeg_images": files}), (SIGNATURE, {"images": pixels})):
        with closing(connected(tfs_double, signature=signature)) as client:
            client.describe()
            answers.append(client.decode(client.send(client.encode(sent), DEADLINE_S)))
    np.testing.assert_allclose(answers[0]["scores"], answers[1]["scores"], atol=1e-4)


def test_what_answers_is_described(client: TfServingClient) -> None:
    """The client knows the version of the model that answers, the highest one, and what goes in and out."""
    found = client.describe()
    assert found.signature.inputs == {"images": TensorSpec("UINT8", (-1, -1, -1, 3))}
    assert sorted(found.signature.outputs) == ["classes", "embeddings", "scores"]
    assert sorted(found.signatures) == ["predict_images", "predict_jpeg", "predict_jpegs"]
    assert (found.server, found.model_version) == ("tensorflow serving", 1)


@pytest.mark.parametrize(
    ("asked", "sentences"),
    [
        ({"model": "nope"}, ["NOT_FOUND: Could not find any versions of model nope", "with -m"]),
        ({"signature": "nope"}, ["signature is nope", f"{MODEL} has predict_images, predict_jpeg, predict_jpegs"]),
    ],
)
def test_what_cannot_be_asked_is_refused_before_any_load(
    asked: dict[str, str], sentences: list[str], tfs_double: str
) -> None:
    """A model or signature that is not there is one sentence with what there is, without TensorFlow's own signature."""
    client = connected(tfs_double, **asked)
    with pytest.raises(ClientError) as error:
        client.describe()
    client.close()
    assert all(sentence in str(error.value) for sentence in sentences), error.value
    assert "__saved_model_init_op" not in str(error.value)


def test_another_grpc_server_is_told(triton: Any) -> None:
    """A gRPC server that is none, such as Triton, is a sentence and no row per request."""
    with pytest.raises(ClientError, match="it is not TF Serving; name the gRPC port of one"):
        connected(triton.url).describe()


def test_nobody_there_is_told() -> None:
    """A port where nothing listens is a sentence."""
    with pytest.raises(ClientError, match="no TF Serving answers: there is nothing to connect to"):
        connected("127.0.0.1:1").describe()


def test_requests_are_those_of_the_official_classes(client: TfServingClient) -> None:
    """Our bytes are a PredictRequest: the official class reads model, signature and every pixel of it."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    pictures = crops(2)
    official = predict_pb2.PredictRequest.FromString(client.encode({"images": pictures}))
    assert (official.model_spec.name, official.model_spec.signature_name) == (MODEL, SIGNATURE)
    np.testing.assert_array_equal(tf.make_ndarray(official.inputs["images"]), pictures)
    again = predict_pb2.PredictRequest()
    again.model_spec.name, again.model_spec.signature_name = MODEL, SIGNATURE
    again.inputs["images"].CopyFrom(tf.make_tensor_proto(pictures))
    assert again == official


def test_a_scalar_has_no_dimensions() -> None:
    """One JPEG file, for a signature that takes no list of them, is a scalar to the official class."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2

    made = pb.PredictRequest()
    put(np.array(b"one file"), made.inputs["jpeg_image"])
    official = predict_pb2.PredictRequest.FromString(made.SerializeToString())
    assert tf.make_ndarray(official.inputs["jpeg_image"]).tolist() == b"one file"


def official_messages() -> dict[str, Any]:
    """The official message for each of ours, by name."""
    from tensorflow.core.framework import tensor_pb2, tensor_shape_pb2
    from tensorflow.core.protobuf import meta_graph_pb2
    from tensorflow_serving.apis import (
        get_model_metadata_pb2,
        get_model_status_pb2,
        model_management_pb2,
        model_pb2,
        predict_pb2,
        prediction_log_pb2,
    )

    modules = [
        tensor_pb2, tensor_shape_pb2, meta_graph_pb2, get_model_metadata_pb2, get_model_status_pb2,
        model_management_pb2, model_pb2, predict_pb2, prediction_log_pb2,
    ]  # fmt: skip
    found = {name: message for each in modules for name, message in each.DESCRIPTOR.message_types_by_name.items()}
    found["Version"] = found["ModelVersionStatus"]
    found["Status"] = found["Version"].fields_by_name["status"].message_type
    return found


def ours(messages: Any) -> Iterator[Any]:
    for message in messages:
        if not message.GetOptions().map_entry:
            yield message
            yield from ours(message.nested_types)


# Where our type differs from the official one, and the wire is the same.
SAME_WIRE = {
    "dtype", "state", "error_code", "float_val", "double_val", "scomplex_val", "dcomplex_val", "config", "half_val"
}  # fmt: skip


def test_field_numbers_are_the_official_ones() -> None:
    """Every field of our messages has the name, number and kind that the official messages give it."""
    there = official_messages()
    for message in ours(pb.DESCRIPTOR.message_types_by_name.values()):
        theirs = there.get(message.name) or there["TensorShapeProto"].nested_types_by_name[message.name]
        for field in message.fields:
            same = theirs.fields_by_name[field.name]
            assert field.number == same.number, field.full_name
            assert field.name in SAME_WIRE or (field.type, field.is_repeated) == (same.type, same.is_repeated), (
                field.full_name
            )
    states = {
        name: value.number
        for name, value in there["ModelVersionStatus"].enum_types_by_name["State"].values_by_name.items()
    }
    assert dict(pb.GetModelStatusResponse.State.items()) == states


def test_methods_are_the_official_ones() -> None:
    """The client calls methods that the official services have."""
    from tensorflow_serving.apis import model_service_pb2, prediction_service_pb2

    from raybench.clients import tfserving_client

    called = [
        (tfserving_client._PREDICTION, prediction_service_pb2, {"Predict", "GetModelMetadata"}),
        (tfserving_client._MODEL, model_service_pb2, {"GetModelStatus", "HandleReloadConfigRequest"}),
    ]
    for path, module, methods in called:
        (service,) = module.DESCRIPTOR.services_by_name.values()
        assert path == f"/{service.full_name}"
        assert methods <= set(service.methods_by_name)


ARRAYS = {
    "float32": np.array([[1.5, -2.25], [3, 1e-30]], np.float32),
    "float64": np.array([1.5, -2.25e300], np.float64),
    "int32": np.array([[1, -2, 2**31 - 1]], np.int32),
    "uint8": np.arange(256, dtype=np.uint8).reshape(4, 64),
    "int16": np.array([-5, 300], np.int16),
    "int8": np.array([-5, 100], np.int8),
    "int64": np.array([2**62, -1], np.int64),
    "bool": np.array([[True, False, True]]),
    "uint16": np.array([65535, 1], np.uint16),
    "float16": np.array([[0.5, -3.25]], np.float16),
    "uint32": np.array([2**32 - 1, 1], np.uint32),
    "uint64": np.array([2**64 - 1, 1], np.uint64),
    "scalar": np.array(2.5, np.float32),
    "empty": np.zeros((0, 3), np.float32),
    "strings": np.array([[b"a", b""], [b"\xff\0", b"long" * 99]], object),
}
CODES = {name: number for number, name in enumerate(
    ["", "float32", "float64", "int32", "uint8", "int16", "int8", "object", "", "int64", "bool"])}  # fmt: skip
CODES |= {"uint16": 17, "float16": 19, "uint32": 22, "uint64": 23}


def in_fields(values: np.ndarray, kept: int | None = None) -> bytes:
    """An official TensorProto with its values, or the first few of them, in the field of their type."""
    from tensorflow.core.framework import tensor_pb2

    fields = {"float32": "float_val", "float64": "double_val", "object": "string_val", "int64": "int64_val",
              "bool": "bool_val", "float16": "half_val", "uint32": "uint32_val", "uint64": "uint64_val"}  # fmt: skip
    made = tensor_pb2.TensorProto(dtype=CODES[values.dtype.name])
    for size in values.shape:
        made.tensor_shape.dim.add(size=size)
    flat = values.reshape(-1)[:kept]
    bits = flat.view(np.uint16) if values.dtype == np.float16 else flat
    getattr(made, fields.get(values.dtype.name, "int_val")).extend(bits.tolist())
    return bytes(made.SerializeToString())


def in_content(values: np.ndarray) -> bytes:
    from tensorflow.core.framework import tensor_pb2

    made = tensor_pb2.TensorProto(dtype=CODES[values.dtype.name], tensor_content=values.tobytes())
    for size in values.shape:
        made.tensor_shape.dim.add(size=size)
    return bytes(made.SerializeToString())


@pytest.mark.parametrize("case", ARRAYS)
def test_answers_are_read_in_every_form(case: str) -> None:
    """A tensor is the same array whether its values come in their field or as raw content."""
    values = ARRAYS[case]
    forms = [in_fields(values), *([] if values.dtype == object else [in_content(values)])]
    for form in forms:
        read = array(pb.TensorProto.FromString(form))
        assert (read.dtype, read.shape) == (values.dtype, values.shape)
        np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize(("kept", "filled"), [(1, [7, 7, 7, 7]), (2, [7, 5, 5, 5]), (0, [0, 0, 0, 0])])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_])
def test_a_single_value_stands_for_a_filled_tensor(kept: int, filled: list[int], dtype: type) -> None:
    """The last value that came stands for the rest; none at all are zeros."""
    values = np.array([[7, 5], [5, 5]]).astype(dtype)
    read = array(pb.TensorProto.FromString(in_fields(values, kept)))
    np.testing.assert_array_equal(read, np.array(filled).astype(dtype).reshape(2, 2))


def test_bfloat16_is_read_as_float32() -> None:
    """What numpy has no type for comes as the next wider one."""
    import tensorflow as tf

    made = tf.make_tensor_proto(tf.constant([1.5, -3.0], tf.bfloat16))
    np.testing.assert_array_equal(array(pb.TensorProto.FromString(made.SerializeToString())), np.float32([1.5, -3]))


def test_what_cannot_be_read_is_refused() -> None:
    """A type that raybench does not know is one sentence; so is a size that does not fit."""
    with pytest.raises(UnsupportedReplyError, match="TensorFlow's type 11"):
        array(pb.TensorProto(dtype=11))
    reply = Reply(status="OK", body=b"\xff")
    with pytest.raises(Exception, match=r"[Pp]ars"):
        connected("127.0.0.1:1").decode(reply)

"""The double of tests/support/tfs_double answers what a real TensorFlow Serving 2.18.1 was seen to answer.

The refusals of Predict are in test_tfserving_client, which reads them by our client.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tfs_double import config_files, flags


@pytest.fixture
def channel(tfs_double: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(tfs_double) as channel:
        yield channel


def refusal(call: Any, request: Any) -> tuple[str, str]:
    """Status and sentence."""
    with pytest.raises(grpc.RpcError) as error:
        call(request, timeout=30)
    return error.value.code().name, error.value.details()


def test_versions_come_highest_first(channel: grpc.Channel) -> None:
    """GetModelStatus lists the highest version first, each with a status, and names what it does not know."""
    from tensorflow_serving.apis import get_model_status_pb2, model_service_pb2_grpc

    ask = model_service_pb2_grpc.ModelServiceStub(channel).GetModelStatus
    request = get_model_status_pb2.GetModelStatusRequest
    found = ask(request(model_spec={"name": "scale"}), timeout=30).model_version_status
    assert [(each.version, each.state, each.HasField("status")) for each in found] == [(3, 30, True), (1, 30, True)]
    assert refusal(ask, request()) == ("INVALID_ARGUMENT", "Missing ModelSpec")
    unknown = request(model_spec={"name": "scale", "version": {"value": 9}})
    assert refusal(ask, unknown) == ("NOT_FOUND", "Could not find version 9 of model scale")


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ((), "GetModelMetadataRequest must specify at least one metadata_field"),
        (("nope",), "Metadata field nope is not supported"),
    ],
)
def test_metadata_is_asked_for_by_its_field(fields: tuple[str, ...], sentence: str, channel: grpc.Channel) -> None:
    """GetModelMetadata refuses a request without a field, and one for another field than signature_def."""
    from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

    ask = prediction_service_pb2_grpc.PredictionServiceStub(channel).GetModelMetadata
    request = get_model_metadata_pb2.GetModelMetadataRequest(model_spec={"name": "scale"}, metadata_field=fields)
    assert refusal(ask, request) == ("INVALID_ARGUMENT", sentence)


def test_a_signature_of_predictions_does_not_classify(channel: grpc.Channel) -> None:
    """Classify is there, and refuses a signature that is not one of classification."""
    from tensorflow_serving.apis import classification_pb2, prediction_service_pb2_grpc

    ask = prediction_service_pb2_grpc.PredictionServiceStub(channel).Classify
    request = classification_pb2.ClassificationRequest(model_spec={"name": "scale", "signature_name": "times"})
    status, sentence = refusal(ask, request)
    assert status == "INVALID_ARGUMENT"
    assert sentence.endswith("to be tensorflow/serving/classify. Was: tensorflow/serving/predict")


def test_every_type_of_output_is_answered(channel: grpc.Channel) -> None:
    """Outputs of every type come in the field of that type, as TensorFlow reads them."""
    import tensorflow as tf
    from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

    request = predict_pb2.PredictRequest(model_spec={"name": "kinds", "signature_name": "each"})
    request.inputs["x"].CopyFrom(tf.make_tensor_proto(np.array([0, 1, 2], np.int32)))
    outputs = prediction_service_pb2_grpc.PredictionServiceStub(channel).Predict(request, timeout=30).outputs
    found = {name: tf.make_ndarray(proto).tolist() for name, proto in outputs.items()}
    assert found.pop("bool") == [False, True, True]
    assert found.pop("string") == [b"0", b"1", b"2"]
    assert len(found) == 7
    assert all(values == [0, 1, 2] for values in found.values()), found
    assert all(not proto.tensor_content for proto in outputs.values())


MODEL = "config {{ name: '{}' base_path: '{}' model_platform: '{}' }}"
ONE = MODEL.format("a", "/models/a", "tensorflow")


@pytest.mark.parametrize(
    ("before", "after", "sentence"),
    [
        (None, ONE + ONE, "Illegal to list model a multiple times in config list"),
        (None, MODEL.format("a", "models/a", "tensorflow"), "Expected model a to have an absolute path or URI; got"),
        (None, MODEL.format("a", "/models/a", "torch"), "Model a requests unsupported platform torch"),
        (None, MODEL.format("a", "/models/a", ""), "Illegal setting neither ModelServerConfig::model_type"),
        (ONE, MODEL.format("a", "/models/a", "torch"), "Illegal to change a model's platform. For model a platform"),
    ],
)
def test_models_that_cannot_be_listed_are_refused(before: str | None, after: str, sentence: str) -> None:
    """A list of models that TF Serving would not take is INVALID_ARGUMENT with its own sentence."""
    from tensorflow_serving.config import model_server_config_pb2

    def parsed(text: str) -> Any:
        return text_format.Parse(f"model_config_list {{ {text} }}", model_server_config_pb2.ModelServerConfig())

    with pytest.raises(config_files.Refusal) as error:
        config_files.check_models(parsed(after), parsed(before) if before else None)
    assert str(error.value).startswith(f"INVALID_ARGUMENT: {sentence}")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (None, "NOT_FOUND: {}; No such file or directory"),
        ("", "INVALID_ARGUMENT: {}; Invalid argument"),
        ("model_config_list {", "INVALID_ARGUMENT: Invalid protobuf file: '{}'"),
    ],
)
def test_a_config_file_that_cannot_be_read_is_refused(text: str | None, sentence: str, tmp_path: Path) -> None:
    """A models.conf that is missing, empty or broken is refused as the real one refuses it."""
    path = tmp_path / "models.conf"
    if text is not None:
        path.write_text(text)
    with pytest.raises(config_files.Refusal) as error:
        config_files.model_config(path)
    assert str(error.value) == sentence.format(path)


def test_a_batching_file_needs_batching(tmp_path: Path) -> None:
    """A file of batching parameters without batching is refused, and one that says nothing is too."""
    path = tmp_path / "batching.config"
    path.write_text("max_batch_size { value: 8 }  # images\nbatch_timeout_micros { value: 1000 }\n")
    given = {"batching_parameters_file": str(path)}
    with pytest.raises(config_files.Refusal, match=r"^INVALID_ARGUMENT: .* is set without setting"):
        config_files.check_batching(given)
    config_files.check_batching({**given, "enable_batching": "true"})
    path.write_text("most { value: 8 }")
    with pytest.raises(config_files.Refusal, match="Invalid protobuf file"):
        config_files.check_batching({**given, "enable_batching": "true"})


def test_an_unknown_flag_is_printed_and_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    """TF Serving prints a flag that it does not know, with its usage, and starts without it."""
    assert flags.read(["--port=1", "--nope=2"], flags.KNOWN) == {"port": "1"}
    printed = capsys.readouterr().out
    assert printed.startswith("unknown argument: --nope=2")
    assert "--grpc_max_threads=" in printed

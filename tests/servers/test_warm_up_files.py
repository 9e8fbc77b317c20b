"""Warm-up requests in a SavedModel's folder: for TensorFlow Serving, read here by TensorFlow, by its official messages
and by the double; and for Triton, read by a real one."""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from per_model_models import write_per_model_models
from real_parts import add_stand_in

from raybench.clients.tfserving_client import TfServingClient
from raybench.clients.triton_client import TritonClient
from raybench.config import PER_MODEL, ConfigError, load
from raybench.inputs.input_sources import inputs_of
from raybench.models.saved_models import ModelConfig, format_models_conf, read_signatures
from raybench.servers import ServerError
from raybench.servers.tfserving_server import TfServingOptions, running_tfserving
from raybench.servers.tfserving_warm_up import WARM_UP_FILE, warm_up_records
from raybench.servers.triton_model_warmup import MODEL_WARMUP, model_warmup, write_model_warmup
from raybench.servers.triton_server import TritonOptions, running_triton
from raybench.servers.warm_up import WarmUp, warm_up_calls

X, Z = np.array([[1, 2], [3, 4]], np.float32), np.array([10, 20], np.float32)
B, TEXT = np.array([[1.5, -2], [0.25, 300]], np.float32), np.array([b"a\0b", b""], object)
MIXED = {"x": X, "z": Z, "b": B, "text": TEXT}
READ = """
import json, sys
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

for record in tf.data.TFRecordDataset(sys.argv[1]).as_numpy_iterator():
    log = prediction_log_pb2.PredictionLog.FromString(record)
    assert log.WhichOneof("log_type") == "predict_log"
    request = log.predict_log.request
    found = {
        name: (tf.as_dtype(tensor.dtype).name, str(tf.make_ndarray(tensor).tolist()))
        for name, tensor in request.inputs.items()
    }
    print(json.dumps([request.model_spec.name, request.model_spec.signature_name, found]))
"""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version of a model with inputs of floats, bfloat16 and strings."""
    return write_per_model_models(tmp_path_factory.mktemp("mixed")).parent / "mixed" / "1"


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    """A model that counts its calls, in a folder of its own."""
    export_counting(tmp_path / "counting" / "1")
    conf = format_models_conf((ModelConfig("counting", tmp_path / "counting"),))
    (tmp_path / "models.conf").write_text(conf)
    return tmp_path


def export_counting(folder: Path) -> None:
    import tensorflow as tf

    class Counting(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.count = tf.Variable(0.0)

        @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
        def call(self, x: Any) -> dict[str, Any]:
            return {"count": self.count.assign_add(1.0) + tf.zeros_like(x)}

    module = Counting()
    tf.saved_model.save(module, str(folder), signatures={"serving_default": module.call})


def read_by_tensorflow(file: Path) -> Iterator[Any]:
    """In a process of its own; its reader refuses a wrong checksum."""
    done = subprocess.run([sys.executable, "-c", READ, str(file)], check=True, capture_output=True, text=True)
    return map(json.loads, done.stdout.splitlines())


def write_warm_up_file(version: Path, calls: Sequence[WarmUp]) -> None:
    from raybench.models.export import write_records  # TensorFlow comes along

    write_records(version / WARM_UP_FILE, warm_up_records(version, calls))


def test_tensorflow_reads_what_was_written(mixed: Path) -> None:
    """Each record is a PredictionLog with a PredictRequest of the model, the signature and its values; a file is
    written in place of the one that was there."""
    calls = [WarmUp("mixed", "serving_default", MIXED), WarmUp("mixed", "thrice", MIXED)]
    write_warm_up_file(mixed, calls[:1])
    write_warm_up_file(mixed, calls)
    values = {
        "x": ["float32", str(X.tolist())],
        "z": ["float32", str(Z.tolist())],
        "b": ["bfloat16", str(B.tolist())],
        "text": ["string", str(TEXT.tolist())],
    }
    assert list(read_by_tensorflow(mixed / WARM_UP_FILE)) == [
        ["mixed", "serving_default", values],
        ["mixed", "thrice", values],
    ]
    assert [path.name for path in (mixed / "assets.extra").iterdir()] == [WARM_UP_FILE.name]


def test_more_than_it_takes_is_refused(mixed: Path) -> None:
    """TensorFlow Serving does not load a model with more than 1000 records: they are not written."""
    call = WarmUp("mixed", "serving_default", MIXED)
    with pytest.raises(ConfigError, match=r"makes 1001 requests of model mixed; TF Serving takes 1000 at most"):
        warm_up_records(mixed, [call] * 1001)


def test_a_call_of_each_signature_and_batch_size(mixed: Path) -> None:
    """One of each signature in each batch size, each once, and one alone where the signature has its own."""
    source = inputs_of(load(None, {}))
    calls = list(warm_up_calls("mixed", mixed, (1, 8, 1), source, seed=0))
    assert [(call.model, call.signature, call.items) for call in calls] == [
        ("mixed", signature, items) for signature in ("serving_default", "thrice") for items in (1, 8)
    ]
    whole = mixed.parents[1] / "whole" / "1"
    (only,) = warm_up_calls("whole", whole, (1, 8), source, seed=0)
    assert {name: np.shape(values) for name, values in only.batch.items()} == {"signature": (3,), "scale": ()}


@pytest.mark.slow
def test_tensorflow_serving_makes_them_when_it_loads(counting: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The double, which reads the file as TensorFlow Serving does, has made the requests before it answers the first;
    one that fails keeps it from loading the model, as there."""
    monkeypatch.setenv("PATH", add_stand_in(counting)["PATH"])
    version = counting / "counting" / "1"
    write_warm_up_file(version, [WarmUp("counting", "serving_default", {"x": X[:n]}) for n in (1, 2)])
    options = TfServingOptions(models_conf=counting / "models.conf")
    with running_tfserving(options) as server:
        assert first_count(TfServingClient(server.grpc_url, model="counting", signature="serving_default")) == 3
        assert server.start.ready_s > 0
    write_warm_up_file(version, [WarmUp("counting", "serving_default", {"x": TEXT})])
    with pytest.raises(ServerError, match="did not become available"), running_tfserving(options):
        pass


def test_exported_models_have_them(exported: Path) -> None:
    """`raybench export --warmup 1,2` leaves requests of each signature: once where it takes one image alone."""
    found = list(read_by_tensorflow(exported / "mobilenet-no-opt" / "1" / WARM_UP_FILE))
    assert [(model, signature) for model, signature, _ in found] == [
        ("mobilenet-no-opt", signature)
        for signature in ("predict_images", "predict_images", "predict_jpeg", "predict_jpegs", "predict_jpegs")
    ]
    assert "dims: 224" in (exported / "mobilenet-no-opt" / "1" / MODEL_WARMUP).read_text()


def test_tritons_blocks(mixed: Path) -> None:
    """A block has the shapes of one item, the batch size, and zeros; calls with strings have none."""
    calls = [WarmUp("m", "serving_default", {"x": X, "z": Z}), WarmUp("m", "serving_default", MIXED)]
    text = model_warmup(calls, read_signatures(mixed))
    assert " ".join(text.split()) == (
        'model_warmup { name: "serving_default, batch 2" batch_size: 2 '
        'inputs { key: "x" value { data_type: TYPE_FP32 dims: 2 zero_data: true } } '
        'inputs { key: "z" value { data_type: TYPE_FP32 dims: 1 zero_data: true } } count: 1 }'
    )


@pytest.mark.slow
def test_triton_makes_them_when_it_loads(counting: Path) -> None:
    """A real Triton, given the text in config.pbtxt, has made the calls before it answers the first request; so has
    the backend that of its own parameter, and says how long it took."""
    version = counting / "counting" / "1"
    file = write_model_warmup(version, [WarmUp("counting", "serving_default", {"x": X[:n]}) for n in (1, 2)])
    assert file
    # Without the rule the proof of merged calls would call the model too; with `never` two items would be two calls.
    always = 'parameters { key: "merge" value { string_value: "counting always" } }\n'
    (version.parent / "config.pbtxt").write_text(always + file.read_text())
    own = (WarmUp("counting", "serving_default", {"x": X}),)
    options = TritonOptions(models_conf=counting / "models.conf", layout=PER_MODEL, warm_up=own)
    with running_triton(options) as server:
        assert server.start.warm_up_s
        assert 0 < server.start.warm_up_s < server.start.ready_s
        client = TritonClient(server.grpc_url, model="counting", signature="serving_default", is_direct=True)
        assert first_count(client) == 4


def first_count(client: TfServingClient | TritonClient) -> float:
    reply = client.send(client.encode({"x": X}), 60)
    assert reply.is_ok, reply.error
    found = client.decode(reply)["count"]
    client.close()
    return float(found[0, 0])

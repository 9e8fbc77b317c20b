"""Layout per-model in a real Triton: every SavedModel is a Triton model of its own, for any Triton client."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from per_model_models import FACTORS, export_whole, write_per_model_models
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from raybench.clients import connect_echo
from raybench.clients.base import ClientError
from raybench.clients.triton_client import TritonClient
from raybench.config import PER_MODEL
from raybench.models.saved_models import Signature, TensorSpec, format_models_conf, read_models_conf
from raybench.servers import ServerError
from raybench.servers.triton_server import RunningTriton, TritonOptions, running_triton

pytestmark = pytest.mark.slow
TEXTS = np.array([b"a\0b", b"", "模型".encode()], object)
X, Z = np.array([[1, 2], [3, 4], [5, 6]], np.float32), np.array([10, 20, 30], np.float32)
B = np.array([[1.5, -2], [0.25, 300], [0, 1]], np.float32)  # bfloat16 holds them


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningTriton]:
    models_conf = write_per_model_models(tmp_path_factory.mktemp("per-model"))
    with running_triton(TritonOptions(models_conf=models_conf, layout=PER_MODEL)) as running:
        yield running


def infer(url: str, model: str, inputs: dict[str, np.ndarray], **more: Any) -> Any:
    """What Triton's own client gets: arrays by name, or the sentence of a refusal."""
    tensors = [
        triton_grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)
        for name, array in inputs.items()
    ]
    with triton_grpc.InferenceServerClient(url) as client:
        try:
            answer = client.infer(model, tensors, client_timeout=60, **more)
        except InferenceServerException as error:
            return str(error.message())
    return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}


def own(triton: RunningTriton, model: str, signature: str, spec: Signature | None = None) -> TritonClient:
    return TritonClient(triton.grpc_url, model=model, signature=signature, spec=spec, is_direct=True)


def answer(client: TritonClient, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    reply = client.send(client.encode(batch), timeout_s=60)
    assert reply.is_ok, reply.error
    return client.decode(reply)


def test_a_model_is_one_of_tritons_own(triton: RunningTriton) -> None:
    """Tensors have the SavedModel's names and types and Triton's batch axis; without one in the signature, none."""
    with triton_grpc.InferenceServerClient(triton.grpc_url) as client:
        mixed, whole = (client.get_model_metadata(name) for name in ("mixed", "whole"))
        config = client.get_model_config("mixed").config
    assert {each.name: (each.datatype, list(each.shape)) for each in mixed.inputs} == {
        "x": ("FP32", [-1, 2]),
        "z": ("FP32", [-1, 1]),
        "text": ("BYTES", [-1, 1]),
        "b": ("BF16", [-1, 2]),
    }
    assert config.max_batch_size > 0
    assert config.HasField("dynamic_batching")
    assert {each.name: list(each.shape) for each in whole.inputs} == {"signature": [3], "scale": [1]}
    assert sorted(whole.versions) == ["1", "2"]


@pytest.mark.parametrize(("version", "factor"), [("", FACTORS[2]), *((str(v), f) for v, f in FACTORS.items())])
def test_tritons_own_client_needs_nothing_of_ours(triton: RunningTriton, version: str, factor: float) -> None:
    """numpy in and numpy out, versions by Triton's means, and names that the other layout keeps for itself."""
    inputs = {"signature": np.arange(3, dtype=np.int32), "scale": np.array([2], np.float32)}
    found = infer(triton.grpc_url, "whole", inputs, model_version=version)
    assert found["product"].tolist() == [0, 2 * factor, 4 * factor]
    assert found["about"].tolist() == [6 * factor]
    assert found["label"].tolist() == [b"3"]


def test_every_kind_of_tensor_goes_in_and_out(triton: RunningTriton) -> None:
    """Floats, bfloat16 and strings with NULs and empties, in the SavedModel's own shapes, which Triton reshapes."""
    with closing(own(triton, "mixed", "serving_default")) as client:
        described = client.describe()
        assert described.signature.inputs["z"] == TensorSpec("FP32", (-1,))
        assert described.signature.most_items == 64
        assert set(described.signatures) == {"serving_default", "thrice"}
    with closing(own(triton, "mixed", "serving_default", described.signature)) as client:
        found = answer(client, {"x": X, "z": Z, "text": TEXTS, "b": B})
    assert found["y"].tolist() == (2 * X + Z[:, np.newaxis]).tolist()
    assert found["sum"].tolist() == (X.sum(-1) + Z).tolist()
    assert found["echoed"].tolist() == [2 * text for text in TEXTS]
    assert found["doubled"].tolist() == (2 * B).tolist()


def test_another_signature_is_called_by_a_parameter(triton: RunningTriton) -> None:
    """A signature whose tensors are declared answers where a request names it; the default needs no name."""
    with closing(own(triton, "mixed", "thrice")) as client:
        spec = client.describe().signature
    with closing(own(triton, "mixed", "thrice", spec)) as client:
        found = answer(client, {"x": X, "z": Z, "text": TEXTS, "b": B})
    assert found["y"].tolist() == (3 * X + Z[:, np.newaxis]).tolist()


def test_requests_meet_and_no_answer_depends_on_a_stranger(triton: RunningTriton) -> None:
    """Triton batches what arrives together; a model whose rows depend on each other answers each request alone."""
    rows = [np.array([[n % 4], [1]], np.int32) for n in range(40)]
    alone = [infer(triton.grpc_url, "ranked", {"x": each})["share"].tolist() for each in rows[:4]]
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda each: infer(triton.grpc_url, "ranked", {"x": each}), rows))
    assert [each["share"].tolist() for each in together] == [alone[n % 4] for n in range(40)]
    assert "differs" in triton.unmerged()["ranked/serving_default"]
    assert "mixed/serving_default" not in triton.unmerged()


def test_a_request_fails_alone(triton: RunningTriton) -> None:
    """A fault is refused with the model and the culprit, by Triton or by the backend."""
    inputs = {"signature": np.arange(3, dtype=np.int32), "scale": np.array([2], np.float32)}
    assert "unexpected shape" in infer(triton.grpc_url, "whole", {**inputs, "signature": np.arange(4, dtype=np.int32)})
    refused = infer(triton.grpc_url, "whole", inputs, parameters={"signature": "nope"})
    assert "'whole' has no signature 'nope'; it has only" in refused


def test_what_cannot_be_served_costs_nobody_else(triton: RunningTriton) -> None:
    """A broken SavedModel is named with its reason, and a client of it learns that reason."""
    assert set(triton.unservable()) == {"corrupt"}
    assert "cannot be read as a SavedModel" in triton.unservable()["corrupt"]
    with (
        closing(own(triton, "corrupt", "")) as client,
        pytest.raises(ClientError, match="cannot be read as a SavedModel"),
    ):
        client.describe()


def test_the_backend_says_how_it_executes(triton: RunningTriton) -> None:
    """What tells one server from another is known in this layout too, though the model has no output for it."""
    with closing(own(triton, "whole", "only")) as client:
        assert client.about()["merges"] is False


@pytest.mark.parametrize(
    ("model", "batch"),
    [
        ("mixed", {"x": X, "z": Z, "text": TEXTS, "b": B}),
        ("whole", {"signature": np.arange(3, dtype=np.int32), "scale": np.float32(2)}),
        ("ranked", {"x": np.arange(3, dtype=np.int32)}),
    ],
)
def test_every_signature_has_a_ceiling(triton: RunningTriton, model: str, batch: dict[str, np.ndarray]) -> None:
    """The same bytes are taken by a model that does nothing, whatever they hold: so a client's limit can be seen."""
    with closing(own(triton, model, "")) as client:
        spec = client.describe().signature
    with closing(own(triton, model, "", spec)) as client, closing(connect_echo(triton.grpc_url)) as echo:
        encoded = client.encode({name: np.asarray(each) for name, each in batch.items()})
        send, body = echo.readdressed(encoded)
        reply = send(body, 60)
        assert reply.is_ok, reply.error


@pytest.mark.slow
def test_a_reload_changes_each_model_alone(triton: RunningTriton) -> None:
    """A new version serves, what models.conf no longer has does not, and a broken export leaves the old one serving."""
    conf = triton.options.models_conf
    models = {model.name: model for model in read_models_conf(conf)}
    export_whole(conf.parent / "whole" / "3", 7.0)
    (conf.parent / "mixed" / "1" / "saved_model.pb").write_bytes(b"no message")
    conf.write_text(format_models_conf(tuple(models[name] for name in ("mixed", "whole"))), encoding="utf-8")
    with pytest.raises(
        ServerError, match=r"^model mixed: .*cannot be read as a SavedModel.*; the old models keep serving"
    ):
        triton.reload()
    inputs = {"signature": np.arange(3, dtype=np.int32), "scale": np.array([1], np.float32)}
    assert infer(triton.grpc_url, "whole", inputs)["product"].tolist() == [0, 7, 14]
    assert infer(triton.grpc_url, "whole", inputs, model_version="1")["product"].tolist() == [0, 2, 4]
    with closing(own(triton, "mixed", "serving_default")) as client:
        spec = client.describe().signature
    with closing(own(triton, "mixed", "serving_default", spec)) as client:
        assert answer(client, {"x": X, "z": Z, "text": TEXTS, "b": B})["sum"].tolist() == (X.sum(-1) + Z).tolist()
    assert "ranked" in infer(triton.grpc_url, "ranked", {"x": np.array([[1]], np.int32)})
    assert "ranked/serving_default" not in triton.unmerged()

"""What TF Serving refuses without saying what to do."""

import pytest

from raybench.clients import tfserving_client
from raybench.clients.base import Reply
from raybench.clients.tfserving_client import TfServingClient

LOST = (
    "Could not find variable sequential_1/dense/kernel. This could mean that the variable has been deleted. In TF1, it "
    "can also mean the variable is uninitialized."
)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        ("FAILED_PRECONDITION", LOST, ["variable sequential_1/dense/kernel of", "model.export(FOLDER)"]),
        ("RESOURCE_EXHAUSTED", "Server Threadpool Exhausted", ["--grpc_max_threads"]),
        ("FAILED_PRECONDITION", 'Serving signature key "nope" not found.', ['Serving signature key "nope" not found.']),
    ],
)
def test_a_refusal_says_what_to_do(status: str, error: str, words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A Keras 3 model that tf.saved_model.save wrote loads in TF Serving and fails each call: one sentence says why."""
    monkeypatch.setattr(tfserving_client.Channel, "method", lambda *_: lambda *_: Reply(status=status, error=error))
    client = TfServingClient("127.0.0.1:1", model="m", signature="serving_default")
    found = client.send(b"", 1.0)
    client.close()
    assert found.status == status
    assert all(word in (found.error or "") for word in words), found.error

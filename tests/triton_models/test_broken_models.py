"""A model that cannot be served costs nobody but itself, and is named with its reason."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from broken_models import REASONS
from real_parts import TritonUnderTest

from raybench.clients.base import ClientError
from raybench.clients.triton_client import TritonClient
from raybench.servers import ServerError
from raybench.servers.triton_server import RunningTriton, TritonOptions, running_triton
from raybench.servers.warm_up import WarmUp

X = np.array([[1, 2], [3, 4]], np.float32)


@pytest.fixture(scope="module")
def running(broken: Path) -> Iterator[RunningTriton]:
    """A real Triton for which most of models.conf is broken, and warm-up calls are right and wrong."""
    wrong = (WarmUp("good", "times", {"x": X.astype(np.int8)}), WarmUp("corrupt", "times", {"x": X}))
    right = WarmUp("good", "boxed", {"images": np.zeros((2, 4, 4, 3), np.uint8), "boxes": np.ones((2, 4), np.float32)})
    with running_triton(TritonOptions(models_conf=broken / "models.conf", warm_up=(*wrong, right))) as triton:
        yield triton


@pytest.fixture(scope="module")
def triton(running: RunningTriton) -> TritonUnderTest:
    return TritonUnderTest(running.grpc_url, running.options.models_conf.parent, running.process)


def test_each_that_is_not_served_is_named(running: RunningTriton) -> None:
    """When the server is ready it says of each model and signature that it does not serve why, and of no other."""
    found = running.unservable()
    assert set(found) == set(REASONS)
    assert {name: found[name] for name in REASONS if REASONS[name] not in found[name]} == {}


@pytest.mark.parametrize(("model", "factor"), [("good", 2.0), ("slots", 2.0)])
def test_the_others_are_served(triton: TritonUnderTest, model: str, factor: float) -> None:
    """A good model answers beside broken ones, and one that only a session loads is as good as any."""
    assert (triton.call(model, "times", x=X)["y"] == factor * X).all()


def test_a_model_serves_what_can_be_declared(triton: TritonUnderTest) -> None:
    """A signature that Triton cannot hold costs the other signatures of its model nothing."""
    wave = np.arange(128, dtype=np.float32).reshape(2, 64)
    assert triton.call("audio", "loudness", wave=wave)["loudness"].tolist() == [63.0, 127.0]


@pytest.mark.parametrize("name", REASONS)
def test_a_client_learns_the_reason_before_it_sends(running: RunningTriton, name: str) -> None:
    """A run's trial of a broken model fails with that model's own sentence."""
    model, _, signature = name.partition("/")
    client = TritonClient(running.grpc_url, model=model, signature=signature or "times")
    with pytest.raises(ClientError) as raised:
        client.describe()
    client.close()
    assert model in str(raised.value)
    assert REASONS[name] in str(raised.value)


def test_bfloat16_goes_in_and_out(running: RunningTriton) -> None:
    """bfloat16, which numpy does not know, is multiplied as sent and read as float32."""
    client = TritonClient(running.grpc_url, model="bf16", signature="twice")
    sent = np.array([[1.5, -2.0], [0.25, 300.0]], np.float32)
    raw = (sent.view(np.uint32) >> 16).astype(np.uint16)
    request = client._routed()
    client._add_payload(request, "numbers", "BF16", (1, *sent.shape), raw.tobytes())
    reply = client.send(bytes(request.SerializeToString()), timeout_s=60)
    assert reply.is_ok, reply.error
    assert client.decode(reply)["doubled"].tolist() == (2 * sent).tolist()
    client.close()


@pytest.mark.slow
def test_a_server_of_nothing_but_broken_models_does_not_start(running: RunningTriton) -> None:
    """Where every model is broken the start fails, with the name and the reason of each."""
    options = replace(running.options, models=("corrupt", "unregistered"), warm_up=())
    with (
        pytest.raises(ServerError, match=r"model corrupt: .* model unregistered: .*NobodysOp"),
        running_triton(options),
    ):
        pass

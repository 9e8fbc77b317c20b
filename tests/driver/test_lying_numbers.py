"""Servers with faults: every number of the run agrees with its samples, and what is wrong is said."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from gateway import gateway
from real_parts import Run, TritonUnderTest, crops, raybench
from recompute import contradictions
from tritonclient.grpc import service_pb2

MODEL = "mobilenet-no-opt"
pytestmark = pytest.mark.slow


def measured(url: str, models: Path, cwd: Path, env: dict[str, str], *more: object, model: str = MODEL) -> Run:
    """A run on a Triton by its url, whose numbers are those of its samples whatever became of it."""
    run = raybench(
        "run", "-s", "triton", "--url", f"triton={url}", "-m", model, "--models", models, "--workers", 2, "-b", 2,
        "--warmup-request-count", 4, "--ui", "none", *more, cwd=cwd, env=env,
    )  # fmt: skip
    assert run.folder, run.err + run.out
    assert contradictions(run.folder) == []
    assert run.summary["schema_version"]
    return run


def codes(run: Run) -> set[str]:
    return {doubt["code"] for trial in run.summary["trials"] for doubt in trial["doubts"]}


def scribbled(number: int, answer: bytes) -> bytes:
    """Every third answer is no message."""
    return b"\xff" * 40 if number % 3 == 0 else answer


class Stranger:
    """Every third answer is that to somebody else's images, in the form of the right one."""

    def __init__(self) -> None:
        self._others = list[bytes]()

    def __call__(self, number: int, answer: bytes) -> bytes:
        response = service_pb2.ModelInferResponse.FromString(answer)
        if number % 3 or len(self._others) < 2:
            self._others.append(answer)
            return answer
        assert response.outputs
        return self._others[-2]


@pytest.mark.parametrize("spoil", [scribbled, Stranger()])
def test_wrong_answers_in_one_reply_of_three_are_found(
    spoil: Any, triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """A server that answers one request of three with garbage, or with the answer to other images, is exit 4, though
    all of its requests have status OK."""
    with gateway(triton.url, {}, spoil=spoil) as (_, port):
        run = measured(f"127.0.0.1:{port}", triton.models, tmp_path, ray_environment, "--request-count", 40)
    assert run.code == 4, run.err + run.out
    assert "answers_differ" in codes(run)
    assert run.summary["trials"][0]["requests"]["failed"] == 0


def test_deadlines_below_the_service_time(
    triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """Where most requests are cancelled at their deadline the server counts others than the client: no breakdown."""
    run = measured(
        triton.url, triton.models, tmp_path, ray_environment,
        "--concurrency", 3, "--timeout", 0.15, "--request-count", 60, "--no-verify", model="slow",
    )  # fmt: skip
    (trial,) = run.summary["trials"]
    assert trial["requests"]["failed"] > 0
    if trial["requests"]["succeeded"]:
        assert trial["server_time_ms"] is None
        assert "breakdown_unknown" in codes(run)


@contextmanager
def strange_load(triton: TritonUnderTest) -> Iterator[None]:
    """Somebody else uses the same Triton until the block ends."""
    is_over, pictures = threading.Event(), crops(1)

    def load() -> None:
        while not is_over.is_set():
            triton.call(MODEL, "predict_images", images=pictures)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join(60)


def test_a_stranger_on_the_same_server(
    triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """What the server counts is not this client's alone: no breakdown, no merging, and a doubt with both counts."""
    with strange_load(triton):
        run = measured(triton.url, triton.models, tmp_path, ray_environment, "--request-count", 40)
    (trial,) = run.summary["trials"]
    assert trial["server_time_ms"] is None
    (doubt,) = [each for each in trial["doubts"] if each["code"] == "breakdown_unknown"]
    assert doubt["value"] > doubt["limit"] == 40
    alone = measured(triton.url, triton.models, tmp_path, ray_environment, "--request-count", 40)
    assert alone.summary["trials"][0]["server_time_ms"]["overhead"] >= 0
    assert "breakdown_unknown" not in codes(alone)

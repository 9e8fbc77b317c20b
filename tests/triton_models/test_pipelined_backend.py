"""triton_models/saved_model with a pipeline, in a real Triton: what holds without one, and all are answered."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
from real_parts import TritonUnderTest, crops, eventually, jpegs

from raybench.config.server_settings import ServerSettings
from raybench.servers.triton_server import RunningTriton, TritonOptions, running_triton

DEPTH = 3
SLOW = "slow"


@pytest.fixture(scope="module")
def running(models: Path) -> Iterator[RunningTriton]:
    settings = ServerSettings(pipeline_depth=DEPTH, merge_max=8)
    asked = TritonOptions(models_conf=models / "models.conf", models=("scale", SLOW), settings=settings)
    with running_triton(asked) as triton:
        yield triton


@pytest.fixture(scope="module")
def triton(running: RunningTriton, models: Path) -> TritonUnderTest:
    """A real Triton whose backend has a pipeline."""
    return TritonUnderTest(running.grpc_url, models, running.process)


def test_everyone_gets_their_own_answer(triton: TritonUnderTest) -> None:
    """Requests that are right, cannot be routed, or cannot be split meet in the pipeline: each has its own answer."""

    def ask(number: int) -> bool:
        x = np.full((2 + number % 5, 2), number, np.float32)
        if number % 4 == 1:
            return triton.call("scale", "nope", x=x)[0] == "NOT_FOUND"
        if number % 4 == 2:
            return triton.call("scale", "distinct", x=x)["values"].tolist() == [float(number)]
        return (triton.call("scale", "times", x=x)["y"] == 3 * x).all()

    before = triton.statistics()
    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(ask, range(200)))
    after = triton.statistics()
    assert after.inference_stats.success.count - before.inference_stats.success.count == 200
    assert after.inference_stats.fail.count == before.inference_stats.fail.count


def test_a_fault_in_tensorflow_stays_with_its_request(triton: TritonUnderTest) -> None:
    """A corrupt JPEG in a merged call of the pipeline fails its own request alone."""
    good, bad = jpegs(crops(2)), np.array([b"no jpeg"], object)
    sent = [bad if i % 4 == 0 else good for i in range(16)]
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda each: triton.call(SLOW, "predict_jpegs", jpeg_images=each), sent))
    for each, answer in zip(sent, answers, strict=True):
        assert answer[0] == "INVALID_ARGUMENT" if each is bad else answer["scores"].shape == (2, 1000)


@pytest.mark.slow
def test_a_reload_under_load_leaves_nobody_without_answer(triton: TritonUnderTest, running: RunningTriton) -> None:
    """While the models are loaded anew the old pipeline drains: every request of those who go on asking is answered."""
    x, stop = np.ones((8, 2), np.float32), threading.Event()

    def ask(_: int) -> list[bool]:
        answers = []
        while not stop.is_set():
            answers.append(isinstance(triton.call("scale", "times", x=x), dict))
        return answers

    with ThreadPoolExecutor(4) as pool:
        asking = [pool.submit(ask, number) for number in range(4)]
        try:
            running.reload()
        finally:
            stop.set()
        answered = [each for future in asking for each in future.result()]
    assert len(answered) > 4
    assert all(answered)


@pytest.mark.slow
def test_unloading_answers_what_is_under_way(triton: TritonUnderTest) -> None:
    """Requests that Triton has given to the pipeline are answered though their model is unloaded meanwhile."""
    pictures = crops(24)
    before = triton.statistics().execution_count
    with ThreadPoolExecutor(DEPTH) as pool, triton_grpc.InferenceServerClient(triton.url) as client:
        asked: list[Any] = []
        for number in range(1, DEPTH + 1):  # one after the other, so that they do not meet
            asked.append(pool.submit(triton.call, SLOW, "predict_images", images=pictures))
            assert eventually(lambda n=number: triton.statistics().execution_count - before == n)
        assert not asked[-1].done()
        client.unload_model("saved_model")
        assert all(future.result()["scores"].shape == (24, 1000) for future in asked)
        client.load_model("saved_model")

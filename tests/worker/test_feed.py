"""Streaming: images that are read and encoded while requests are sent; a wait for them is told apart from service."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest
from helpers import DEADLINE_S, MS, fake_task, images, wait_until
from midway import announced, ended, started
from PIL import Image
from real_parts import TritonUnderTest, crops, raybench

from raybench.analysis.window import pacing_error_ns, with_lane_free
from raybench.clients.base import ClientError, Reply
from raybench.inputs import memory_budget
from raybench.inputs.tensors import item_hashes
from raybench.results import samples
from raybench.worker.feed import Request, RequestItems, StreamedFeed, hashed
from raybench.worker.load_worker import Worker
from raybench.worker.task import Task

ENOUGH = 2**30


def batches(count: int, every_s: float = 0.0) -> Iterator[RequestItems]:
    """So many batches of 2 images, over and over, from a source that takes its time for each."""
    for payload in cycle(range(count)):
        time.sleep(every_s)
        yield hashed(payload, {"images": images(2 * count)[2 * payload : 2 * payload + 2]})


def streaming(task: Task, source: Iterator[RequestItems]) -> Worker:
    worker = Worker(replace(task, stream_bytes=ENOUGH if task.stream_bytes == 0 else task.stream_bytes))
    worker.open()
    worker.stream(source)
    return worker


def ran(task: Task, source: Iterator[RequestItems]) -> pa.Table:
    worker = streaming(task, source)
    try:
        return samples.merge(list(worker.run(time.time() + 0.1)))
    finally:
        worker.close()


def request(payload: int) -> Request:
    return Request(payload, lambda body, timeout_s: Reply("OK"), b"12345", size=5)  # noqa: ARG005


def never() -> bool:
    return False


def test_batches_are_sent_in_turn_and_again() -> None:
    """A stream goes over its batches again and again until the trial ends, each payload under its own number."""
    rows = ran(fake_task(requests=8), batches(3))
    assert [(seq, seq % 3) for seq in range(8)] == list(
        zip(*rows.select(["seq", "payload"]).to_pydict().values(), strict=True)
    )


def test_images_of_a_stream_are_known_once() -> None:
    """What was in a payload is noted when it comes for the first time: distinct images count, epochs do not."""
    worker = streaming(fake_task(requests=8), batches(3))
    list(worker.run(time.time()))
    made = worker.payloads()
    assert made.item_hashes == item_hashes({"images": images(6)})
    assert (made.requests, made.request_bytes, made.held_mib) == (3, 24, None)
    worker.close()


def test_what_is_held_stays_within_the_budget() -> None:
    """Requests that wait, and those without a reply, fill the budget; one more is made when one was given back."""
    made: list[int] = []

    def source() -> Iterator[Request]:
        for number in range(100):
            made.append(number)
            yield request(number)

    stream = StreamedFeed(source(), budget_bytes=17)  # three of 5 bytes
    stream.wait_for(3)
    taken = [stream.take(seq, never) for seq in range(3)]
    assert [each.payload for each in taken if each] == [0, 1, 2]
    assert stream._ready.empty()
    assert len(made) <= 4  # the fourth waits for its place
    stream.give_back(request(0))
    fourth = stream.take(3, never)
    assert fourth
    assert fourth.payload == 3
    assert stream._ready.empty()
    stream.close()


def test_the_least_budget_keeps_every_lane_sending() -> None:
    """The smallest budget that is accepted holds a request for every lane and one more, beside what is being read."""
    for lanes in (1, 4, 64):
        assert memory_budget.encoded_bytes(memory_budget.least_bytes(lanes, 1000), 1000) == (lanes + 1) * 1000


def test_a_starved_lane_is_feed_wait_and_not_service() -> None:
    """The wait for images from a slow source lies before the send: service is what the server took, as scripted."""
    rows = ran(fake_task("service_ms=20", requests=8), batches(8, every_s=0.25))
    waited_ms, service_ms = samples.feed_wait_ns(rows)[2:] / MS, samples.service_ns(rows) / MS
    assert np.median(waited_ms) > 125  # of 250 a batch, 20 pass while the request before is in flight
    assert 20 <= np.median(service_ms) < 125
    assert samples.response_ns(rows) is None


def test_in_an_open_loop_the_wait_counts_as_response() -> None:
    """Who waits since the client had no images has waited: in response and lag, neither in service nor as pacing."""
    load = {"request_rate": (100.0,), "request_distribution": "constant", "max_in_flight": 4, "request_count": 12}
    rows = ran(fake_task("service_ms=20", requests=None, **load), batches(12, every_s=0.25))
    rows = with_lane_free(rows).sort_by("seq")
    waited_ns, late_ns = samples.feed_wait_ns(rows), samples.lag_ns(rows)
    assert np.median(waited_ns) > 125 * MS
    assert (late_ns >= waited_ns).all()
    assert (samples.response_ns(rows) == late_ns + samples.service_ns(rows)).all()
    assert np.median(samples.service_ns(rows)) < 125 * MS
    assert np.median(pacing_error_ns(rows)) < 125 * MS


@pytest.mark.parametrize("how", ["duration", "halt"])
def test_a_wait_for_images_ends_with_the_trial(how: str) -> None:
    """Where nothing more is read, a trial with a duration ends in time, and one that is halted at once."""
    stuck = threading.Event()

    def source() -> Iterator[RequestItems]:
        yield next(batches(1))
        stuck.wait(DEADLINE_S)

    worker = streaming(fake_task(requests=None, duration=0.5 if how == "duration" else 2.0 * DEADLINE_S), source())
    chunks: list[pa.Table] = []
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(lambda: chunks.extend(worker.run(time.time())))
        wait_until(lambda: sum(map(len, chunks)) == 1)
        if how == "halt":
            worker.halt()
        running.result(timeout=DEADLINE_S)
    assert sum(map(len, chunks)) == 1
    stuck.set()


def test_what_comes_too_late_is_not_sent() -> None:
    """A request that was waited for until the trial was over does not leave any more, and its place is free again."""
    stream, over = StreamedFeed(map(request, range(2)), budget_bytes=5), iter([False, True, True])
    assert stream.take(0, lambda: next(over)) is None
    late = stream.take(1, never)
    assert late
    assert late.payload == 1
    stream.close()


def test_a_source_that_fails_is_a_sentence() -> None:
    """Where images cannot be read any more the worker says why; what was read before is sent."""

    def source() -> Iterator[RequestItems]:
        yield from (batch for batch, _ in zip(batches(3), range(3), strict=False))
        raise ClientError("No such file or directory: 'cat.jpg'")

    worker = streaming(fake_task(requests=10), source())
    chunks: list[pa.Table] = []
    with pytest.raises(ClientError, match=r"^inputs cannot be read: No such file .*'cat\.jpg'$"):
        chunks.extend(worker.run(time.time()))


def test_a_source_without_an_image_is_known_before_the_start() -> None:
    """A source that gives nothing at all is told while workers get ready, not as a trial without requests."""
    with pytest.raises(ClientError, match="inputs cannot be read: gone"):
        streaming(fake_task(), (_ for _ in [1] if _failing()))


def _failing() -> bool:
    raise OSError("gone")


def test_the_last_of_a_stream_end_it() -> None:
    """For calibration a stream gives some of its requests, and reads no more beside it."""
    stream = StreamedFeed(map(request, range(100)), budget_bytes=25)
    stream.wait_for(5)
    assert [each.payload for each in stream.last(most_bytes=15)] == [0, 1, 2]
    for number in range(3):
        stream.give_back(request(number))
    time.sleep(0.2)
    assert [each.payload for each in stream.last(most_bytes=1)] == [3]
    assert [each.payload for each in stream.last(most_bytes=100)] == [4]


def peak_mib(process: psutil.Process, *, until: Callable[[], bool]) -> float:
    """The largest RSS of a process that is seen until then, or its end."""
    seen = [0.0]
    with suppress(psutil.NoSuchProcess):
        while not until():
            seen.append(process.memory_info().rss / 2**20)
            time.sleep(0.1)
    return max(seen)


def folder_of(photos: np.ndarray, folder: Path) -> Path:
    folder.mkdir()
    for number, pixels in enumerate(photos):
        Image.fromarray(pixels).save(folder / f"{number:03d}.jpg", quality=90)
    return folder


@pytest.mark.slow
def test_a_folder_larger_than_the_budget(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Of a folder that is several times the budget all images are sent, and the worker's memory stays where it was."""
    folder_of(crops(200, size_px=232), tmp_path / "pictures")  # 29 MiB of pixels when cropped
    load = ("--workers", 1, "-s", "fake", "--url", "fake=service_ms=60", "-b", 8, "--duration", 7)
    fed = ("--images", "pictures", "--feed", "stream", "--memory-budget", "12MiB")
    with started(*load, *fed, cwd=tmp_path, env=ray_environment) as process:
        at_the_gate = announced(tmp_path)["workers"][0]
        most_mib = peak_mib(psutil.Process(at_the_gate["pid"]), until=lambda: not announced(tmp_path))
        code, out, summary = ended(process, tmp_path, ray_environment)
    assert code == 0, out
    (trial,) = summary["trials"]
    sent = trial["payload"]
    assert sent["items"] * sent["item_bytes"] > 5 * 12 * 2**20
    assert sent["distinct"] > 0.99 * sent["items"]
    assert most_mib < at_the_gate["rss_mib"] + 12 + 30  # that is what Ray maps of its store
    assert trial["load"]["feed"] == "stream"
    assert trial["feed_wait_ms"]["n"] == trial["service_ms"]["n"]


@pytest.mark.slow
def test_slow_files_starve_the_lanes(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Files that take longer to decode than the server takes: the report says so, and service is what was scripted."""
    folder_of(crops(2, size_px=2500), tmp_path / "pictures")
    run = raybench(
        "run", "--workers", 2, "-s", "fake", "--url", "fake=service_ms=20", "--images", "pictures", "-b", 2,
        "--feed", "stream", "--memory-budget", "3MiB", "--request-count", 40, cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    (trial,) = run.summary["trials"]
    assert 20 <= trial["service_ms"]["p50"] < 50 < trial["feed_wait_ms"]["p50"]
    (doubt,) = [doubt for doubt in trial["doubts"] if doubt["code"] == "feed_starved"]
    assert doubt["value"] == trial["feed_wait_share"] > doubt["limit"]
    assert "[feed_starved]" in run.out


@pytest.mark.slow
@pytest.mark.parametrize("signature", ["predict_images", "predict_jpegs"])
def test_streamed_answers_are_verified(
    signature: str, triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """Triton and TensorFlow in process answer a stream as TensorFlow answers the same images, also where models mix."""
    run = raybench(
        "run", "--workers", 2, "--url", f"triton={triton.url}", "-s", "local", "--mix", "-m", "mobilenet-no-opt",
        "-m", "efficientnetb0-no-opt", "-b", 2, "--request-count", 80, "--signature", signature, "--feed", "stream",
        "--calibrate", "--models", triton.models, cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    for trial in run.summary["trials"]:
        assert trial["status"] == "ok"
        assert trial["verification"]["agrees"] is True
        assert trial["payload"]["distinct"] > 0.9 * trial["payload"]["items"]
        assert trial["feed_wait_ms"]["mean"] > 0
    of = {trial["label"]: trial for trial in run.summary["trials"]}
    assert of["triton"]["headroom"] > 0
    assert of["local"]["memory"]["peak"]["rss_mib"] is None  # it holds images that come and go

"""Images in shared memory: right answers, and nothing left behind, in /dev/shm or in Triton, whoever is killed."""

import errno
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import yaml
from midway import announced, ended, started
from real_parts import TritonUnderTest, crops, raybench

from raybench.clients import shared_memory
from raybench.clients.base import ClientError
from raybench.config import Benchmark, plan
from raybench.inputs.photo_source import demo_signature
from raybench.inputs.photos import jpeg_files
from raybench.results import samples
from raybench.worker.load_worker import Worker
from raybench.worker.task import Task

MODEL = "mobilenet-no-opt"
SHM = Path("/dev/shm")


def regions(url: str) -> set[str]:
    """The names of what a Triton has mapped."""
    with triton_grpc.InferenceServerClient(url) as client:
        return set(client.get_system_shared_memory_status(client_timeout=10).regions)


def names(url: str) -> list[str]:
    """What of ours has a name in /dev/shm, for this Triton."""
    return [each.name for each in SHM.glob(f"raybench-*-{url.rpartition(':')[2]}-{socket.gethostname()}-*")]


def task(triton: TritonUnderTest, **changes: object) -> Task:
    """Of the one worker that sends batches of 2 through shared memory."""
    asked = {"signature": "predict_images", "workers": 1, "batch_size": 2, "shared_memory": "system", **changes}
    benchmark = Benchmark(server=("triton",), url={"triton": triton.url}, model=(MODEL,), request_count=4, **asked)  # type: ignore[arg-type]
    (name,) = shared_memory.names(triton.url, 1)
    (trial,) = plan.trials(benchmark)
    return Task(
        worker=0,
        cell=trial.cell,
        signatures=(demo_signature(trial.cell.signature),),
        url=triton.url,
        models=str(triton.models),
        request_count=4,
        warmup_request_count=0,
        region=name,
    )


@pytest.mark.parametrize("signature", ["predict_images", "predict_jpegs"])
def test_requests_say_where_images_are(signature: str, triton: TritonUnderTest) -> None:
    """Images, as pixels or JPEG files, reach the model through memory: requests are short, answers are as over gRPC."""
    pictures = crops(6)
    worker = Worker(task(triton, signature=signature))
    worker.open()
    sent = jpeg_files(pictures, 90) if signature == "predict_jpegs" else pictures
    name = "jpeg_images" if signature == "predict_jpegs" else "images"
    payloads = worker.encode([{name: sent}])
    rows = samples.merge(list(worker.run(time.time())))
    assert rows["status"].to_pylist() == ["OK"] * 4
    replies = worker.replies().replies
    assert len(replies) == 4
    for each in replies:
        wire, outputs = sent[2 * each.payload : 2 * each.payload + 2], each.outputs
        expected = triton.call(MODEL, signature, **{name: wire})
        assert np.abs(outputs["scores"] - expected["scores"]).max() < 1e-5
    assert max(len(each.body) for each in worker._feed.last(2**30)) < 1000
    assert payloads.request_bytes == rows["sent_bytes"].to_pylist()[0] > sum(map(len, map(bytes, sent[:2])))
    worker.close()


def test_nothing_is_named_but_while_triton_maps_it(triton: TritonUnderTest) -> None:
    """A worker that is killed at any time leaves no name in /dev/shm; one that closes leaves nothing in Triton."""
    mapped = regions(triton.url)
    asked = task(triton)
    worker = Worker(asked)
    worker.open()
    worker.encode([{"images": crops(6)}])
    assert names(triton.url) == []
    assert regions(triton.url) - mapped == {asked.region}
    worker.close()
    assert regions(triton.url) == mapped
    assert names(triton.url) == []


def test_a_triton_that_cannot_map_it_is_told(triton: TritonUnderTest) -> None:
    """Where Triton refuses a region the trial has a sentence for its reason, and no name is left."""
    (name,) = shared_memory.names(triton.url, 1)
    region = shared_memory.Region(triton.url, name)  # of no bytes
    with pytest.raises(ClientError, match=r"^shared-memory is system; Triton at .* cannot map .*: it must run on the"):
        region.register()
    assert not (SHM / name).exists()
    region.close()


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        (
            "Client shared memory is disabled. Start the server with '--allow-client-shm=true' to enable.",
            "lets no client share memory, the default since 26.04: start it with --allow-client-shm=true",
        ),
        (
            "Unable to open shared memory region: '/raybench-1'",
            "in a container with an IPC namespace of its own; start",
        ),
        ("failed to register shared memory region", "it must run on the worker's host"),
    ],
)
def test_a_refusal_to_share_memory_names_its_remedy(said: str, remedy: str, tmp_path: Path) -> None:
    """A Triton by url that lets no client share memory, or cannot see this host's, is wrong input with the flag that
    would help, before anything starts."""
    handler = grpc.unary_unary_rpc_method_handler(lambda _, context: context.abort(grpc.StatusCode.INTERNAL, said))
    methods = {"SystemSharedMemoryRegister": handler}
    server = grpc.server(ThreadPoolExecutor(1))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)])
    url = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        run = raybench(
            "run", "-s", "triton", "--url", f"triton={url}", "--shared-memory", "system", "-b", 1,
            cwd=tmp_path, env=dict(os.environ),
        )  # fmt: skip
    finally:
        server.stop(None)
    assert run.code == 2, run.out
    assert f"shared-memory is system; Triton at {url}" in " ".join(run.err.split())
    assert remedy in " ".join(run.err.split())
    assert names(url) == []


def test_a_full_shared_memory_names_its_remedy(triton: TritonUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where /dev/shm has no more room for what a worker encodes, the sentence says how to make some."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    (name,) = shared_memory.names(triton.url, 1)
    region = shared_memory.Region(triton.url, name)
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(ClientError, match=r"\(No space left on device\): empty or enlarge it \(in a container"):
            region.add(b"x")
    region.close()


def test_memory_of_killed_runs_is_given_back(triton: TritonUnderTest) -> None:
    """What a run that was killed had Triton map is forgotten at the next; that of others, and of other hosts, stays."""
    ended_pid = subprocess.Popen([sys.executable, "-c", ""])
    ended_pid.wait()
    mine = shared_memory.names(triton.url, 1)[0]
    orphan = mine.replace(f"-{os.getpid()}-", f"-{ended_pid.pid}-")
    elsewhere = orphan.replace(f"-{socket.gethostname()}-", "-another-")
    held = [shared_memory.Region(triton.url, name) for name in (mine, orphan, elsewhere)]
    for region in held:
        region.add(b"x")
        region.register()
    shared_memory.unregister_orphans(triton.url)
    assert regions(triton.url) & {mine, orphan, elsewhere} == {mine, elsewhere}
    for region in held:
        region.close()


@pytest.mark.parametrize("shared", ["system", "none"])
@pytest.mark.parametrize("signature", ["predict_images", "predict_jpegs"])
def test_the_ceiling_is_of_the_same_requests(signature: str, shared: str, triton: TritonUnderTest) -> None:
    """Calibration sends what the trial sent, on its lanes, to the model that does nothing; then the model answers."""
    asked = task(triton, signature=signature, shared_memory=shared, concurrency=2)
    worker = Worker(asked if shared == "system" else replace(asked, region=None))
    worker.open()
    worker.encode([{"images": crops(6)}])
    before = triton.statistics().inference_stats.success.count
    rows = worker.calibrate()
    assert triton.statistics().inference_stats.success.count == before
    assert set(rows["phase"].to_pylist()) == {samples.CEILING}
    assert set(rows["status"].to_pylist()) == {"OK"}
    assert set(rows["lane"].to_pylist()) == {0, 1}
    assert set(rows["payload"].to_pylist()) == {0, 1, 2}
    measured = samples.merge(list(worker.run(time.time())))
    assert set(measured["phase"].to_pylist()) == {samples.MEASURED}
    worker.close()


@pytest.mark.slow
def test_run_over_shared_memory(triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """A run has its shared memory in rows of their own, answers that agree, and leaves /dev/shm and Triton as they
    were; a comparison with the network is doubted."""
    mapped = regions(triton.url)
    loads = [{"shared_memory": "system"}, {"shared_memory": "none"}]
    file = tmp_path / "both.yaml"
    file.write_text(yaml.safe_dump({"server": ["triton"], "model": MODEL, "loads": loads, "calibrate": True}))
    run = raybench(
        "run", file, "--workers", 2, "-b", 2, "--request-count", 400, "--url", f"triton={triton.url}",
        "--models", triton.models, "--baseline", "triton", cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    trials = {trial["label"]: trial for trial in run.summary["trials"]}
    assert {label: trial["load"]["transport"] for label, trial in trials.items()} == {
        "triton": "grpc",
        "triton (shared memory)": "shared memory",
    }
    for trial in trials.values():
        assert trial["verification"]["agrees"] is True
        assert trial["requests"]["succeeded"] == 400
        assert trial["payload"]["item_bytes"] >= 224 * 224 * 3
        assert trial["headroom"] == trial["ceiling"]["requests_per_s"] / trial["throughput"]["requests_per_s"] > 0
    codes = {label: {doubt["code"] for doubt in trial["doubts"]} for label, trial in trials.items()}
    assert [label for label, found in codes.items() if "unequal_servers" in found] == ["triton (shared memory)"]
    assert "headroom" in run.out
    assert regions(triton.url) == mapped
    assert names(triton.url) == []


@pytest.mark.slow
def test_kills_leave_no_shared_memory(triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """After kill -9 of a worker, and then of a whole run, /dev/shm is as before; the next run gives back what Triton
    still held, and is ok."""
    mapped = regions(triton.url)
    command = ("--workers", 2, "--url", f"triton={triton.url}", "-s", "triton", "-m", MODEL, "-b", 1, "--no-verify")
    command += ("--shared-memory", "system")
    with started(*command, "--duration", 8, cwd=tmp_path, env=ray_environment) as process:
        assert len(regions(triton.url) - mapped) == 2
        os.kill(announced(tmp_path)["workers"][1]["pid"], signal.SIGKILL)
        code, out, summary = ended(process, tmp_path, ray_environment)
    assert (code, summary["trials"][0]["status"]) == (0, "degraded"), out
    assert regions(triton.url) == mapped
    assert names(triton.url) == []
    with started(*command, "--duration", 30, cwd=tmp_path, env=ray_environment) as process:
        process.kill()
        process.wait(timeout=10)
    assert len(regions(triton.url) - mapped) == 2
    assert names(triton.url) == []
    again = raybench("run", *command, "--request-count", 4, cwd=tmp_path, env=ray_environment)
    assert again.code == 0, again.err + again.out
    assert regions(triton.url) == mapped

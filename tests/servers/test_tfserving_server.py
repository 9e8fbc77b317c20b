"""A TensorFlow Serving of ours: found, started, waited for, warmed up, reloaded and stopped.

What is started is the double of tests/support/tfs_double under the name that is looked for, which refuses flags that
the real one does not have.
"""

import csv
import os
import re
import shutil
import signal
import socket
import subprocess
from contextlib import closing
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from real_parts import BIN, Family, add_stand_in, crops, raybench, raybench_family, wait_for_line
from tfs_double.flags import KNOWN

from raybench.clients.base import ClientError
from raybench.clients.tfserving_client import TfServingClient
from raybench.clients.tfserving_rest_client import TfServingRestClient
from raybench.config import ServerSpec
from raybench.models.saved_models import ModelConfig, format_models_conf
from raybench.servers import ServeOptions, ServerError, ServerUnavailable, bind_warning, model_server, running
from raybench.servers.model_server import ModelServer
from raybench.servers.server_process import endpoint, free_ports
from raybench.servers.tfserving_reload import LoadedVersions
from raybench.servers.tfserving_server import TfServingOptions, running_tfserving, settings_flags

MODEL = "mobilenet-no-opt"
REMEDIES = ("put tensorflow_model_server on PATH", "start Docker", "--url tfserving=HOST:PORT")


@pytest.fixture
def stand_in(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "bin").mkdir()
    return add_stand_in(tmp_path / "bin")


@pytest.fixture
def on_path(stand_in: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", stand_in["PATH"])


def write_docker(folder: Path, script: str) -> str:
    """A PATH with a `docker` that does this and nothing else that serves; returns it."""
    docker = folder / "docker"
    docker.write_text(f"#!/bin/sh\n{script}\n")
    docker.chmod(0o755)
    return f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin"


def test_a_run_measures_it(
    models: Path, stand_in: dict[str, str], ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """`raybench run -s tfserving` starts it with a thread for each request in flight, measures it with answers that
    agree, says what it ran, and ends it."""
    run, family = raybench_family(
        "run", "--workers", 2, "--concurrency", 4, "-s", "tfserving", "--models", models, "-m", MODEL, "-b", 2,
        "--request-count", 800, "--warmup-request-count", 40,
        cwd=tmp_path, env={**ray_environment, **stand_in},
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    (trial,) = run.summary["trials"]
    assert (trial["status"], trial["requests"]["succeeded"]) == ("ok", 800)
    assert trial["throughput"]["inferences_per_s"] > 0
    assert trial["verification"]["agrees"] is True
    assert trial["memory"]["peak"]["rss_mib"] > 100
    time_ms, counted = trial["server_time_ms"], trial["server_statistics"]["counted"]
    assert (counted["success"], counted["executions"], time_ms["queue"]) == (800, 800, None)
    assert 0 < time_ms["compute_infer"] < time_ms["service"]
    assert counted["compute_infer_ns"] < counted["request_ns"]
    cold = trial["cold_start"]
    assert 0 < cold["warm_up_s"] < cold["ready_s"] < cold["first_answer_s"]
    assert cold["steady_s"] is None or cold["steady_s"] >= cold["first_answer_s"]  # a busy host may never be steady
    assert trial["model"]["version"] == 1
    assert trial["model"]["sha256"] is not None
    server = trial["server"]
    assert (server["kind"], server["instances"]) == ("tfserving", None)
    assert (server["launcher"], server["version"]) == ("tensorflow_model_server on PATH", "double-2.20.0")
    assert server["config"]["grpc_max_threads"] == "1000"
    assert (server["effective"]["executions_at_once"], server["effective"]["tensorflow"]) == (998, "2.20.0")
    assert server["config"]["xla_gpu_compilation_enabled"] == "true"
    assert server["config"]["models"] == MODEL
    assert run.err.count("listens on every address of this machine") == 1
    assert family.is_gone()


@pytest.mark.slow
def test_without_one_its_rows_are_skipped(models: Path, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Where there is none, the row says so with the three remedies, the others are measured, and no gate passes."""
    path = write_docker(tmp_path, "exit 1")
    run = raybench(
        "run", "--workers", 1, "-s", "tfserving", "-s", "fake", "--models", models, "-m", MODEL, "-b", 1,
        "--request-count", 9, "--threshold", "p(50)<5s", cwd=tmp_path, env={**ray_environment, "PATH": path},
    )  # fmt: skip
    assert run.code == 99, run.err + run.out
    assert re.match(r"FAIL \(exit 99\): threshold p\(50\)<5s of tfserving-.*: skipped$", run.out.splitlines()[-1])
    trials = {trial["server"]["kind"]: trial for trial in run.summary["trials"]}
    assert {kind: trial["status"] for kind, trial in trials.items()} == {"tfserving": "skipped", "fake": "ok"}
    assert all(remedy in trials["tfserving"]["reason"] for remedy in REMEDIES)
    assert "put tensorflow_model_server on PATH" in " ".join(run.out.split())


def test_serve_reloads_and_ends(models: Path, stand_in: dict[str, str], tmp_path: Path) -> None:
    """`raybench serve tfserving` says where it answers, and at SIGHUP what it serves then, by its own word; it ends."""
    conf = tmp_path / "models.conf"
    enter(conf, models, "scale")
    command = [BIN / "raybench", "serve", "tfserving", "--models", tmp_path, "--port", "0"]
    process = subprocess.Popen(
        command, env={**os.environ, **stand_in}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )

    def after_hangup() -> str:
        process.send_signal(signal.SIGHUP)
        return wait_for_line(process, "reloaded")[-1]

    try:
        lines = wait_for_line(process, "ready")
        family = Family(process.pid)
        family.look()
        assert len(family.members) > 1
        urls = dict(line.split() for line in lines if line.split()[0] in ("grpc", "http", "metrics"))
        assert len(urls) == 3
        assert (
            description(urls["grpc"], "scale")
            == "signature is nope; model scale has boxed, distinct, share, times, total"
        )
        enter(conf, models, "clash")
        assert after_hangup() == "reloaded clash (1)\n"
        assert "model clash has plus, twice" in description(urls["grpc"], "clash")
        assert "TF Serving has unloaded version 3 of it" in description(urls["grpc"], "scale")
    finally:
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert family.is_gone()


@pytest.mark.parametrize(("cpus", "threads"), [(2, "64"), (16, None)])
def test_rest_has_the_threads_and_the_time_of_grpc(
    cpus: int, threads: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No REST request waits for a thread while fewer are in flight than were asked for, or is given up after 30 s."""
    monkeypatch.setattr(os, "cpu_count", lambda: cpus)
    found = settings_flags(ModelServer("binary", "2.20.0"), TfServingOptions(models_conf=Path("a"), in_flight=32))
    assert (found.get("rest_api_num_threads"), found["rest_api_timeout_in_ms"]) == (threads, "0")


@pytest.mark.slow
@pytest.mark.usefixtures("on_path")
def test_a_reload_says_what_serves(models: Path, tmp_path: Path) -> None:
    """What TensorFlow Serving did not load is a sentence with what it serves instead: files changed in place, a new
    version that is broken, models dropped for one that is broken; a new version number is loaded. Its metrics are
    beside the port that it was given, where a run by url looks, and so is its REST API."""
    folder, conf = tmp_path / "models", tmp_path / "models" / "models.conf"
    shutil.copytree(models / "scale" / "1", folder / "scale" / "1")
    enter(conf, folder, "scale")
    (port,) = free_ports(1)
    with running_tfserving(TfServingOptions(models_conf=conf, grpc_port=port)) as server:
        by_url = ServerSpec(kind="tfserving", url=server.grpc_url)
        with running(by_url, ServeOptions(models_conf=conf, models=("scale",))) as there:
            assert (server.grpc_url, there.metrics_url) == (f"127.0.0.1:{port}", server.metrics_url)
        with closing(TfServingRestClient(server.http_url, model="scale", signature="times")) as client:
            assert client.send(client.encode({"x": np.float32([[1, 2]])}), 30).is_ok

        def refusal() -> str:
            with pytest.raises(ServerError) as error:
                server.reload()
            return str(error.value)

        shutil.rmtree(folder / "scale" / "1")
        shutil.copytree(models / "scale" / "3", folder / "scale" / "1")
        assert re.match(
            r"the files of version 1 of scale changed, but .*: it answers as before; export the model as version 2; "
            r"it serves scale \(1\) now",
            refusal(),
        )
        (folder / "scale" / "2").mkdir()
        (folder / "scale" / "2" / "saved_model.pb").write_bytes(b"\xff")
        assert re.match(r"TF Serving cannot load version 2 of scale \(.*\).*; it serves scale \(1\) now", refusal())
        shutil.copytree(models / "scale" / "3", folder / "scale" / "4")
        assert [(model.name, model.specific) for model in server.reload()] == [("scale", (4,))]
        (folder / "scale").rename(folder / "away")
        (folder / "bad" / "1").mkdir(parents=True)
        (folder / "bad" / "1" / "saved_model.pb").write_bytes(b"\xff")
        enter(conf, folder, "bad")
        assert re.match(r"TF Serving cannot load version 1 of bad \(.*\).*; it serves no model now", refusal())
        conf.write_text("model_config_list {")
        assert refusal().endswith("; the old models keep serving")


def enter(conf: Path, models: Path, name: str) -> None:
    conf.write_text(format_models_conf((ModelConfig(name=name, base_path=models / name),)))


def description(url: str, model: str) -> str:
    """What the client says of a signature that is not there."""
    client = TfServingClient(url, model=model, signature="nope")
    with closing(client), pytest.raises(ClientError) as error:
        client.describe()
    return str(error.value).partition(": choose one")[0]


@pytest.mark.usefixtures("on_path")
def test_a_model_that_does_not_load_is_told(tmp_path: Path) -> None:
    """A server that does not start is one ServerError with its own reason and last lines, at once."""
    broken = tmp_path / "models" / "broken" / "1"
    broken.mkdir(parents=True)
    (broken / "saved_model.pb").write_bytes(b"\xff")
    conf = tmp_path / "models" / "models.conf"
    conf.write_text(format_models_conf((ModelConfig(name="broken", base_path=broken.parent),)))
    said = (
        r"stopped with exit code 255 .*Failed to start server. Error: UNKNOWN: 1 servable\(s\) did not become available"
    )
    with pytest.raises(ServerError, match=said), running_tfserving(TfServingOptions(models_conf=conf)):
        pytest.fail("it started")


@pytest.mark.usefixtures("on_path")
def test_a_flag_that_it_lacks_is_not_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One older than 2.18 knows no XLA on a GPU: it would print the flag and go on without."""
    monkeypatch.setenv("TFS_DOUBLE_LACKS", "xla_gpu_compilation_enabled")
    assert not model_server.find().supports("xla_gpu_compilation_enabled")
    assert model_server.find().supports("xla_cpu_compilation_enabled")


@pytest.mark.slow
@pytest.mark.usefixtures("on_path")
def test_it_is_warm_before_it_is_ready(models: Path) -> None:
    """Every asked model, signature and batch size has had one request before the first trial; XLA compiles in it."""
    requests = tuple((MODEL, "predict_images", {"images": crops(count)}) for count in (1, 3))
    options = TfServingOptions(models_conf=models / "models.conf", models=(MODEL,), warm_up=requests)
    with running_tfserving(options) as server:
        with urlopen(server.urls["metrics"], timeout=20) as page:
            metrics = page.read().decode()
        assert server.is_ready()
        assert server.pid in server.process.processes()
    assert f'request_count{{model_name="{MODEL}",status="OK"}} 2\n' in metrics
    assert server.process.exit_code is not None


def test_its_port_of_another_is_refused(models: Path, stand_in: dict[str, str], tmp_path: Path) -> None:
    """`serve tfserving` on a port that is in use is wrong input, before anything starts."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        served = raybench(
            "serve", "tfserving", "--models", models, "--port", port, cwd=tmp_path, env={**os.environ, **stand_in}
        )
    assert (served.code, served.out) == (2, "")
    assert f"port is {port}; 127.0.0.1:{port} is not free (Address already in use); name another" in served.err


def test_what_its_binary_cannot_close_is_said(stand_in: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The binary listens on every address, and a user is told; a container is published where it was asked."""
    ours, theirs = ServerSpec(kind="tfserving"), ServerSpec(kind="tfserving", url="host:8500")
    monkeypatch.setenv("PATH", stand_in["PATH"])
    assert "listens on every address of this machine" in str(bind_warning(ours, "127.0.0.1"))
    assert bind_warning(theirs, "0.0.0.0") is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert bind_warning(ours, "127.0.0.1") is None
    assert "listens on 0.0.0.0" in str(bind_warning(ours, "0.0.0.0"))
    assert "lacks known security fixes" in str(bind_warning(ServerSpec(kind="triton"), "0.0.0.0"))


@pytest.mark.parametrize(
    ("bind", "url"),
    [("127.0.0.1", "127.0.0.1:1"), ("0.0.0.0", "127.0.0.1:1"), ("::1", "[::1]:1"), ("::", "[::1]:1"), ("h", "h:1")],
)
def test_urls_are_those_that_reach_it(bind: str, url: str) -> None:
    """A server's url is one that a client can use, whatever address it listens on."""
    assert endpoint(bind, 1) == url


@pytest.mark.parametrize("script", ["exit 127", "exec sleep 60"])
def test_a_binary_that_does_not_start_is_not_used(
    script: str, stand_in: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tensorflow_model_server that cannot say its version, or hangs, is a sentence at once and no failed start."""
    (tmp_path / "bin" / "tensorflow_model_server").write_text(f"#!/bin/sh\n{script}\n")
    monkeypatch.setenv("PATH", stand_in["PATH"])
    monkeypatch.setattr(model_server, "_ASK_S", 0.5)
    with pytest.raises(ServerUnavailable, match="the tensorflow_model_server on PATH does not start: run"):
        model_server.find()


def test_docker_stands_in_for_the_binary(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the binary an engine that answers runs the image: published on the asked address alone, models read-only,
    as this user, removed at the end."""
    monkeypatch.setenv(
        "PATH", write_docker(tmp_path, 'printf "%s\\t" "$@" >> "$0.log"; echo >> "$0.log"; [ "$1" = info ] || exit 7')
    )
    options = TfServingOptions(models_conf=models / "models.conf", models=(MODEL,), grpc_port=8765)
    with pytest.raises(ServerError, match="stopped with exit code 7"), running_tfserving(options):
        pytest.fail("it started")
    info, words, remove = (line.split("\t")[:-1] for line in (tmp_path / "docker.log").read_text().splitlines())
    name = f"raybench-tfserving-{os.getpid()}"
    assert (info, remove) == (["info"], ["rm", "--force", name])
    assert words[0] == "run"
    assert {"--rm", "--init", "--read-only", f"--name={name}", f"--user={os.getuid()}:{os.getgid()}"} <= set(words)
    assert "--publish=127.0.0.1:8765:8500" in words
    source = (models / MODEL).resolve()
    mounts = [next(csv.reader([word])) for word in words if word.startswith("--mount=")]
    assert ["--mount=type=bind", "readonly", f"source={source}", f"target=/raybench{source}"] in mounts
    assert all("readonly" in mount for mount in mounts)
    image = next(place for place, word in enumerate(words) if word.startswith("tensorflow/serving:"))
    assert "--entrypoint=tensorflow_model_server" in words[:image]
    flags = {word.removeprefix("--").partition("=")[0] for word in words[image + 1 :]}
    assert flags <= KNOWN
    assert {"port", "model_config_file", "xla_cpu_compilation_enabled", "xla_gpu_compilation_enabled"} <= flags


def test_a_container_says_its_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The versions of TensorFlow Serving in a container, and of its TensorFlow, are those that it says once it runs."""
    said = "TensorFlow ModelServer: 2.20.1\\nTensorFlow Library: 2.20.3"
    script = f'[ "$1 $3 $4" = "exec tensorflow_model_server --version" ] && printf "{said}\n" || [ "$1" = info ]'
    monkeypatch.setenv("PATH", write_docker(tmp_path, script))
    found = model_server.find()
    assert (found.version, found.tensorflow) == (model_server.TF_SERVING_VERSION, None)
    started = found.as_started()
    assert (started.version, started.tensorflow, started.container) == ("2.20.1", "2.20.3", found.container)


def test_a_container_is_not_asked_for_what_it_cannot_see(tmp_path: Path) -> None:
    """A model in a folder that was not mounted at the start is a sentence, before the old models are gone."""
    old, new = (ModelConfig(name=name, base_path=tmp_path / name, specific=(1,)) for name in ("old", "new"))
    for model in (old, new):
        (model.base_path / "1").mkdir(parents=True)
    loaded = LoadedVersions(ModelServer("docker", "2.20.0", container="raybench-tfserving-1"), [old])
    with pytest.raises(
        ServerError, match=r"cannot see .*/new, the folder of model new: start it again; the old models"
    ):
        loaded.reload("127.0.0.1:1", (old, new))


def test_an_engine_that_is_silent_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Docker client whose engine does not answer in time is no way to a server: the remedies are told."""
    monkeypatch.setenv("PATH", write_docker(tmp_path, "exec sleep 60"))
    monkeypatch.setattr(model_server, "_ASK_S", 0.2)
    with pytest.raises(ServerUnavailable) as error:
        model_server.find()
    assert all(remedy in str(error.value) for remedy in REMEDIES)

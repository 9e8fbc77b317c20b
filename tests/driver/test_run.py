"""`raybench run` end to end, as a user types it: real Ray, Triton and TensorFlow; `fake` where times are scripted."""

import os
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from own_triton import own_triton
from real_parts import Run, TritonUnderTest, measured_rows, raybench, raybench_family

from raybench.models.saved_models import ModelConfig, format_models_conf
from raybench.servers import repository, wheel
from raybench.servers.repository import TritonOptions

MODEL = "mobilenet-no-opt"
NO_GPU = {
    "gpu_source": None,
    "gpu_utilization_pct": None,
    "gpu_power_w": None,
    "gpu_energy_j": None,
    "gpu_sm_clock_mhz": None,
    "sm_clock_drop": None,
    "gpu_shared_with": None,
}
NO_GPU |= {"swapped_mib": 0.0, "problems": []}


def test_main_job(models: Path, tmp_path: Path) -> None:
    """From an empty folder: own Ray, own Triton, TensorFlow beside it, a table, and nothing left over."""
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    run, family = raybench_family(
        "run", "--workers", 2, "--models", models, "-m", MODEL, "-b", 4, "--request-count", 400, "--details",
        cwd=tmp_path, env=environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    assert "Ray dashboard: http://127.0.0.1:" in run.err
    assert f"results in results/{run.folder.name}" in run.out  # type: ignore[union-attr]
    trials = {trial["server"]["kind"]: trial for trial in run.summary["trials"]}
    assert {kind: trial["status"] for kind, trial in trials.items()} == {"local": "ok", "triton": "ok"}
    for trial in trials.values():
        requests = trial["requests"]
        assert requests["attempted"] == requests["succeeded"] == 400 == measured_rows(run.folder, trial["id"])  # type: ignore[arg-type]
        assert trial["throughput"]["inferences_per_s"] > 0
        assert trial["memory"]["peak"]["rss_mib"] > 100
        assert trial["memory"]["peak"]["gpu_mib"] is None
        memory = trial["memory"]
        assert all(
            100 < memory[moment]["pss_mib"] <= memory[moment]["rss_mib"] for moment in ("idle", "warm", "drained")
        )
        assert memory["baseline"]["host_mib"] > 0
        assert trial["cpu"]["items_per_cpu_s"] * trial["cpu"]["server_s"] == pytest.approx(1600)
        assert trial["telemetry"] == {**NO_GPU, "node": os.uname().nodename}
        assert 0 < trial["cold_start"]["ready_s"] < trial["cold_start"]["first_answer_s"]
    assert trials["local"]["cold_start"]["warm_up_s"] == 0 < trials["triton"]["cold_start"]["warm_up_s"]
    assert trials["local"]["memory"]["baseline"]["rss_mib"] < trials["local"]["memory"]["idle"]["rss_mib"]
    assert trials["triton"]["memory"]["baseline"]["rss_mib"] is None
    time_ms, counted = trials["triton"]["server_time_ms"], trials["triton"]["server_statistics"]["counted"]
    assert 2 * time_ms["service"] == pytest.approx(sum(time_ms.values()))
    assert sum(counted["batches"].values()) == counted["executions"] <= counted["success"] == 400
    assert "Server memory" in run.out
    assert trials["triton"]["server"]["version"] == "2.51.0"
    assert (trials["triton"]["headroom"] > 1, trials["local"]["headroom"]) == (True, None)
    assert len({worker["pid"] for worker in trials["triton"]["workers"]}) == 2
    assert {comparison["server"] for comparison in run.summary["comparisons"]} == {"triton x1"}
    assert len(family.members) > 10
    assert family.is_gone()


def test_running_server(triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Against a Triton that runs already: what the client counts is what Triton counts, and every image differs."""
    before = triton.statistics().inference_stats.success.count
    url = f"triton={triton.url}"
    run = raybench(
        "run", "--workers", 2, "--concurrency", 2, "-s", "triton", "--url", url, "-m", "efficientnetb0-no-opt",
        "-b", 8, "--request-count", 40, "--warmup-request-count", 4, "--models", triton.models,
        cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    (trial,) = run.summary["trials"]
    assert trial["requests"] == {"attempted": 40, "succeeded": 40, "failed": 0, "errors": {}, "first_error": None}
    assert measured_rows(run.folder, trial["id"]) == 40  # type: ignore[arg-type]
    assert trial["payload"]["items"] == 320
    assert trial["payload"]["distinct"] >= 300
    assert trial["server_statistics"]["counted"]["success"] == 40
    asked = 2 * 3 + 1  # 2 workers and the driver ask for the model and its signatures, the driver what computes there
    assert triton.statistics().inference_stats.success.count - before == 40 + 4 + asked  # 4 to warm up
    assert trial["model"]["sha256"] is None  # whose models a foreign server has is not known


@pytest.mark.slow
def test_what_runs_is_read_back(triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """A Triton by url and TensorFlow in process say what they run: executions at a time, versions, threads, XLA."""
    run = raybench(
        "run", "--workers", 2, "--url", f"triton={triton.url}", "-m", MODEL, "-b", 1, "--request-count", 8,
        "--models", triton.models, "--no-verify", cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    ran = {trial["label"]: trial["server"]["effective"] for trial in run.summary["trials"]}
    for found in ran.values():
        assert found["executions_at_once"] == 1
        assert found["tensorflow"] == version("tensorflow")
        assert found["intra_op_threads"] == found["inter_op_threads"] == len(os.sched_getaffinity(0))
        assert (found["response_cache"], found["xla"]) == (False, False)
    assert (ran["triton"]["merges"], ran["local"]["merges"]) == (True, False)
    assert (ran["triton"]["precision"], ran["local"]["precision"]) == (None, "float32")  # whose files are not ours
    assert "unequal_servers" not in run.out


@pytest.mark.slow
def test_replies_from_a_cache_are_no_measurement(models: Path, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Where Triton answers from its response cache the trial has failed, says why, and stands in no comparison."""
    folder = repository.assemble(TritonOptions(models_conf=models / "models.conf", models=(MODEL,)), tmp_path)
    config = folder / "saved_model" / "config.pbtxt"
    config.write_text(config.read_text() + "response_cache { enable: true }\n")
    caches = wheel.find() / "caches"
    with own_triton(folder, [f"--cache-directory={caches}", f"--cache-config=local,size={2**26}"]) as running:
        run = raybench(
            "run", "--workers", 1, "--url", f"triton={running.url}", "-m", MODEL, "-b", 1, "--images", "noise",
            "--request-count", 12, "--models", models, "--no-verify", cwd=tmp_path, env=ray_environment,
        )  # fmt: skip
    assert run.code == 1, run.err + run.out
    trials = {trial["label"]: trial for trial in run.summary["trials"]}
    assert trials["triton"]["status"] == "failed"
    assert "Triton's response cache" in trials["triton"]["reason"]
    assert trials["triton"]["server_statistics"]["counted"]["cache_hit"] > 0
    assert trials["triton"]["server"]["effective"]["response_cache"] is True
    assert trials["local"]["status"] == "ok"
    assert run.summary["comparisons"] == []


@pytest.mark.slow
def test_a_slowdown_is_found(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """A server that takes a tenth longer is slower by the verdict of 8 rounds."""
    run = raybench(
        "run", "--workers", 1, "-s", "fake", "--url", "fake=service_ms=20; service_ms=22", "--rounds", 8,
        "--baseline", "fake 1", "-b", 1, "--request-count", 20, cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    (found,) = run.summary["comparisons"]
    assert (found["base"], found["server"], found["rounds"]) == ("fake 1", "fake 2", 8)
    assert found["verdict"] == "slower"
    assert 20 / 22 < found["high"] < 1
    assert found["low"] < 21 / 23  # both take up to a millisecond more than they are told to
    assert re.search(r"fake 2 serves \S+ 0\.\d+ times as fast as fake 1", run.out)


@pytest.fixture(scope="module")
def faulty(ray_environment: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two servers: every fourth request to the first fails, every fifth to the second hangs."""
    return raybench(
        "run", "--workers", 2, "-s", "fake", "--url", "fake=service_ms=5,fail_every=4; hang_every=5", "--timeout", 0.2,
        "--request-count", 40, "--warmup-request-count", 0, cwd=tmp_path_factory.mktemp("faulty"), env=ray_environment,
    )  # fmt: skip


def test_failed_requests_are_rows(faulty: Run) -> None:
    """A failed request is a row with its status, the run goes on, and the exit code is 5."""
    assert faulty.code == 5, faulty.err + faulty.out
    trial, _ = faulty.summary["trials"]
    assert trial["requests"] == {
        "attempted": 40, "succeeded": 30, "failed": 10, "errors": {"UNAVAILABLE": 10}, "first_error": "scripted fault",
    }  # fmt: skip
    assert trial["status"] == "ok"
    assert "errors" in {doubt["code"] for doubt in trial["doubts"]}
    assert "10 of 40 requests failed (10 UNAVAILABLE; the first: scripted fault)" in faulty.out


def test_conversions_cost_something_where_nothing_is_verified(faulty: Run) -> None:
    """Encoding and decoding are measured against every server, a scripted one too, whose answers nobody compares."""
    costs = [trial["client_cost"] for trial in faulty.summary["trials"]]
    assert len(costs) == 2
    assert [cost["encode_ms_per_item"] > 0 and cost["decode_ms_per_item"] > 0 for cost in costs] == [True, True]
    assert [cost["request_bytes_per_item"] for cost in costs] == [None, None]  # in process nothing travels


def test_hanging_server_ends(faulty: Run) -> None:
    """Requests that hang end at their deadline and are counted as DEADLINE_EXCEEDED."""
    _, trial = faulty.summary["trials"]
    assert trial["requests"]["errors"] == {"DEADLINE_EXCEEDED": 8}


def test_an_open_loop(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Two rates are two cells, each at its offered rate; a server that stands still is slow in response alone."""
    run = raybench(
        "run", "--workers", 2, "-s", "fake", "--url", "fake=service_ms=1,stall_at=300,stall_ms=500", "-b", 1,
        "--request-rate", "200,400", "--max-in-flight", 4, "--request-count", 800, "--images", "noise",
        "--request-distribution", "constant", "--warmup-request-count", 0, cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    assert "open loop (constant arrivals: response times)" in run.out
    trials = {trial["load"]["offered_rps"]: trial for trial in run.summary["trials"]}
    assert {rate: trial["requests"]["succeeded"] for rate, trial in trials.items()} == {200: 800, 400: 800}
    for rate, trial in trials.items():
        assert trial["scheduled_rps"] == pytest.approx(rate, rel=0.01)
        assert trial["response_ms"]["p99"] > 350
        assert trial["service_ms"]["p99"] < 350
        assert trial["cap_hits"] > 50
        assert "cap_hit" in {doubt["code"] for doubt in trial["doubts"]}


@pytest.mark.slow
def test_jpegs(triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Batches of JPEG files go to Triton and to TensorFlow in process, and the answers are those of TensorFlow."""
    run = raybench(
        "run", "--workers", 2, "-s", "local", "-s", "triton", "--url", f"triton={triton.url}", "-m", MODEL, "-b", 2,
        "--signature", "predict_jpegs", "--jpeg-quality", 80, "--models", triton.models, "--request-count", 8,
        "--warmup-request-count", 2, cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    assert {trial["server"]["kind"] for trial in run.summary["trials"]} == {"local", "triton"}
    for trial in run.summary["trials"]:
        assert trial["requests"]["succeeded"] == 8
        assert trial["verification"]["agrees"] is True
        assert trial["payload"]["encoding"] == "jpeg q80"
        assert 1_000 < trial["payload"]["item_bytes"] < 224 * 224 * 3 / 3
    assert "jpeg q80" in run.out


@pytest.mark.slow
def test_failed_server_is_a_row(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """A server that does not start is a failed row with Triton's own reason; the other servers are measured; exit 1."""
    broken = tmp_path / "models"
    (broken / "broken" / "1").mkdir(parents=True)
    (broken / "broken" / "1" / "saved_model.pb").write_bytes(b"\x00no model")
    (broken / "models.conf").write_text('model_config_list { config { name: "broken" base_path: "broken" } }')
    run = raybench(
        "run", "--workers", 2, "-s", "triton", "-s", "fake", "-m", "broken", "--models", broken, "--request-count", 20,
        cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 1, run.err + run.out
    trials = {trial["server"]["kind"]: trial for trial in run.summary["trials"]}
    assert trials["fake"]["status"] == "ok"
    assert trials["triton"]["status"] == "failed"
    assert "cannot be read as a SavedModel" in trials["triton"]["reason"]
    assert trials["triton"]["throughput"] is None


@pytest.mark.slow
def test_answers_are_held_against_tensorflows(
    triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """Replies of every worker are compared with TensorFlow's; a server that serves another model is exit 4."""
    other = tmp_path / "other"
    other.mkdir()
    impostor = ModelConfig(name=MODEL, base_path=triton.models / "efficientnetb0-no-opt")
    (other / "models.conf").write_text(format_models_conf((impostor,)))
    seen = {}
    for models, code in ((triton.models, 0), (other, 4)):
        run = raybench(
            "run", "--workers", 2, "-s", "triton", "--url", f"triton={triton.url}", "-m", MODEL, "-b", 2,
            "--request-count", 20, "--models", models, cwd=tmp_path, env=ray_environment,
        )  # fmt: skip
        assert run.code == code, run.err + run.out
        (trial,) = run.summary["trials"]
        seen[code] = trial["verification"]
    assert seen[0]["agrees"] is True
    (found,) = seen[0]["models"]
    assert found["replies"] == 20  # of ten requests of a worker all
    assert found["nearest"] == 1
    assert found["difference"] < found["tolerance"] == 1e-4
    assert seen[4]["agrees"] is False
    assert "answers differ from TensorFlow's" in run.out


@pytest.mark.slow
def test_mixed_models_take_turns(triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """--mix sends round robin over the models in one trial: every model answers its share."""
    models = ("-m", "efficientnetb0-no-opt", "-m", MODEL, "--mix")
    run = raybench(
        "run", "--workers", 2, "-s", "triton", "--url", f"triton={triton.url}", *models, "-b", 1, "--request-count", 24,
        cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    (trial,) = run.summary["trials"]
    assert trial["model"]["name"] == f"efficientnetb0-no-opt+{MODEL}"
    assert trial["requests"]["succeeded"] == 24

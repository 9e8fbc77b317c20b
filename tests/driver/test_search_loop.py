"""`raybench search` end to end, as a user types it: `fake` with scripted limits, a real Triton out of memory."""

import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from contract import violations
from real_parts import BIN, newest_results, raybench, wait_for_line

from raybench.cli import main

MODEL = "mobilenet-no-opt"
MEMORY_BYTES = 2_000_000_000  # of private memory: enough for a batch of 80, not for one of 90


def summary_in(cwd: Path) -> dict[str, Any]:
    folder = newest_results(cwd)
    assert folder is not None
    return dict(json.loads((folder / "summary.json").read_text()))


def points(found: dict[str, Any]) -> list[tuple[float, str]]:
    return [(point["value"], point["verdict"]) for point in found["points"]]


@pytest.mark.slow
def test_until_oom(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """The last load that the server has memory for is found and confirmed; what broke it is said; the folder tells all.

    Each point is a trial of one results folder, from which `raybench report` derives the same.
    """
    run = raybench(
        "search", "-s", "fake", "--url", "fake=service_ms=20,oom_above=2", "--until-oom", "--workers", 1,
        "--concurrency", "1,3", "-b", 1, "--images", "noise", "--request-count", 20, "--warmup-request-count", 0,
        cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    (found,) = run.summary["search"]
    assert points(found) == [(1, "held"), (3, "broke"), (2, "held"), (2, "held"), (3, "broke")]
    assert (found["feasible_max"], found["first_breach"], found["is_over"]) == (2, 3, True)
    sentence = "memory holds up to 2 lanes per worker, and not at 3: RESOURCE_EXHAUSTED: scripted: out of memory"
    assert sentence in run.out
    assert len(run.summary["trials"]) == 5
    assert run.folder is not None
    again = raybench("report", run.folder, "--format", "markdown", cwd=tmp_path, env=ray_environment)
    assert sentence in again.out
    assert "| 2 | 2 | 20 | 0 |" in again.out
    resumed = raybench("run", "--resume", run.folder, cwd=tmp_path, env=ray_environment)
    assert (resumed.code, resumed.err.count("that was a search")) == (2, 1)


@pytest.mark.slow
def test_within_a_latency(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """With one request served at a time latency rises with the load: the highest load within the limit is found."""
    run = raybench(
        "search", "-s", "fake", "--url", "fake=service_ms=40,at_once=1", "--latency-threshold", "p50<100ms",
        "--workers", 1, "--concurrency-range", "1:4", "-b", 1, "--images", "noise", "--request-count", 20,
        "--warmup-request-count", 0, cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    (found,) = run.summary["search"]
    assert (found["feasible_max"], found["first_breach"], found["threshold"]) == (2, 3, "p50<100ms")
    assert 10 < found["goodput_rps"] < 26
    assert "p50<100ms holds up to 2 lanes per worker" in run.out
    slowest = max(found["points"], key=lambda point: point["latency_ms"])
    assert slowest["verdict"] == "broke"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_rate_within_a_latency(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """In an open loop no rate above what the server does is found to hold, and hopeless points end early.

    On a busy host the client may be late near the boundary: then the search says so, and that it has no answer.
    """
    run = raybench(
        "search", "-s", "fake", "--url", "fake=service_ms=10,at_once=1", "--latency-threshold", "p90<300ms",
        "--workers", 1, "--request-rate-range", "80:320", "-b", 1, "--images", "noise", "--duration", 10,
        "--warmup-request-count", 0, cwd=tmp_path, env=ray_environment, timeout_s=500,
    )  # fmt: skip
    (found,) = run.summary["search"]
    assert (run.code == 0) is found["is_over"], run.err + run.out
    assert 80 <= found["feasible_max"] <= 100
    if found["is_over"]:
        assert found["first_breach"] <= 1.05 * found["feasible_max"]
    else:
        assert "the client sent late" in found["reason"]
    worst = max(found["points"], key=lambda point: point["value"])
    assert worst["verdict"] == "broke"
    assert worst["requests"] < 0.9 * 10 * worst["value"]  # it ended early


def test_dry_run_has_the_steps_in_their_order(tmp_path: Path) -> None:
    """--dry-run prints the steps as they are climbed, server by server, and measures nothing."""
    run = raybench(
        "search", "-s", "fake", "-m", "a", "-m", "b", "--latency-threshold", "p99<1s", "--request-rate-range", "5:30",
        "--dry-run", cwd=tmp_path, env=dict(os.environ),
    )  # fmt: skip
    assert run.code == 0, run.err
    steps = [line.split("-")[2] + line.split("poisson")[1].split("-")[0] for line in run.out.splitlines()[:-2]]
    assert steps == ["a5", "a10", "a20", "a30", "b5", "b10", "b20", "b30"]
    assert re.search(r"^8 trials; about \d+ min", run.out, re.M)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], "give either --until-oom or --latency-threshold"),
        (["--until-oom", "--latency-threshold", "p99<1s"], "give either --until-oom or --latency-threshold"),
        (["--until-oom"], "give exactly one of --workers, --concurrency and --batch-size"),
        (["--until-oom", "--workers", "1,2", "-b", "1,2"], "give exactly one of"),
        (["--until-oom", "--workers", "2,1"], "workers is 2, 1; give each number once, in rising order"),
        (["--until-oom", "--workers", "1,x"], "workers is 1,x; give a whole number"),
        (["--until-oom", "--workers", "0,1"], "workers is 0; give 1 or more"),
        (["--until-oom", "--workers", "1,2", "--rounds", "3"], "rounds is given; a search repeats deciding steps"),
        (["--until-oom", "--workers", "1,2", "--request-rate", "5"], "request-rate is given; a search sets"),
        (["--until-oom", "--workers", "1,2", "--strict"], "strict is given; a search judges each step"),
        (["--until-oom", "--workers", "1,2", "--max-error-rate", "0.1"], "max-error-rate is given; a failed request"),
        (["--until-oom", "--workers", "1,2", "-s", "local"], "server is local; it has one worker"),
        (["--latency-threshold", "p99<1s"], "give one of --request-rate-range and --concurrency-range"),
        (["--latency-threshold", "p99<1s", "--workers", "1,2", "--concurrency-range", "1:2"], "and no list"),
        (["--latency-threshold", "fast", "--concurrency-range", "1:2"], "latency-threshold is fast; write one like"),
        (["--latency-threshold", "p99<1s", "--concurrency-range", "2:1"], "concurrency-range is 2:1; write one like"),
        (["--latency-threshold", "p99<1s", "--concurrency-range", "1:2.5"], "concurrency-range is 1:2.5; write"),
        (["--latency-threshold", "p99<1s", "--request-rate-range", "1:inf"], "request-rate-range is 1:inf; write"),
        (
            ["--latency-threshold", "p99<1s", "--request-rate-range", "1:2", "--concurrency", "2"],
            "concurrency is 2; it only works in a closed loop",
        ),
        (
            ["--latency-threshold", "p99<1s", "--concurrency-range", "1:2", "--request-count", "100"],
            "request-count is 100; p99<1000ms needs 368 requests",
        ),
        (
            ["--latency-threshold", "p99<1s", "--request-rate-range", "20:600", "--duration", "5"],
            "duration is 5; at 20 requests/s that is 100 requests, and p99<1000ms needs 368: use --duration 22 or more",
        ),
        (
            ["--latency-threshold", "p50<1s", "--request-rate-range", "20:600", "--duration", "5"],
            "duration is 5; a backlog must have time to show: use --duration 20 or more",
        ),
        (
            ["--latency-threshold", "p90<500ms", "--request-rate-range", "50:800", "--request-count", "72"],
            "request-count is 72; at 800 requests/s that is 0.09 s, and a backlog must have 10 s to show",
        ),
    ],
)
def test_a_search_that_cannot_be_is_refused(flags: list[str], said: str, tmp_path: Path) -> None:
    """What is no search is told in one sentence, exit 2, before anything starts."""
    server = [] if "-s" in flags else ["-s", "fake"]
    result = CliRunner().invoke(main, ["search", *server, "--out", str(tmp_path), *flags])
    assert result.exit_code == 2
    assert said in result.output
    assert len(result.output.strip().splitlines()) == 1
    assert os.listdir(tmp_path) == []


def test_help_leaves_out_what_a_search_refuses() -> None:
    """A flag that a search would refuse does not stand in its help; those that it has do."""
    words = set(re.findall(r"--[a-z-]+", CliRunner().invoke(main, ["search", "--help"]).output))
    refused = {"--request-rate", "--threshold", "--rounds", "--strict", "--max-error-rate", "--baseline"}
    assert words & refused == set()
    assert {"--request-rate-range", "--latency-threshold", "--duration", "--max-in-flight"} <= words


def test_the_loads_of_a_yaml_are_refused(tmp_path: Path) -> None:
    """A search has one load, that it varies itself."""
    (tmp_path / "b.yaml").write_text("server: fake\nloads: [{workers: 1}]\n")
    result = CliRunner().invoke(main, ["search", str(tmp_path / "b.yaml"), "--until-oom", "--workers", "1,2"])
    assert (result.exit_code, "loads is given" in result.output) == (2, True)


@pytest.mark.slow
def test_an_interrupted_search_keeps_its_points(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Ctrl-C ends a search in order with 130; what was measured is kept, and it says that it has no answer."""
    command = [
        BIN / "raybench", "search", "-s", "fake", "--url", "fake=service_ms=20", "--until-oom", "--workers", "1",
        "--concurrency", "1,2", "-b", "1", "--images", "noise", "--duration", "30", "--warmup-request-count", "0",
        "--ui", "plain",
    ]  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=tmp_path, env=ray_environment, text=True, **pipes)
    wait_for_line(process, " requests, ")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "the search ended before its answer; no load has held yet" in out
    summary = summary_in(tmp_path)
    assert violations(summary) == []
    (found,) = summary["search"]
    assert [point["verdict"] for point in found["points"]] == ["unknown"]
    assert found["points"][0]["requests"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_triton_out_of_memory(exported: Path, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """A search finds the largest batch that a Triton with limited memory can serve, and says why the next one failed,
    whether Triton refused it or crashed and was restarted."""
    limited = ["prlimit", f"--data={MEMORY_BYTES}"]
    command = [
        *limited, BIN / "raybench", "search", "-s", "triton", "--until-oom", "--workers", "1", "-b", "72,104",
        "-m", MODEL, "--models", exported, "--images", "noise", "--request-count", "2", "--warmup-request-count", "0",
        "--no-verify", "--no-calibrate",
    ]  # fmt: skip
    run = subprocess.run(command, cwd=tmp_path, env=ray_environment, capture_output=True, text=True, timeout=560)
    assert run.returncode == 0, run.stderr + run.stdout
    (found,) = summary_in(tmp_path)["search"]
    assert found["is_over"]
    assert 72 <= found["feasible_max"] < found["first_breach"] <= 104
    assert found["first_breach"] <= 1.05 * found["feasible_max"]
    said = ("a process of the server stopped: triton_python_backend_stub", "OOM when allocating tensor")
    assert any(each in run.stdout for each in said)

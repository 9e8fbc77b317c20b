"""Which trials have a cold start, and that it is the scripted one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import fake_task
from real_parts import TritonUnderTest, raybench

from raybench.config import Benchmark, plan
from raybench.driver import run as run_module
from raybench.servers import RunningServer, ServerFacts
from raybench.servers.start_times import StartTimes
from raybench.worker.load_worker import Worker

WITHIN_S = 0.05
STARTED = StartTimes(ready_s=3.0, warm_up_s=None)


def test_a_run_finds_the_scripted_times(
    triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """A scripted start and first reply are found within 50 ms, in each round; a server by url has no cold start, for
    raybench did not see it start."""
    run = raybench(
        "run", "-s", "fake", "-s", "triton", "--url", "fake=service_ms=20,start_ms=900,first_ms=400",
        "--url", f"triton={triton.url}", "-m", "echo", "--workers", 1, "-b", 1, "--request-count", 20, "--rounds", 2,
        "--details", cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    found: dict[str, list[Any]] = {"fake": [], "triton": []}
    for trial in run.summary["trials"]:
        found[trial["server"]["kind"]].append(trial["cold_start"])
    assert found["triton"] == [None, None]
    for cold in found["fake"]:
        assert cold["ready_s"] == pytest.approx(0.9, abs=WITHIN_S)
        assert cold["warm_up_s"] == 0
        assert cold["first_answer_s"] - cold["ready_s"] == pytest.approx(0.42, abs=WITHIN_S)
        assert cold["steady_s"] > cold["first_answer_s"]
    assert "Cold start" in run.out


def test_a_worker_times_its_opening() -> None:
    """Where the worker is the server, ready is when it is open."""
    worker = Worker(fake_task("start_ms=300"))
    worker.open()
    assert worker.open_s() == pytest.approx(0.3, abs=WITHIN_S)


def test_only_the_first_trial_meets_a_cold_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the trials of one started server the first has its start, the others have none."""
    seen = []

    @contextmanager
    def start_server(*_: Any) -> Iterator[RunningServer]:
        yield RunningServer(url="", facts=ServerFacts(kind="triton"), start=STARTED)

    monkeypatch.setattr(run_module, "start_server", start_server)
    monkeypatch.setattr(run_module, "measure", lambda _trial, _context, server: seen.append(server.start))
    monkeypatch.setattr(run_module, "save", lambda *_: None)
    benchmark = Benchmark(server=("triton",), model=("a", "b", "c"))
    run_module.measure_on_one_server(plan.trials(benchmark), SimpleNamespace(benchmark=benchmark))
    assert seen == [STARTED, None, None]

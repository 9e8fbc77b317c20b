"""Which trials have a cold start, and that it is the scripted one."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import fake_task
from ray import cloudpickle
from real_parts import raybench

from raybench.config import Benchmark, load, plan
from raybench.driver.trial_record import new_record
from raybench.inputs.input_sources import inputs_of
from raybench.inputs.photo_source import demo_signature
from raybench.results.records import StartRecord
from raybench.servers import RunningServer, ServerFacts
from raybench.servers.start_times import StartTimes, once
from raybench.worker.load_worker import Worker

WITHIN_S = 0.05
STARTED = StartTimes(ready_s=3.0, warm_up_s=None)


@pytest.mark.slow
def test_a_run_finds_the_scripted_times(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """A scripted start and first reply are found within 50 ms, in each round."""
    run = raybench(
        "run", "-s", "fake", "--url", "fake=service_ms=20,start_ms=900,first_ms=400", "-m", "echo", "--workers", 1,
        "-b", 1, "--request-count", 20, "--rounds", 2, "--details", cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    found = [trial["cold_start"] for trial in run.summary["trials"]]
    assert len(found) == 2
    for cold in found:
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


def test_only_the_first_trial_meets_a_cold_server(tmp_path: Path) -> None:
    """Of the trials of one started server the first has its start, the others have none; it may come from an actor on
    another node, so it travels."""
    server = RunningServer(url="", facts=ServerFacts(kind="triton"), take_start=once(STARTED))
    there = cloudpickle.loads(cloudpickle.dumps(server))
    trials = plan.trials(Benchmark(server=("triton",), model=("a", "b", "c"), models=str(tmp_path)))
    starts = [new_record(trial, context(tmp_path), there).server_start for trial in trials]
    assert starts == [StartRecord(**vars(STARTED)), None, None]


def context(folder: Path) -> Any:
    """What the record of a trial takes from its run."""
    source = inputs_of(load(None, {})).bind(demo_signature(""), 0)
    inputs = SimpleNamespace(source_of=lambda _: source, skipped_of=lambda _: ())
    return SimpleNamespace(session=SimpleNamespace(models_conf=folder / "models.conf", inputs=inputs))

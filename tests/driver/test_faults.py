"""Faults in the middle of a run: processes killed or stopped from outside, by the pids that the run itself names."""

import os
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from midway import announced, announced_after, ended, pids, started
from real_parts import (
    BIN,
    Family,
    TritonUnderTest,
    eventually,
    measured_rows,
    newest_results,
    raybench,
    small_disk,
    wait_for_line,
)

MODEL = "mobilenet-no-opt"


def gone(processes: list[psutil.Process]) -> bool:
    """Whether all of them have ended within twenty seconds, as a busy host may need."""
    _, alive = psutil.wait_procs(processes, timeout=20)
    return not [each for each in alive if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


def last_sent_ns(folder: Path, trial: str, worker: int) -> int:
    rows = pq.read_table(folder / "samples" / f"{trial}.parquet")
    return int(pc.max(rows.filter(pc.equal(rows["worker"], worker))["done_ns"]).as_py())


@pytest.mark.slow
def test_killed_worker_degrades_its_trial(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """A worker that is killed makes the trial degraded; nothing older than a second of its samples is lost."""
    arguments = ("--workers", 3, "-s", "fake", "--url", "fake=service_ms=5", "--duration", 10, "--strict")
    with started(*arguments, cwd=tmp_path, env=ray_environment) as process:
        victim = announced(tmp_path)["workers"][1]
        killed_ns = time.time_ns()
        os.kill(victim["pid"], signal.SIGKILL)
        code, out, summary = ended(process, tmp_path, ray_environment)
    assert code == 3, out
    (trial,) = summary["trials"]
    assert trial["status"] == "degraded"
    assert "lost worker 1: its actor died" in trial["reason"]
    assert [worker["lost"] is None for worker in trial["workers"]] == [True, False, True]
    folder = newest_results(tmp_path)
    assert folder
    assert killed_ns - last_sent_ns(folder, trial["id"], 1) < 1e9
    assert last_sent_ns(folder, trial["id"], 0) - killed_ns > 3e9  # the others went on
    assert trial["requests"]["failed"] == 0
    assert trial["throughput"]["requests_per_s"] > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_server_that_is_hit_fails_its_trial_alone(
    models: Path, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """A stub that is killed, a Triton that is killed and one that hangs fail their trial, which keeps its rows; the
    next trial has a fresh Triton."""
    arguments = ("--workers", 2, "-s", "triton", "--models", models, "-m", MODEL, "-b", 1, "--duration", 9)
    with started(
        *arguments, "--timeout", 3, "--rounds", 4, "--no-verify", cwd=tmp_path, env=ray_environment
    ) as process:
        took_part = set(psutil.Process(process.pid).children(recursive=True))
        first = announced(tmp_path)
        stubs = pids(first, "triton_python")
        assert len(stubs) == 2  # saved_model and echo
        stub = max(stubs, key=lambda pid: psutil.Process(pid).memory_info().rss)
        os.kill(stub, signal.SIGKILL)
        second = announced_after(first, tmp_path)
        took_part |= set(psutil.Process(process.pid).children(recursive=True))
        (triton,) = pids(second, "tritonserver")
        os.kill(triton, signal.SIGKILL)
        third = announced_after(second, tmp_path)
        took_part |= set(psutil.Process(process.pid).children(recursive=True))
        (triton,) = pids(third, "tritonserver")
        os.kill(triton, signal.SIGSTOP)
        code, out, summary = ended(process, tmp_path, ray_environment)
    assert code == 1, out
    without_stub, killed, hanging, fresh = summary["trials"]
    assert {each["status"] for each in (without_stub, killed, hanging)} == {"failed"}
    assert all(each["requests"]["succeeded"] > 0 for each in summary["trials"])
    assert f"(pid {stub})" in without_stub["reason"]
    assert without_stub["requests"]["failed"] > 0
    assert "the server stopped with exit code 137" in killed["reason"]
    assert killed["requests"]["errors"]["UNAVAILABLE"] < 1000  # no storm against a server that is gone
    assert "no longer answers" in hanging["reason"]
    assert hanging["requests"]["errors"]["DEADLINE_EXCEEDED"] >= 2
    assert fresh["status"] in ("ok", "unstable")  # as steady as this machine is
    assert fresh["requests"]["failed"] == 0
    assert gone(list(took_part))


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupt_keeps_what_was_measured(
    how: signal.Signals, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """Ctrl-C, SIGTERM and a terminal that closes end a run in order: exit 130, the samples on disk, and a report."""
    arguments = ("--workers", 2, "-s", "fake", "--url", "fake=service_ms=20", "--duration", 60)
    with started(*arguments, cwd=tmp_path, env=ray_environment) as process:
        process.send_signal(how)
        code, out, summary = ended(process, tmp_path, ray_environment)
    assert code == 130, out
    assert "interrupted: waiting for requests in flight, at most 60 s; press Ctrl-C again to stop at once" in out
    (trial,) = summary["trials"]
    assert trial["status"] == "interrupted"
    folder = newest_results(tmp_path)
    assert folder
    assert measured_rows(folder, trial["id"]) > 20


@pytest.mark.slow
def test_a_signal_to_the_group_ends_in_order(tmp_path: Path) -> None:
    """SIGTERM to the process group, as `timeout` and CI send it, does not reach the Ray of the run: it is an interrupt,
    the trial is kept, the table printed, the way on named, and nothing is left."""
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    arguments = ("--workers", 2, "-s", "fake", "--url", "fake=service_ms=20", "--duration", 60)
    with started(*arguments, cwd=tmp_path, env=environment, own_group=True) as process:
        took_part = psutil.Process(process.pid).children(recursive=True)
        os.killpg(process.pid, signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        code, out, summary = ended(process, tmp_path, environment)
    assert code == 130, out
    (trial,) = summary["trials"]
    assert (trial["status"], trial["requests"]["failed"]) == ("interrupted", 0)
    assert trial["requests"]["succeeded"] > 20
    assert "fake: interrupted" in out
    assert "Error: interrupted during the step “trial 1/1: " in out
    assert f"measure the rest with: raybench run --resume results/{newest_results(tmp_path).name}" in out  # type: ignore[union-attr]
    assert gone(took_part)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["raylet", "gcs_server"])
def test_a_lost_ray_costs_no_sample(name: str, tmp_path: Path) -> None:
    """Where a part of Ray is killed the run ends with a sentence that names it, a table of what was measured until
    then, how to go on, and exit 1; nothing is left."""
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    arguments = ("--workers", 2, "-s", "fake", "--url", "fake=service_ms=20", "--duration", 60)
    with started(*arguments, cwd=tmp_path, env=environment) as process:
        took_part = psutil.Process(process.pid).children(recursive=True)
        (victim,) = [each for each in took_part if each.name() == name]
        victim.kill()
        code, out, summary = ended(process, tmp_path, environment)
    assert code == 1, out
    lost = f"Ray's {name} (pid {victim.pid}) ended during the step “trial 1/1: "
    assert f"Error: {lost}" in out
    assert "Traceback" not in out
    (trial,) = summary["trials"]
    assert trial["status"] == "interrupted"
    assert lost in trial["reason"]
    assert trial["requests"]["succeeded"] > 20
    assert trial["throughput"]["requests_per_s"] > 0
    assert "fake: interrupted" in out
    assert "measure the rest with: raybench run --resume" in out
    assert gone(took_part)


@pytest.mark.slow
def test_an_interrupt_while_ray_starts(tmp_path: Path) -> None:
    """SIGTERM before Ray is up is an interrupt with a sentence, exit 130, and leaves nothing."""
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    command = [BIN / "raybench", "run", "-s", "fake", "--workers", "2"]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=pipe, stderr=pipe, text=True)
    family = Family(process.pid)
    assert eventually(lambda: bool(family.named("gcs_server")), 60)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "Error: interrupted during the step “starting Ray”"
    assert "Traceback" not in err
    assert family.is_gone()


@pytest.mark.slow
def test_an_interrupt_during_verification_costs_no_trial(
    triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """A trial whose last reply is in has been measured: Ctrl-C while its answers are compared makes it no other."""
    command = [
        BIN / "raybench", "run", "-s", "triton", "--url", f"triton={triton.url}", "-m", MODEL, "-b", "1",
        "--request-count", "20", "--workers", "2", "--models", triton.models, "--rounds", "2",
    ]  # fmt: skip
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=tmp_path, env=ray_environment, text=True, **pipes)
    wait_for_line(process, "checking the answers")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 130, out
    folder = newest_results(tmp_path)
    assert folder
    (trial,) = raybench("report", folder, cwd=tmp_path, env=ray_environment).summary["trials"]
    assert (trial["status"], trial["requests"]["succeeded"]) == ("ok", 20)
    assert trial["verification"]["agrees"] is None
    assert trial["verification"]["reason"] == "interrupted before the answers were compared"


@pytest.mark.slow
@pytest.mark.parametrize("how", ["kill -9", "Ctrl-C twice"])
def test_ended_at_once_leaves_nothing(how: str, models: Path, tmp_path: Path) -> None:
    """After kill -9 or a second Ctrl-C no server, stub, Ray part, worker or shared memory is left, and a report is."""
    environment = {**os.environ, "HOME": str(tmp_path / "home")}
    arguments = ("--workers", 2, "-s", "fake", "-s", "triton", "--models", models, "-m", MODEL, "-b", 1)
    with started(*arguments, "--duration", 12, cwd=tmp_path, env=environment) as process:
        folder = newest_results(tmp_path)
        assert folder
        assert eventually(lambda: list((folder / "trials").glob("*.json")) != [] and bool(announced(tmp_path)), 60)
        time.sleep(3)
        took_part = psutil.Process(process.pid).children(recursive=True)
        assert {"tritonserver", "raylet", "gcs_server"} <= {each.name() for each in took_part}
        if how == "kill -9":
            process.kill()
        else:
            process.send_signal(signal.SIGINT)
            time.sleep(0.3)
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=3) == 130
        process.wait(timeout=3)
        assert gone(took_part)
        assert not [path for each in took_part for path in Path("/dev/shm").glob(f"raybench-{each.pid}-*")]
    again = raybench("report", folder, cwd=tmp_path, env=environment)
    assert again.code == 0, again.err
    assert sorted(trial["status"] for trial in again.summary["trials"]) == ["interrupted", "ok"]


@pytest.mark.slow
def test_full_disk_ends_the_run(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """A disk that fills up ends the run with one sentence and exit 1; earlier trials are intact and reported."""
    out = tmp_path / "results"
    with small_disk(out, "1200k"):
        arguments = ("--workers", 1, "-s", "fake", "--url", "fake=service_ms=1", "--request-count", 3000)
        with started(*arguments, "--rounds", 9, cwd=tmp_path, env=ray_environment) as process:
            folder = newest_results(tmp_path)
            assert folder
            assert eventually(lambda: list((folder / "trials").glob("*.json")) != [], 60)
            with suppress(OSError), (out / "fills").open("wb") as fills:
                while True:
                    fills.write(bytes(1000))
                    fills.flush()
            printed, err = process.communicate(timeout=150)
        assert process.returncode == 1, printed + err
        assert "Error: " in err
        assert "No space left on device; what was measured before is intact" in err
        assert "Traceback" not in err
        (out / "fills").unlink()
        summary = raybench("report", folder, cwd=tmp_path, env=ray_environment).summary
        assert [trial["requests"]["succeeded"] for trial in summary["trials"] if trial["status"] == "ok"][:1] == [3000]
        assert not list(folder.rglob("*.tmp"))

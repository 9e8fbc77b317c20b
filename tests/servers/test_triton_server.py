"""A real Triton of ours, from its start to its end."""

import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from raybench.servers import triton_server
from raybench.servers.server_process import ServerError, ServerProcess, wait_until
from raybench.servers.triton_server import TritonOptions, running_triton

HAS_TENSORFLOW_BYTES = 250 * 2**20  # before, the stub may hold a lock, and Triton ends by itself
STALL_S = 5.0  # of Triton; a stub that stands still for over a second is dead to it


def stall(stopped: list[int]) -> None:
    """Let the first new process that loads the SavedModels stand still for 3 s."""
    there = set(psutil.Process().children(recursive=True))
    while not stopped:
        for process in set(psutil.Process().children(recursive=True)) - there:
            try:
                words, has_tensorflow = process.cmdline(), process.memory_info().rss > HAS_TENSORFLOW_BYTES
            except psutil.Error:
                continue
            if "saved_model_0_0" in words and has_tensorflow:
                stopped.append(process.pid)
                process.send_signal(signal.SIGSTOP)
                time.sleep(3)
                process.send_signal(signal.SIGCONT)
                return
        time.sleep(0.05)


@pytest.mark.slow
def test_a_triton_that_waits_for_nothing_is_started_again(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A moment without CPU while a model loads, which hangs Triton, costs a user a second start and no run."""
    monkeypatch.setattr(triton_server, "STALL_S", STALL_S)
    stopped: list[int] = []
    staller = threading.Thread(target=stall, args=(stopped,), daemon=True)
    staller.start()
    with running_triton(TritonOptions(models_conf=models / "models.conf")) as running:
        assert running.is_ready()
        assert stopped
        assert not psutil.pid_exists(stopped[0])
    staller.join(timeout=10)


@pytest.mark.parametrize(("said", "starts"), [("boost::interprocess::lock_exception", 2), ("no such option", 1)])
def test_a_triton_that_fails_by_chance_is_started_again(
    said: str, starts: int, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lock that Triton's python backend loses on a busy host costs a second start; any other end is an error."""
    started: set[ServerProcess] = set()

    def wait(is_ready: Callable[[], bool], process: ServerProcess, **more: Any) -> None:
        started.add(process)
        if len(started) == 1:
            raise ServerError(f"Triton stopped with exit code 134 before it was ready: {said}")
        wait_until(is_ready, process, **more)

    monkeypatch.setattr(triton_server, "wait_until", wait)
    with suppress(ServerError), running_triton(TritonOptions(models_conf=models / "models.conf", models=())) as running:
        assert running.is_ready()
    assert len(started) == starts

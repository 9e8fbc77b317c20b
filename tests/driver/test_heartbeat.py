"""Signs of life of workers: who is asked, and who is lost; and what is not waited for."""

import logging
import subprocess
import sys
import time
from threading import Event
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from raybench.driver import ray_nodes
from raybench.driver.heartbeat import Heartbeat


class Calls:
    """Stands for actors: what was asked of each, and Ray's answers, which are those of `alive`."""

    def __init__(self, alive: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s, self.asked = 0.0, list[int]()
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)
        monkeypatch.setattr(ray, "wait", lambda refs, **_: ([each for each in refs if each[0] in alive], []))
        monkeypatch.setattr(ray, "get", lambda ref: ref)

    def actor(self, number: int) -> Any:
        return SimpleNamespace(clock_ns=SimpleNamespace(remote=lambda: self._ask(number)))

    def _ask(self, number: int) -> tuple[int, float]:
        self.asked.append(number)
        return number, self.now_s


def turns(heartbeat: Heartbeat, calls: Calls, seconds: int, sends: int | None = None) -> list[int]:
    """Who is lost after so many turns of a second, in which one worker `sends`."""
    silent = list[int]()
    for _ in range(seconds):
        calls.now_s += 1
        if sends is not None:
            heartbeat.heard(sends)
        silent = heartbeat.turn([0, 1, 2])
    return silent


def test_only_who_gives_no_sign_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who sends samples is not asked; who is silent is asked, and lives if it answers; who does not answer is lost."""
    calls = Calls({1}, monkeypatch)
    heartbeat = Heartbeat([calls.actor(number) for number in range(3)], timeout_s=10)
    assert turns(heartbeat, calls, 10, sends=0) == []
    assert turns(heartbeat, calls, 1, sends=0) == [2]
    assert 0 not in calls.asked
    assert calls.asked.count(2) == 1  # what it has not answered yet is not asked again


def test_a_driver_that_stood_still_loses_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """A driver that was suspended has heard nobody meanwhile: that says nothing about the workers."""
    calls = Calls(set(), monkeypatch)
    heartbeat = Heartbeat([calls.actor(number) for number in range(3)], timeout_s=10)
    calls.now_s += 3600
    assert heartbeat.turn([0, 1, 2]) == []


def test_images_are_not_waited_for_without_a_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would let tasks wait forever where no node with a CPU is left; the run ends with a sentence."""
    monkeypatch.setattr(ray_nodes, "cpus", lambda: 0)
    assert ray_nodes.while_there_are_cpus(lambda: "made") == "made"
    with pytest.raises(ray_nodes.LostError, match="has no free CPU"):
        ray_nodes.while_there_are_cpus(lambda: Event().wait(60))
    with pytest.raises(KeyError):
        ray_nodes.while_there_are_cpus(lambda: {}["none"])


def test_a_call_after_the_end_joins_no_ray() -> None:
    """What still calls Ray when a run has ended, as a thread that made images may, neither starts nor joins one."""
    late = "import raybench.driver.ray_nodes, ray; ray.put(1)"
    done = subprocess.run([sys.executable, "-c", late], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "must be called" in done.stderr or "not been started" in done.stderr, done.stderr


def test_an_interrupted_wait_for_inputs_is_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C while inputs are made is no error of Ray Data, whose thread would log one when Ray ends under it."""

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    logger = logging.getLogger("ray.data.exceptions")
    monkeypatch.setattr(logger, "disabled", False)
    monkeypatch.setattr(ray_nodes.Future, "exception", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ray_nodes.while_there_are_cpus(lambda: Event().wait(60))
    assert logger.disabled

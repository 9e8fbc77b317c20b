"""The stopwatch of a start, against models whose initialize takes a known time."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import psutil
import pytest
import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from raybench.servers.server_process import free_ports, listens
from raybench.servers.start_times import covered_s
from raybench.servers.triton_server import TritonOptions, running_triton

SLEEPING = """
import time

class TritonPythonModel:
    @staticmethod
    def auto_complete_config(config):
        return config

    def initialize(self, args):
        with open({note!r}, "w") as file:
            file.write(str(time.monotonic()))
        time.sleep({seconds})

    def execute(self, requests):
        return [None for _ in requests]
"""
STARTS, WITHIN_S = 3, 0.05


class Watch:
    """When a server says ready on the clock of the host's uptime, by a look every few milliseconds."""

    def __init__(self, port: int) -> None:
        self.port, self.ready_at_s, self.is_over = port, float("nan"), threading.Event()

    def look(self) -> None:
        while not self.is_over.wait(0.005):
            if listens(f"127.0.0.1:{self.port}") and self._is_ready():
                self.ready_at_s = uptime_s()
                return

    def _is_ready(self) -> bool:
        with triton_grpc.InferenceServerClient(f"127.0.0.1:{self.port}") as client:
            try:
                return bool(client.is_server_ready(client_timeout=2))
            except InferenceServerException:
                return False


def uptime_s() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def spawned_at_s(pid: int | None) -> float:
    """When the supervisor of a server was spawned, by the kernel's own note (proc(5), starttime)."""
    supervisor = psutil.Process(pid).parent()
    assert supervisor
    fields = Path(f"/proc/{supervisor.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / 100  # USER_HZ


@contextmanager
def watched(port: int) -> Iterator[Watch]:
    watch = Watch(port)
    thread = threading.Thread(target=watch.look)
    thread.start()
    try:
        yield watch
    finally:
        watch.is_over.set()
        thread.join()


class Start(NamedTuple):
    """How long a Triton took, by raybench and by a stopwatch of the test, and the part of the former from when on its
    model was in initialize."""

    ready_s: float
    own_s: float
    initialized_s: float


def started(models: Path, folder: Path, sleep_s: float) -> Start:
    """The start of a Triton whose model sleeps in initialize."""
    backend, note = folder / "model.py", folder / "note"
    backend.write_text(SLEEPING.format(seconds=sleep_s, note=str(note)))
    (port,) = free_ports(1)
    options = TritonOptions(models_conf=models / "models.conf", models=("scale",), backend=backend, grpc_port=port)
    with watched(port) as watch, running_triton(options) as server:
        ready_s, spawned_s = server.start.ready_s, time.monotonic() - server.process.age_s()
        initialized_s = spawned_s + ready_s - float(note.read_text())
        return Start(ready_s, watch.ready_at_s - spawned_at_s(server.pid), initialized_s)


@pytest.mark.slow
def test_a_model_that_sleeps_is_ready_that_much_later(models: Path, tmp_path: Path) -> None:
    """The time to ready is that of an own stopwatch, and a model that sleeps 1.5 s longer in initialize is ready 1.5 s
    later, each within 50 ms: medians, as other processes take the CPU, and from initialize on, as the time until then
    varies by tenths of a second."""
    starts = {sleep_s: [started(models, tmp_path, sleep_s) for _ in range(STARTS)] for sleep_s in (0.5, 2.0)}
    assert median(abs(each.ready_s - each.own_s) for of_one in starts.values() for each in of_one) < WITHIN_S, starts
    short, long = (median(each.initialized_s for each in of_one) for of_one in starts.values())
    assert long - short == pytest.approx(1.5, abs=WITHIN_S), starts


@pytest.mark.parametrize(
    ("spans", "seconds"),
    [([], 0), ([(1, 3)], 2), ([(5, 6), (1, 3)], 3), ([(1, 4), (2, 3), (3, 6)], 5)],
)
def test_calls_at_once_count_once(spans: list[tuple[float, float]], seconds: float) -> None:
    """Models that load beside each other warm up in the same time, which is not added up."""
    assert covered_s(spans) == seconds

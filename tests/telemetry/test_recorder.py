"""What a server costs, read beside its trials: its process tree, the workers, the host, the GPUs."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import pytest
from gpu_parts import APPS, DATA, HEAD, LINE, READS_GPUS, UUID, program
from helpers import wait_until

from raybench.telemetry import recorder
from raybench.telemetry.process_usage import Tree, host_usage, pss_mib
from raybench.telemetry.recorder import Recorder, recording, recording_page
from raybench.telemetry.telemetry_buffer import Telemetry
from raybench.telemetry.telemetry_schema import BASELINE, DRAINED, IDLE, LOAD, SCHEMA, WARM

IDLES = "print(flush=True); import time; time.sleep(600)"
HOLDS_64_MIB = "held = bytearray(b'x' * 2**26); print(flush=True); import time; time.sleep(600)"


@contextmanager
def child(code: str) -> Iterator["subprocess.Popen[str]"]:
    """A Python process that has printed its first line; killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def _without_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")


def rows(telemetry: Telemetry, kind: str, phase: str | None = None) -> list[dict[str, Any]]:
    return [r for r in telemetry.rows.to_pylist() if r["kind"] == kind and phase in (None, r["phase"])]


def test_memory_and_cpu_of_a_process() -> None:
    """A process that holds 64 MiB and has worked shows them; its own pages are in its PSS too, where that is asked."""
    with child(HOLDS_64_MIB) as process:
        plain, whole = Tree(process.pid).usage(), Tree(process.pid).usage(with_pss=True)
    assert plain
    assert whole
    assert 64 < plain.rss_mib < 512
    assert plain.cpu_s > 0
    assert plain.pss_mib is None
    assert 64 < (whole.pss_mib or 0) < whole.rss_mib


def test_descendants_count() -> None:
    """A server's memory is that of its whole process tree: Triton's models live in its stubs."""
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {HOLDS_64_MIB!r}], stdout=-1);"
    code += "p.stdout.readline(); print(p.pid, flush=True); p.wait()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    grandchild = int(process.stdout.readline())
    try:
        tree, alone = Tree(process.pid), Tree(grandchild).usage()
        usage = tree.usage(with_pss=True)
        root = Tree(process.pid, is_alone=True).usage()
        assert usage
        assert alone
        assert root
        assert usage.rss_mib > root.rss_mib
        assert usage.rss_mib > alone.rss_mib > 64
        assert tree.pids() == {process.pid, grandchild}
    finally:
        os.kill(grandchild, 9)
        process.communicate()


def test_descendants_that_come_later_count() -> None:
    """A stub that Triton starts after a reload is found, though not every reading looks for it."""
    code = "import subprocess, sys; print(flush=True); sys.stdin.readline();"
    code += f"subprocess.Popen([sys.executable, '-c', {HOLDS_64_MIB!r}]).wait()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdin
        assert process.stdout
        process.stdout.readline()
        tree = Tree(process.pid)
        assert tree.usage()
        assert tree.pids() == {process.pid}
        process.stdin.write("\n")
        process.stdin.flush()
        wait_until(lambda: tree.usage() and len(tree.pids()) == 2)
    finally:
        for each in [*psutil.Process(process.pid).children(), psutil.Process(process.pid)]:
            each.kill()
        process.communicate()


def test_a_process_that_is_gone_has_no_memory() -> None:
    """What a process used that has ended is unknown, not 0."""
    with child("print()") as process:
        tree = Tree(process.pid)
        process.wait()
        assert tree.usage() is None
        assert pss_mib(process.pid) is None


def test_a_server_that_died_has_no_memory_either() -> None:
    """A server that died under load, and that nobody has waited for yet, uses an unknown amount of memory, not 0."""
    with child(IDLES) as process:
        tree = Tree(process.pid)
        assert tree.usage()
        os.kill(process.pid, 9)
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
        assert tree.usage() is None
        assert Tree(process.pid).usage() is None


def test_the_host_has_memory_in_use() -> None:
    """What nobody else can have of the host's memory is in use, and no more than there is."""
    assert 0 < host_usage().used_mib < psutil.virtual_memory().total / 2**20
    assert host_usage().swapped_mib >= 0


@pytest.mark.usefixtures("_without_gpus")
def test_a_phase_ends_with_a_reading() -> None:
    """Each phase has a last reading of server, worker and host at its end, with PSS, however short it was."""
    with child(HOLDS_64_MIB) as server, child(IDLES) as worker, recording() as it:
        it.start(BASELINE)
        it.set_phase(IDLE)
        it.watch(server.pid, [worker.pid])
        for phase in (None, WARM, LOAD, DRAINED, None):
            it.set_phase(phase)
        found = it.snapshot()
    assert [row["phase"] for row in rows(found, "process")] == [IDLE, WARM, LOAD, DRAINED]
    assert [row["phase"] for row in rows(found, "host")] == [BASELINE, IDLE, WARM, LOAD, DRAINED]
    assert {row["id"] for row in rows(found, "worker")} == {str(worker.pid)}
    assert all(row["pss_mib"] > 64 for row in rows(found, "process"))
    times = found.rows["time_ns"].to_pylist()
    assert times == sorted(times)
    assert 0 <= time.time_ns() - times[0] < 60e9


@pytest.mark.usefixtures("_without_gpus")
def test_a_phase_is_read_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within a phase there are readings at an interval, without PSS, which would hold the server up."""
    monkeypatch.setattr(recorder, "_INTERVAL_S", 0.02)
    with child(HOLDS_64_MIB) as server, recording() as it:
        it.start(LOAD)
        it.watch(server.pid)
        wait_until(lambda: len(rows(it.snapshot(), "process")) >= 3)
        found = rows(it.snapshot(), "process", LOAD)
    assert {row["pss_mib"] for row in found} == {None}
    assert all(row["rss_mib"] > 64 for row in found)


@pytest.mark.usefixtures("_without_gpus")
def test_the_next_trial_keeps_the_servers_own_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows from before the load are of the server and stand with each of its trials; those of a trial are its own; and
    a new server begins with nothing."""
    monkeypatch.setattr(recorder, "_INTERVAL_S", 60)
    with recording() as it:
        it.start(BASELINE)
        for phase in (IDLE, None, WARM, LOAD, None):
            it.set_phase(phase)
        assert [row["phase"] for row in rows(it.snapshot(), "host")] == [BASELINE, IDLE, WARM, LOAD]
        it.set_phase(WARM)
        assert [row["phase"] for row in rows(it.snapshot(), "host")] == [BASELINE, IDLE]
        it.start(BASELINE)
        assert len(it.snapshot().rows) == 0


@pytest.mark.usefixtures("_without_gpus")
def test_a_baseline_waits_for_the_workers_before_it() -> None:
    """A worker that is still ending holds memory that is nobody's baseline, as of the GPU that TensorFlow had in it."""
    with child(IDLES) as worker, recording() as it:
        it.watch(None, [worker.pid])
        beginning = Thread(target=it.start, args=(BASELINE,))
        beginning.start()
        beginning.join(0.2)
        assert beginning.is_alive()
        worker.kill()
        beginning.join(recorder._GONE_S / 2)
        assert not beginning.is_alive()


@pytest.mark.usefixtures("_without_gpus")
def test_nothing_is_read_between_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the calibration does to a server is not its trial's cost; nothing to record is an empty table."""
    monkeypatch.setattr(recorder, "_INTERVAL_S", 0.01)
    with recording() as it:
        time.sleep(0.1)
        found = it.snapshot()
    assert (len(found.rows), found.rows.schema, found.gpu_source, found.problems) == (0, SCHEMA, None, ())


@pytest.mark.usefixtures("_without_gpus")
def test_a_server_that_ends_leaves_its_rows() -> None:
    """When a server dies under load, what was recorded of it stays, and no 0 is added."""
    with child(HOLDS_64_MIB) as process, recording() as it:
        it.start(WARM)
        it.watch(process.pid)
        it.set_phase(LOAD)
        process.kill()
        process.wait()
        it.set_phase(None)
        found = rows(it.snapshot(), "process")
    assert [row["phase"] for row in found] == [WARM]
    assert found[0]["rss_mib"] > 64


def test_gpus_and_who_is_on_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the host has GPUs, a phase does not end before they were read in it; each process on them is the server's,
    another's, or, where it cannot be seen from here, of unknown owner."""
    with child(IDLES) as server:
        apps = [f"2026/11/22 13:54:00.139, {UUID}, {pid}, x, {mib}" for pid, mib in ((server.pid, 5), (os.getpid(), 6))]
        apps += [f"2026/11/22 13:54:00.139, {UUID}, 4194305, [Not Found], 7"]  # above the largest pid of Linux
        of_gpus = f"while true; do echo '{LINE}'; sleep 0.05; done;;"
        of_apps = "while true; do " + " ".join(f"echo '{line}';" for line in apps) + " sleep 0.05; done;;"
        program(tmp_path, monkeypatch, READS_GPUS, f"echo '{HEAD}'; {of_gpus}", f"*) echo '{APPS}'; {of_apps}", "esac")
        with recording() as it:
            it.start(IDLE)
            it.watch(server.pid)
            it.set_phase(LOAD)
            wait_until(lambda: len(rows(it.snapshot(), "gpu_process", LOAD)) >= 3)
            found = it.snapshot()
    assert len(rows(found, "gpu", IDLE)) >= 1
    assert {(r["id"], r["gpu_used_mib"], r["gpu_sm_clock_mhz"], r["source"]) for r in rows(found, "gpu")} == {
        (UUID, 591.0, 1980.0, "nvidia-smi")
    }
    owners = {(row["id"], row["owner"], row["gpu_used_mib"]) for row in rows(found, "gpu_process", LOAD)}
    assert owners == {(str(server.pid), "server", 5), (str(os.getpid()), "other", 6), ("4194305", "unknown", 7)}
    assert (found.gpu_source, found.problems) == ("nvidia-smi", ())
    assert found.node == os.uname().nodename


def test_gpus_that_fall_silent_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An nvidia-smi that hangs is a problem, told once, with the time; phases go on without it."""
    monkeypatch.setattr(recorder, "_INTERVAL_S", 0.02)
    monkeypatch.setattr(recorder, "_SILENT_S", 0.2)
    monkeypatch.setattr(recorder, "_FRESH_S", 0.1)
    program(tmp_path, monkeypatch, READS_GPUS, f"echo '{HEAD}'; echo '{LINE}';;", "esac; exec sleep 600")
    with recording() as it:
        it.start(LOAD)
        wait_until(lambda: it.snapshot().problems)
        it.set_phase(DRAINED)
        it.set_phase(None)
        found = it.snapshot()
    (problem,) = found.problems
    assert (problem.source, problem.text) == ("nvidia-smi", "it printed nothing for 0 s")
    assert 0 <= time.time_ns() - problem.time_ns < 60e9


def test_a_gpu_that_is_told_of_no_more_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two GPUs one falls off and the other is read on: that is a problem, with its uuid."""
    monkeypatch.setattr(recorder, "_INTERVAL_S", 0.02)
    monkeypatch.setattr(recorder, "_SILENT_S", 0.3)
    other = LINE.replace(UUID, "GPU-0")
    goes_on = f"echo '{HEAD}'; echo '{LINE}'; while true; do echo '{other}'; sleep 0.05; done;;"
    program(tmp_path, monkeypatch, READS_GPUS, goes_on, "esac; exec sleep 600")
    with recording() as it:
        it.start(LOAD)
        wait_until(lambda: it.snapshot().problems)
        found = it.snapshot()
    (problem,) = found.problems
    assert problem.text == f"it no longer reports one of the GPUs ({UUID})"


@contextmanager
def served(page: str) -> Iterator[str]:
    """A url that answers with this page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(page.encode())

        def log_message(self, *words: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Page)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        server.server_close()


def test_gpus_of_a_host_that_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a Triton on no node of ours the GPUs are known by its own metrics, marked as such; that page's end is told."""
    monkeypatch.setattr(recorder, "_PAGE_INTERVAL_S", 0.1)
    with served((DATA / "triton-metrics.txt").read_text()) as url, recording_page(url) as it:
        it.start(LOAD)
        wait_until(lambda: len(it.snapshot().rows) >= 2)
        found = it.snapshot()
    (row, *_) = found.rows.to_pylist()
    assert (row["kind"], row["gpu_used_mib"], row["gpu_utilization_pct"], row["source"]) == ("gpu", 3420.0, 64.0, url)
    assert (found.node, found.gpu_source, found.problems) == (None, url, ())


def test_a_page_that_ends_is_told() -> None:
    """Where a Triton's metrics are gone in the middle, that is a problem; a page that never was is none."""
    it = Recorder(None)
    it.start(LOAD)
    it.read_page("http://127.0.0.1:9/metrics")
    assert it.snapshot().problems == ()
    with served((DATA / "triton-metrics.txt").read_text()) as url:
        it.read_page(url)
    it.read_page(url)
    assert [(problem.source, problem.text) for problem in it.snapshot().problems] == [
        (url, "it no longer reports any GPU")
    ]

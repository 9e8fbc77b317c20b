"""What the servers cost while they are loaded."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path

import psutil
import pytest
from helpers import wait_until

from raybench.telemetry import gpu, recorder
from raybench.telemetry.gpu import GpuReading
from raybench.telemetry.process import tree_usage
from raybench.telemetry.triton import Statistics, difference

UUID = "GPU-2f7d1c1e-9a37-5b6c-8f0e-6d1f0a3b4c5d"
HOLDS_64_MIB = "held = bytearray(b'x' * 2**26); print(flush=True); import time; time.sleep(600)"


@contextmanager
def child(code: str) -> Iterator[subprocess.Popen]:
    """A Python process that has printed its first line; killed at the end."""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    try:
        process.stdout.readline()
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A program nvidia-smi that prints lines that one printed, notes its pid and goes on until it is killed."""
    lines = [f"{UUID}, 0, 0", f"{UUID}, 41, 0", f"{UUID}, 591, 2"]
    path = tmp_path / "nvidia-smi"
    path.write_text(
        "\n".join(["#!/bin/sh", f"echo $$ > {tmp_path}/pid", *(f"echo '{x}'" for x in lines), "exec sleep 600"])
    )
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return tmp_path


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("line", "reading"),
    [
        (f"{UUID}, 0, 0", GpuReading(UUID, 0.0, 0.0)),
        (f"{UUID}, 591, 2\n", GpuReading(UUID, 591.0, 2.0)),
        (f"{UUID}, 591, [N/A]", GpuReading(UUID, 591.0, None)),
        (f"{UUID}, [Not Supported], [N/A]", GpuReading(UUID, None, None)),
        (f"{UUID}, 1e999, -1", GpuReading(UUID, None, None)),  # a fuzzer's: JSON has no infinity
        (f"{UUID}, nan, 2", GpuReading(UUID, None, 2.0)),
        (
            "MIG-5c1e1f8e-0000-5b6c-8f0e-6d1f0a3b4c5d, 12, [N/A]",
            GpuReading("MIG-5c1e1f8e-0000-5b6c-8f0e-6d1f0a3b4c5d", 12.0, None),
        ),
    ],
)
def test_a_line_of_nvidia_smi_is_a_reading(line: str, reading: GpuReading) -> None:
    """Memory in MiB and utilization in percent are read as nvidia-smi gives them; what it cannot say is null."""
    assert gpu.parse(line) == reading


@pytest.mark.parametrize(
    "line",
    [
        "",
        "timestamp, memory.used [MiB], utilization.gpu [%], power.draw [W]",
        "2026/11/22 13:54:00.139, 591, 2, 90.42",
        "2026/11/22 13:54:00.893, 468, /opt/raybench/pytriton/tritonserver/bin/tritonserver, 582",
        "uuid, memory.used [MiB], utilization.gpu [%]",
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "No devices were found",
        UUID,
    ],
)
def test_other_lines_of_nvidia_smi_are_no_reading(line: str) -> None:
    """Heads, answers to other queries and a driver's complaints are not taken for readings."""
    assert gpu.parse(line) is None


def test_readings_come_as_they_are_printed(nvidia_smi: Path) -> None:
    """GPU readings stream from one long-lived nvidia-smi, which ends with the trial."""
    with gpu.readings(200) as lines:
        assert [reading.used_mib for reading in islice(lines, 3)] == [0, 41, 591]
        pid = int((nvidia_smi / "pid").read_text())
        assert is_alive(pid)
    assert not is_alive(pid)


def test_a_host_without_nvidia_smi_has_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without nvidia-smi GPU memory is unknown, and nothing fails."""
    monkeypatch.setenv("PATH", "")
    with gpu.readings(200) as lines:
        assert lines is None


def test_memory_and_cpu_of_a_process() -> None:
    """A process that holds 64 MiB and has worked shows them."""
    with child(HOLDS_64_MIB) as process:
        rss_mib, cpu_s = tree_usage(process.pid)
    assert 64 < rss_mib < 512
    assert cpu_s > 0


def test_descendants_count() -> None:
    """A server's memory is that of its whole process tree: Triton's models live in its stubs."""
    code = f"import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {HOLDS_64_MIB!r}], stdout=-1);"
    code += "p.stdout.readline(); print(p.pid, flush=True); p.wait()"
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    grandchild = int(process.stdout.readline())
    try:
        assert tree_usage(process.pid)[0] > tree_usage(grandchild)[0] > 64
    finally:
        os.kill(grandchild, 9)
        process.communicate()


def test_a_process_that_is_gone_has_no_memory() -> None:
    """What a process used that has ended is unknown, not 0."""
    with child("print()") as process:
        process.wait()
        assert tree_usage(process.pid) is None


def test_a_server_that_died_has_no_memory_either() -> None:
    """A server that died under load, and that nobody has waited for yet, uses an unknown amount of memory, not 0."""
    with child("print()") as process:
        wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
        assert tree_usage(process.pid) is None


def test_a_recording_has_rows_of_the_server_from_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is recorded beside a trial, again and again, under the server's pid and the time of each reading."""
    monkeypatch.setenv("PATH", "")
    before = time.time_ns()
    with child(HOLDS_64_MIB) as process, recorder.recording(process.pid) as recorded:
        wait_until(lambda: len(recorded.table()) >= 2)
        rows = recorded.table().to_pylist()
    assert {(row["kind"], row["id"], row["gpu_used_mib"]) for row in rows} == {("process", str(process.pid), None)}
    assert all(row["rss_mib"] > 64 for row in rows)
    assert before <= rows[0]["time_ns"] < rows[1]["time_ns"] <= time.time_ns()


def test_a_recording_has_rows_of_the_gpus(nvidia_smi: Path) -> None:
    """Where the host has GPUs, each reading is a row with the GPU's uuid; what is not its own is null."""
    with recorder.recording(None) as recorded:
        wait_until(lambda: len(recorded.table()) >= 3)
        rows = recorded.table().to_pylist()
    assert [
        (row["kind"], row["id"], row["gpu_used_mib"], row["gpu_utilization_pct"], row["rss_mib"]) for row in rows
    ] == [("gpu", UUID, mib, pct, None) for mib, pct in ((0, 0), (41, 0), (591, 2))]
    assert not is_alive(int((nvidia_smi / "pid").read_text()))


def test_a_server_that_ends_leaves_its_rows() -> None:
    """When a server dies under load, what was recorded of it stays, and no 0 is added."""
    with child(HOLDS_64_MIB) as process, recorder.recording(process.pid) as recorded:
        wait_until(lambda: len(recorded.table()) >= 1)
        process.kill()
        process.wait()
        time.sleep(1.2)
        rows = [row for row in recorded.table().to_pylist() if row["kind"] == "process"]
    assert rows
    assert all(row["rss_mib"] > 0 for row in rows)


def test_nothing_to_record_is_no_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server elsewhere, on a host without GPU, leaves an empty table of the same schema."""
    monkeypatch.setenv("PATH", "")
    with recorder.recording(None) as recorded:
        pass
    assert (len(recorded.table()), recorded.table().schema) == (0, recorder.SCHEMA)


COUNTED = Statistics(
    success=10,
    fail=1,
    executions=5,
    cache_hit=2,
    cache_miss=8,
    queue_ns=7,
    compute_input_ns=1,
    compute_infer_ns=9,
    compute_output_ns=2,
)
LATER = replace(COUNTED, success=30, executions=9, cache_miss=9, queue_ns=8, compute_input_ns=3, compute_infer_ns=99)


def test_server_statistics_are_of_the_trial_alone() -> None:
    """Triton counts since it loaded the model; a trial reports the difference."""
    found = difference(COUNTED, LATER)
    assert (found["success"], found["fail"], found["executions"]) == (20, 0, 4)
    assert (found["cache_hit"], found["cache_miss"]) == (0, 1)
    assert (found["queue_ns"], found["compute_infer_ns"]) == (1, 90)


@pytest.mark.parametrize(("before", "after"), [(None, LATER), (COUNTED, None), (LATER, COUNTED)])
def test_statistics_that_do_not_fit_are_null(before: Statistics | None, after: Statistics | None) -> None:
    """Where a reading is missing or a reload reset the counters, the difference is unknown."""
    assert difference(before, after) is None

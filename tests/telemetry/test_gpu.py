"""What nvidia-smi prints: recorded on an H200, and as it breaks."""

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from gpu_parts import APPS, DATA, HEAD, LINE, UUID, program
from helpers import wait_until

from raybench.telemetry import gpu
from raybench.telemetry.gpu import GPUS, PROCESSES, SmiParser, SmiQuery


def recorded(name: str, *, uuid: str | None = None) -> list[str]:
    """Lines as nvidia-smi printed them; of the one GPU that was there, with its uuid as a column more."""
    head, *lines = (DATA / name).read_text().splitlines()
    return [head, *lines] if uuid is None else [f"{head}, uuid", *(f"{line}, {uuid}" for line in lines)]


def parsed(query: SmiQuery, *lines: str) -> tuple[list[gpu.GpuRow], list[str]]:
    """The rows and the problems of some lines."""
    parser = SmiParser(query)
    found = [parser.parse(line) for line in lines]
    return [row for row, _ in found if row], [problem for _, problem in found if problem]


def test_recorded_readings_of_a_gpu() -> None:
    """Every recorded line is a reading, at its own time, in MiB, percent and watts; what was not asked is absent."""
    rows, problems = parsed(GPUS, *recorded("nvidia-smi-query-gpu.csv", uuid=UUID))
    assert (len(rows), problems) == (239, [])
    assert rows[0] == {
        "time_ns": 1795355638894_000_000,  # 2026-11-22 13:53:58.894 UTC
        "id": UUID,
        "gpu_used_mib": 0,
        "gpu_utilization_pct": 0,
        "gpu_power_w": 80.27,
    }
    steps_ms = [(b["time_ns"] - a["time_ns"]) / 1e6 for a, b in pairwise(rows)]
    assert 190 <= min(steps_ms) <= max(steps_ms) < 1000
    assert max(row["gpu_used_mib"] for row in rows) == 5819


def test_recorded_processes_on_a_gpu() -> None:
    """Every recorded process is a reading; one that is dying has memory yet, and no name."""
    rows, problems = parsed(PROCESSES, *recorded("nvidia-smi-query-compute-apps.csv"))
    assert (len(rows), problems) == (239, [])
    assert {row["id"] for row in rows} == {"468", "1354", "1840", "1841", "2378", "3178"}
    assert [(row["id"], row["gpu_used_mib"]) for row in rows if row["name"] is None] == [("1354", 3190), ("2378", 1408)]


def test_a_reading_has_all_that_is_asked_for() -> None:
    """One line of the query is one row, by the names of telemetry's columns."""
    rows, problems = parsed(GPUS, HEAD, LINE)
    assert problems == []
    assert list(rows[0]) == [name for _, _, name in GPUS.columns]
    assert list(rows[0].values())[1:] == [UUID, 591, 143771, 2, 90.42, 1980, 34]


@pytest.mark.parametrize("text", ["[N/A]", "N/A", "[Not Supported]", "[Insufficient Permissions]"])
def test_what_there_is_none_of_is_null(text: str) -> None:
    """A GPU that does not tell its power, or a process whose memory nobody may see, is null and no problem."""
    rows, problems = parsed(GPUS, HEAD, LINE.replace("90.42", text))
    assert (rows[0]["gpu_power_w"], rows[0]["gpu_used_mib"], problems) == (None, 591, [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[GPU is lost]", "a GPU has fallen off the bus"),
        ("[GPU requires reset]", "a GPU must be reset"),
        ("[Unknown Error]", "a GPU answers with an unknown error"),
        ("ERR!", "a GPU answers with an error"),
    ],
)
def test_a_gpu_that_fails_is_named(text: str, said: str) -> None:
    """A fault in place of a value is null, never 0, and a problem with the GPU's uuid."""
    rows, problems = parsed(GPUS, HEAD, LINE.replace("591", text))
    assert (rows[0]["gpu_used_mib"], problems) == (None, [f"{said} ({UUID})"])


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.", "the NVIDIA driver does not"),
        ("Failed to initialize NVML: Driver/library version mismatch", "the NVIDIA driver and its library are of"),
        ("Unable to determine the device handle for GPU0000:07:00.0: Unknown Error", "a GPU has fallen off the bus"),
        (
            "Unable to determine ...: GPU is lost.  Reboot the system to recover this GPU",
            "a GPU has fallen off the bus",
        ),
        ("No devices were found", "there is no GPU"),
        ("Segmentation fault", "it printed something that is not a reading"),
        ("2026/11/22 13:54:00.139, 591, 2, 90.42", "it printed something that is not a reading"),
        (f"2026/11/22 13:54:00.139, {UUID}, 591", "it printed something that is not a reading"),
        (LINE.replace(UUID, "0"), "it printed something that is not a reading"),
        (LINE.replace("13:54:00.139", "yesterday"), "it printed something that is not a reading"),
        (LINE.replace("591", "591 MiB"), "it printed something that is not a number"),
        (LINE.replace("591", "1e999"), "it printed something that is not a number"),
        (LINE.replace("591", "-1"), "it printed something that is not a number"),
        (LINE.replace("591", "nan"), "it printed something that is not a number"),
    ],
)
def test_what_is_no_reading_is_no_number(line: str, said: str) -> None:
    """A driver's complaint, half a line and what no memory can be give no number, and are named with what was said."""
    rows, (problem,) = parsed(GPUS, HEAD, line)
    assert [row["gpu_used_mib"] for row in rows if row["gpu_used_mib"] is not None] == []
    assert problem.startswith(said)
    assert line in problem


def test_an_unknown_format_is_named() -> None:
    """Columns in units that are not ours are not read; without memory nothing is."""
    rows, problems = parsed(GPUS, HEAD.replace("[W]", "[kW]"), LINE)
    assert "gpu_power_w" not in rows[0]
    assert ("does not know" in problems[0], len(problems)) == (True, 1)
    rows, problems = parsed(GPUS, HEAD.replace("memory.used [MiB]", "memory.used [GiB]"), LINE)
    assert (rows, ["does not know" in problem for problem in problems]) == ([], [True, False])


def test_a_process_may_have_commas_in_its_name() -> None:
    """A command line is not taken apart."""
    rows, problems = parsed(PROCESSES, APPS, f"2026/11/22 13:54:00.139, {UUID}, 7, python -c a,b, c, 12")
    assert problems == []
    assert (rows[0]["id"], rows[0]["gpu"], rows[0]["name"], rows[0]["gpu_used_mib"]) == (
        "7",
        UUID,
        "python -c a,b, c",
        12,
    )


def pids(folder: Path) -> list[int]:
    return [int(line.split()[0]) for line in (folder / "started").read_text().splitlines()]


def test_rows_come_as_they_are_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One long-lived nvidia-smi is read line by line, in UTC, and ends with the block, without a problem."""
    program(tmp_path, monkeypatch, f"echo '{HEAD}'; echo '{LINE}'; echo $TZ > {tmp_path}/zone; exec sleep 600")
    rows: list[Any] = []
    problems: list[str] = []
    with gpu.streaming(GPUS, rows.append, problems.append) as stream:
        wait_until(lambda: stream.rows)
        (pid,) = pids(tmp_path)
        assert Path(f"/proc/{pid}").exists()
        wait_until(lambda: (tmp_path / "zone").exists() and (tmp_path / "zone").read_text() == "UTC\n")
    assert [row["gpu_used_mib"] for row in rows] == [591]
    assert problems == []
    assert not Path(f"/proc/{pid}").exists()
    assert "--loop-ms=200" in (tmp_path / "started").read_text()


def test_one_that_ends_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When nvidia-smi ends by itself, its exit code and its last complaint are told."""
    complaint = "Unable to determine the device handle for GPU0000:07:00.0: Unknown Error"
    program(tmp_path, monkeypatch, f"echo '{HEAD}'; echo '{LINE}'; echo '{complaint}' >&2; exit 15")
    problems: list[str] = []
    with gpu.streaming(GPUS, lambda _: None, problems.append) as stream:
        wait_until(lambda: stream.has_ended)
    assert problems[0].startswith("a GPU has fallen off the bus")
    assert problems[-1].startswith("it ended with exit code 15: a GPU has fallen off the bus")


def test_one_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An nvidia-smi that a broken driver holds does not hold us: it is killed at the end."""
    monkeypatch.setattr(gpu, "_STOP_S", 0.3)
    program(tmp_path, monkeypatch, "trap '' TERM; while true; do sleep 0.1; done")
    with gpu.streaming(GPUS, lambda _: None, lambda _: None) as stream:
        wait_until(lambda: (tmp_path / "started").exists())
        time.sleep(0.1)
        assert stream.silent_s > 0.1
    (pid,) = pids(tmp_path)
    assert not Path(f"/proc/{pid}").exists()

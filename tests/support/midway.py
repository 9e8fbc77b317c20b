"""Runs of the real command that a test meets in the middle of a trial."""

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from real_parts import BIN, eventually, newest_results, raybench

_END_S = 240


@contextmanager
def started(
    *arguments: object, cwd: Path, env: dict[str, str], host: Sequence[str] = (), own_group: bool = False
) -> Iterator["subprocess.Popen[str]"]:
    """`raybench run` in the middle of its first trial: it has announced its pids and has had replies for a while.

    `host` are the words that run a command on another host than this one; with `own_group` it leads a process group.
    """
    command = [*host, str(BIN / "raybench"), "run", *map(str, arguments)]
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=cwd, env=env, stdout=pipe, stderr=pipe, text=True, start_new_session=own_group
    )
    try:
        assert eventually(lambda: process.poll() is not None or bool(announced(cwd)), 90), "no trial was announced"
        time.sleep(4)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        process.kill()
        process.communicate()


def announced_after(record: Any, cwd: Path) -> Any:
    """The record of the next trial, which has had replies since it began to measure."""

    def is_next() -> bool:
        there = announced(cwd)
        return bool(there) and there["id"] != record["id"]

    assert eventually(is_next, 120), f"no trial was announced after {record['id']}"
    record = announced(cwd)
    folder = newest_results(cwd)
    assert folder
    sizes: list[int] = []

    def grows() -> bool:
        sizes.extend(path.stat().st_size for path in (folder / "samples").glob(f"{record['id']}.arrows"))
        return len(set(sizes)) > 2  # after the warm-up's, samples come twice a second

    assert eventually(grows, 30), f"no samples of {record['id']}"
    return record


def announced(cwd: Path) -> Any:
    """The record of the trial that is being measured."""
    folder = newest_results(cwd)
    file = folder / "running.json" if folder else None
    return json.loads(file.read_text()) if file and file.exists() else None


def pids(record: Any, name: str) -> list[int]:
    """Those of the server's processes of a record whose names begin so."""
    return [int(pid) for pid, there in record["processes"]["server"].items() if there.startswith(name)]


def ended(process: "subprocess.Popen[str]", cwd: Path, env: dict[str, str]) -> tuple[int, str, Any]:
    """Exit code, output and summary of a run that ends by itself."""
    out, err = process.communicate(timeout=_END_S)
    folder = newest_results(cwd)
    assert folder, out + err
    return process.returncode, out + err, raybench("report", folder, cwd=cwd, env=env).summary

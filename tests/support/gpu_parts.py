"""Lines as nvidia-smi prints them, and programs in its place on PATH."""

import os
from pathlib import Path

import pytest

from raybench.telemetry.gpu import GPUS, PROCESSES

DATA = Path(__file__).parents[1] / "data"  # recorded on an H200
UUID = "GPU-7b4be556-72db-7caf-2379-09a81b413b7f"
HEAD = ", ".join(head for _, head, _ in GPUS.columns)
LINE = f"2026/11/22 13:54:00.139, {UUID}, 591, 143771, 2, 90.42, 1980, 34"
APPS = ", ".join(head for _, head, _ in PROCESSES.columns)

READS_GPUS = 'case "$1" in --query-gpu*)'  # of a shell that is asked either


def program(folder: Path, monkeypatch: pytest.MonkeyPatch, *lines: str) -> None:
    """An nvidia-smi on PATH that does this, having noted its pid and arguments."""
    path = folder / "nvidia-smi"
    path.write_text("\n".join(["#!/bin/sh", f'echo $$ "$@" >> {folder}/started', *lines, ""]))
    path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

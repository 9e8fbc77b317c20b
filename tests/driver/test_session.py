"""A results folder that a run opens again, to measure what is left of it."""

import os
import subprocess
from pathlib import Path

import pytest
from real_parts import BIN, newest_results, raybench, wait_for_line


@pytest.mark.slow
def test_a_killed_run_goes_on(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """--resume measures what is left of a run that was killed: no finished trial again, and the table is whole."""
    (tmp_path / "many.yaml").write_text(
        "server: fake\nurl: {fake: service_ms=10}\nduration: 3\nrounds: 2\n"
        "loads: [{workers: 1}, {workers: 2, batch-size: 4}]\n"
    )
    command = [BIN / "raybench", "run", "many.yaml"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(command, cwd=tmp_path, env=ray_environment, text=True, **pipes)
    wait_for_line(process, "trial 3/4")
    process.kill()
    process.wait(timeout=10)
    folder = newest_results(tmp_path)
    assert folder
    before = {path: path.stat().st_mtime_ns for path in (folder / "trials").iterdir()}
    assert len(before) == 2
    run = raybench("run", "--resume", folder, cwd=tmp_path, env=ray_environment)
    assert run.code == 0, run.err + run.out
    assert run.folder == folder
    assert [trial["status"] for trial in run.summary["trials"]] == ["ok"] * 4
    assert len({trial["id"] for trial in run.summary["trials"]}) == 4
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert not (folder / "running.json").exists()


@pytest.mark.parametrize("flags", [("--workers", 2), ("more.yaml",)])
def test_a_run_goes_on_as_it_was_configured(flags: tuple[object, ...], tmp_path: Path) -> None:
    """--resume takes no other flag and no other benchmark: a table has one configuration."""
    (tmp_path / "more.yaml").write_text("workers: 2")
    run = raybench("run", "--resume", tmp_path, *flags, cwd=tmp_path, env=dict(os.environ))
    assert run.code == 2
    assert "resume is" in run.err
    assert f"leave out {flags[0]}" in run.err

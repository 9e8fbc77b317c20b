"""The two layouts of raybench's own Triton in one run."""

import json
from pathlib import Path

import pytest
from per_model_models import export_mixed
from real_parts import raybench

ROWS = [{"x": [number, 0.5], "z": number} for number in range(40)]


@pytest.mark.slow
def test_both_layouts_are_rows_of_one_run(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """A model with several inputs, some from a file, is measured in both, by shared memory and on two instances:
    answers verified, a ceiling, and statistics of its own."""
    export_mixed(tmp_path / "mixed" / "1")
    (tmp_path / "rows.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in [*ROWS, {"x": [1, 2]}]))
    load = ("--workers", 1, "--concurrency", 2, "--request-count", 60, "-b", 4, "--shared-memory", "system")
    filled = ("--input", "rows.jsonl", "--input", "text=random", "--input", "b=random")
    done = raybench(
        "run", "-s", "triton", "--layout", "multi,per-model", "--instances", 2, "-m", "./mixed", *filled, *load,
        "--ui", "none", cwd=tmp_path, env=ray_environment, timeout_s=280,
    )  # fmt: skip
    assert done.code == 0, done.err + done.out
    trials = {trial["label"]: trial for trial in done.summary["trials"]}
    assert set(trials) == {"triton x2 (shared memory)", "triton x2 per-model (shared memory)"}
    for trial in trials.values():
        assert trial["verification"]["agrees"] is True
        assert trial["ceiling"]["requests_per_s"] > trial["throughput"]["requests_per_s"]
        assert trial["server_statistics"]["counted"]["success"] == 60
        assert trial["server"]["effective"]["merges"] is True
        assert trial["server"]["effective"]["executions_at_once"] == 2
        assert 0 < trial["cold_start"]["warm_up_s"] < trial["cold_start"]["ready_s"]  # as each backend reports it
        assert trial["payload"]["distinct"] == 240  # text and b are made, and differ
        assert trial["payload"]["skipped_rows"] == ["skipped 1 of 41 rows of rows.jsonl: row 40: it has no z"]
    assert "[skipped_rows]" in done.out

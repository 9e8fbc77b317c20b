"""The two layouts of raybench's own Triton in one run."""

from pathlib import Path

import pytest
from per_model_models import export_mixed
from real_parts import raybench


@pytest.mark.slow
def test_both_layouts_are_rows_of_one_run(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """A model with several inputs is measured in both: answers verified, a ceiling, and statistics of its own."""
    export_mixed(tmp_path / "mixed" / "1")
    load = ("--workers", 1, "--concurrency", 2, "--request-count", 60, "-b", 4)
    done = raybench(
        "run", "-s", "triton", "--layout", "multi,per-model", "-m", "./mixed", *load, "--ui", "none",
        cwd=tmp_path, env=ray_environment, timeout_s=280,
    )  # fmt: skip
    assert done.code == 0, done.err + done.out
    trials = {trial["label"]: trial for trial in done.summary["trials"]}
    assert set(trials) == {"triton x1", "triton x1 per-model"}
    for trial in trials.values():
        assert trial["verification"]["agrees"] is True
        assert trial["ceiling"]["requests_per_s"] > trial["throughput"]["requests_per_s"]
        assert trial["server_statistics"]["counted"]["success"] == 60
        assert trial["server"]["effective"]["merges"] is True
        assert trial["server"]["effective"]["tensorflow"]

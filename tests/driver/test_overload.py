"""Runs against a scripted server that gets more than it can do, end to end."""

from pathlib import Path

import pytest
import yaml
from real_parts import raybench


@pytest.mark.slow
def test_a_run_measures_what_an_overloaded_server_does(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Beyond its capacity a server has the throughput of its capacity in both loops, and a doubt in open ones."""
    loads = [
        {"request_rate": 300, "duration": 4, "request_distribution": "constant"},
        {"request_rate": 300, "request_count": 120},
        {"concurrency": 32, "request_count": 600},
    ]
    shared = {"workers": 1, "batch_size": 1, "images": "noise", "warmup_request_count": 0, "ui": "none"}
    server = {"server": "fake", "url": {"fake": "service_ms=20,at_once=4"}}
    (tmp_path / "overload.yaml").write_text(yaml.safe_dump({**server, **shared, "loads": loads}))
    run = raybench("run", "overload.yaml", cwd=tmp_path, env=ray_environment)
    assert run.code == 0, run.err + run.out
    assert run.out.splitlines()[-1] == "PASS"
    for trial in run.summary["trials"]:
        assert 190 < trial["throughput"]["requests_per_s"] < 202, trial["id"]  # a busy host takes some, and gives none
        codes = {doubt["code"] for doubt in trial["doubts"]}
        assert bool(codes & {"cap_hit", "backlog"}) == (trial["load"]["arrivals"] != "closed"), trial["id"]

"""`raybench tune` end to end, as a user types it: scripted servers of which one is better, and a real Triton."""

import signal
import subprocess
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from contract import violations
from real_parts import BIN, newest_results, raybench, wait_for_line

from raybench.cli import main

_SHORT = ("--duration", 0.5, "--warmup-timeout", 0.2, "-b", 1, "--images", "noise", "--no-verify")
_SCRIPTS = "fake=service_ms=20; service_ms=20; service_ms=14"


@pytest.mark.slow
def test_the_better_server_is_found_and_a_cut_off_tuning_goes_on(
    ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """A tuning that is interrupted goes on where it was, and shows the gain by fresh rounds alone; the rate that was
    asked for is sized."""
    command = [BIN / "raybench", "tune", "-s", "fake", "--url", _SCRIPTS, *map(str, _SHORT), "--ui", "plain"]
    process = subprocess.Popen(
        command, cwd=tmp_path, env=ray_environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    wait_for_line(process, "trial 2:")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    folder = newest_results(tmp_path)
    assert folder is not None
    assert process.returncode == 130
    assert f"measure the rest with: raybench tune --resume {folder.relative_to(tmp_path)}" in out
    measured = {path.name for path in (folder / "trials").iterdir()}
    run = raybench("tune", "--resume", folder, "--request-rate", 500, cwd=tmp_path, env=ray_environment)
    assert run.code == 0, run.err + run.out
    assert violations(run.summary) == []
    found = run.summary["tuning"]
    assert (found["winner"], found["verdict"], found["is_over"]) == ("fake 3", "better", True)
    assert 1.2 < found["ratio"]["mean"] < 1.7
    assert "fake 3 reaches" in run.out
    assert "for 500 requests/s with 30% headroom" in run.out
    assert measured <= {path.name for path in (folder / "trials").iterdir()}
    alone = yaml.safe_load((folder / "deploy" / "run.yaml").read_text())
    assert alone["url"] == {"fake": "service_ms=14"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-s", "triton", "--url", "triton=127.0.0.1:8001"], "tune starts its servers itself"),
        (["-s", "fake", "--url", "fake=service_ms=5"], "there is one configuration"),
        (["-s", "triton", "--request-rate-range", "1:5"], "it goes with --latency-threshold"),
        (["-s", "local", "--latency-threshold", "p99<1s"], "use -s triton"),
        (["-s", "triton", "--rounds", "3"], "chooses its rounds by itself"),
        (["-s", "triton", "--price", "2/h"], "price is 2/h; it goes with a rate to serve: add --request-rate"),
        (["-s", "triton", "--headroom", "30%"], "headroom is 30%; it goes with a rate to serve"),
        (["-s", "triton", "--spare", "0"], "spare is 0; it goes with a rate to serve"),
        (["-s", "triton", "--merge-max", "1", "--merge-delay", "0,500"], "no server here merges requests"),
        (["-s", "triton", "--intra-op-threads", "many"], "give numbers such as 1,2"),
        (["-s", "triton", "--merge-max", "-1"], "0 for the server's own choice"),
    ],
)
def test_what_cannot_be_tuned_is_refused(words: list[str], said: str) -> None:
    """What a tuning cannot do is one sentence with the remedy, before anything starts."""
    done = CliRunner().invoke(main, ["tune", *words])
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.output.split())


def test_a_dry_run_lists_the_configurations() -> None:
    """`--dry-run` shows every configuration and those that come first, and starts nothing."""
    fixed = ["--layout", "multi", "--merge-delay", "0", "--intra-op-threads", "0", "--inter-op-threads", "0"]
    words = ["tune", "-s", "triton", "--instances", "1,2", "--merge-max", "0,1", *fixed, "--dry-run"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0
    assert done.output.splitlines() == [
        "* triton x1",
        "* triton x1 merge=1",
        "* triton x2",
        "  triton x2 merge=1",
        "4 configurations; 3 come first (*); at most 24 measurements",
    ]


@pytest.mark.parametrize(("server", "merges"), [("triton", "1"), ("tfserving", "0")])
def test_what_has_no_effect_is_not_tried(server: str, merges: str) -> None:
    """Where the user has nothing merged, a tuning does not span delays: it neither tries nor refuses its own values."""
    words = ["tune", "-s", server, "--merge-max", merges, "--intra-op-threads", "0,1", "--inter-op-threads", "0"]
    done = CliRunner().invoke(main, [*words, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "delay" not in done.output
    assert "mergers" not in done.output

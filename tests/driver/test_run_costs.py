"""What a run says of its servers' costs, end to end: where time goes, and telemetry that breaks in the middle."""

import os
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from gpu_parts import HEAD, READS_GPUS, UUID, program
from own_triton import OwnTriton, own_triton
from real_parts import raybench

from raybench.driver import recorders
from raybench.servers import repository
from raybench.servers.repository import TritonOptions

SLEEPS_MS = 20
NODES = [
    {"NodeID": "head", "NodeManagerAddress": "10.0.0.1", "NodeManagerHostname": "h1", "Alive": True, "Resources": {}},
    {"NodeID": "other", "NodeManagerAddress": "10.0.0.2", "NodeManagerHostname": "h2", "Alive": True, "Resources": {}},
    {"NodeID": "dead", "NodeManagerAddress": "10.0.0.3", "NodeManagerHostname": "h3", "Alive": False, "Resources": {}},
]


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[OwnTriton]:
    """A real Triton whose python model takes 20 ms by doing nothing."""
    folder = repository.assemble(TritonOptions(models_conf=Path(), models=()), tmp_path / "sleeper")
    model = folder / "echo" / "1" / "model.py"
    answers = "return [_answer(request, self._item_axis, self._facts) for request in requests]"
    assert answers in model.read_text()
    slow = f"__import__('time').sleep({SLEEPS_MS / 1e3}); {answers}"
    model.write_text(model.read_text().replace(answers, slow))
    with own_triton(folder) as running:
        yield running


@pytest.mark.slow
def test_where_the_time_goes(sleeper: OwnTriton, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """A python model that sleeps is compute, and what the client saw besides is queue and overhead."""
    run = raybench(
        "run", "-s", "triton", "--url", f"triton={sleeper.url}", "-m", "echo", "-b", 1, "--workers", 1,
        "--request-count", 50, "--details", cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    (trial,) = run.summary["trials"]
    found = trial["server_time_ms"]
    assert trial["server_statistics"]["counted"]["batches"] == {"1": 50}
    assert SLEEPS_MS <= found["compute_infer"] < found["service"]
    assert found["overhead"] > 0
    assert 2 * found["service"] == pytest.approx(sum(found.values()))
    assert "overhead" in run.out


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "said"),
    [("kill -9 $$", "it ended with exit code 137"), ("exec sleep 600", "it printed nothing for 3 s")],
)
def test_telemetry_that_breaks_does_not_break_the_run(
    end: str, said: str, ray_environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When nvidia-smi dies or hangs in the middle the trial is whole, its rows end there, and a doubt says so."""
    (tmp_path / "bin").mkdir()
    say = f'echo "$(date -u +%Y/%m/%d\\ %H:%M:%S.%3N), {UUID}, 591, 143771, 2, 90.42, 1980, 34"; sleep 0.2'
    until_it_runs = f"until ls {tmp_path}/results/*/running.json > {tmp_path}/there 2>&1; do {say}; done"
    for_a_while = f"for i in $(seq 15); do {say}; done"
    answer = f"echo '{HEAD}'; {until_it_runs}; {for_a_while}; {end};;"
    program(tmp_path / "bin", monkeypatch, READS_GPUS, answer, "*) exec sleep 600;;", "esac")
    run = raybench(
        "run", "--workers", 1, "-s", "fake", "--url", "fake=service_ms=5", "-b", 1, "--duration", 8,
        cwd=tmp_path, env={**ray_environment, "PATH": os.environ["PATH"]},
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    (trial,) = run.summary["trials"]
    assert trial["status"] == "ok"
    assert trial["requests"]["failed"] == 0
    assert trial["memory"]["peak"]["gpu_mib"] == 591
    assert trial["telemetry"]["gpu_source"] == "nvidia-smi"
    (doubt,) = [doubt for doubt in trial["doubts"] if doubt["code"] == "telemetry_incomplete"]
    assert said in " ".join(problem["text"] for problem in trial["telemetry"]["problems"])
    assert doubt["sentence"] in run.out
    assert run.folder
    rows = pq.read_table(run.folder / "telemetry" / f"{trial['id']}.parquet").to_pylist()
    last = {kind: max(row["time_ns"] for row in rows if row["kind"] == kind) for kind in ("gpu", "host")}
    assert last["host"] - last["gpu"] > 2e9


@pytest.mark.parametrize(
    ("url", "node"),
    [
        ("127.0.0.1:8001", "head"),
        ("localhost:8001", "head"),
        ("[::1]:8001", "head"),
        ("10.0.0.1:8001", "head"),
        ("10.0.0.2:8001", "other"),
        ("h2:8001", "other"),
        ("h3:8001", None),
        ("10.0.0.3:8001", None),
        ("192.0.2.7:8001", None),
        ("no-such-host.invalid:8001", None),
    ],
)
def test_the_node_of_a_server(url: str, node: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server is read on the node that its url names, by address or name, and on none where that is not in the
    cluster."""
    monkeypatch.setattr(recorders.ray, "nodes", lambda: NODES)
    assert recorders._node_of(url, "head") == node

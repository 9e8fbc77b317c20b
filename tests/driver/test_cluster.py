"""A Ray cluster of several nodes: where the workers land, and where the servers."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from ray_clusters import head, joined
from real_parts import BIN, raybench, wait_for_line

pytestmark = pytest.mark.slow
MANY = 400  # a tiny model answers in a millisecond: of fewer requests there may be no moment with all workers active
FAKE = ("-s", "fake", "--url", "fake=service_ms=5", "-b", 1, "--request-count", 40)
MODEL = "mobilenet-no-opt"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A shell on the head of a Ray cluster of three nodes with two CPUs each, of which one has the resource `big`."""
    with (
        head(tmp_path_factory.mktemp("home"), "--num-cpus=2", "--include-dashboard=false") as environment,
        joined(environment, "big", "--num-cpus=2", '--resources={"big": 1}'),
        joined(environment, "plain", "--num-cpus=2"),
    ):
        yield environment


def test_workers_keep_off_the_servers_node(nodes: dict[str, str], models: Path, tmp_path: Path) -> None:
    """Workers are spread over the nodes, and not on that of the servers, where the others have room for them."""
    flags = ("-s", "triton", "-s", "local", "--models", models, "-m", MODEL, "-b", 1, "--request-count", MANY)
    run = raybench("run", *flags, "--details", "--workers", 4, cwd=tmp_path, env=nodes)
    assert run.code == 0, run.err + run.out
    found = {trial["label"]: trial["placement"] for trial in run.summary["trials"]}
    triton, local = found["triton x1"], found["local"]
    assert triton["nodes"] == 3
    assert sorted(len(load["workers"]) for load in triton["loads"]) == [2, 2]
    assert triton["server_node_id"] not in [load["node_id"] for load in triton["loads"]]
    assert [load["node_id"] for load in local["loads"]] == [local["server_node_id"]] == [triton["server_node_id"]]
    assert sum(load["inferences_per_s"] for load in triton["loads"]) > 0
    assert "nodes of the workers" in run.out


def test_a_server_starts_on_the_node_that_is_named(nodes: dict[str, str], models: Path, tmp_path: Path) -> None:
    """`--server-node` names a node by what it has: the server runs there and is measured there, the workers elsewhere;
    afterwards nothing of it is left."""
    flags = ("-s", "triton", "--models", models, "-m", MODEL, "-b", 1, "--request-count", MANY, "--server-node", "big")
    run = raybench("run", *flags, "--workers", 4, "--server-bind", "0.0.0.0", cwd=tmp_path, env=nodes)
    assert run.code == 0, run.err + run.out
    (trial,) = run.summary["trials"]
    placement = trial["placement"]
    assert sorted(len(load["workers"]) for load in placement["loads"]) == [2, 2]
    assert placement["server_node_id"] not in [load["node_id"] for load in placement["loads"]]
    assert not trial["server"]["url"].startswith(("127.", "0.0.0.0"))
    assert trial["memory"]["peak"]["rss_mib"] > 0
    assert trial["headroom"]
    assert "server_beside_workers" not in [doubt["code"] for doubt in trial["doubts"]]
    assert run.folder
    (record,) = (json.loads(path.read_text()) for path in (run.folder / "trials").glob("*.json"))
    assert record["processes"]["server"]
    assert not any(psutil.pid_exists(int(pid)) for pid in record["processes"]["server"])


def test_who_shares_cores_is_doubted(nodes: dict[str, str], models: Path, tmp_path: Path) -> None:
    """Where the other nodes have no room for the workers they are on the server's too, and the report doubts that."""
    flags = ("-s", "triton", "--models", models, "-m", MODEL, "-b", 1, "--request-count", 24)
    run = raybench("run", *flags, "--workers", 6, cwd=tmp_path, env=nodes)
    assert run.code == 0, run.err + run.out
    (trial,) = run.summary["trials"]
    assert sorted(len(load["workers"]) for load in trial["placement"]["loads"]) == [2, 2, 2]
    (doubt,) = [doubt for doubt in trial["doubts"] if doubt["code"] == "server_beside_workers"]
    assert doubt["sentence"].startswith("2 of 6 workers")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--server-node", "gpus"], ["server-node is gpus", "choose CPU, big"]),
        (["--workers", 7, "--wait-for-workers", 3], ["workers is 7", "6 free CPUs of 6 after 3 s", "wait longer"]),
    ],
    ids=str,
)
def test_what_a_cluster_lacks(flags: list[object], said: list[str], nodes: dict[str, str], tmp_path: Path) -> None:
    """What cannot be had of a cluster is one sentence before its deadline, and exit 2."""
    done = raybench("run", *FAKE, *flags, cwd=tmp_path, env=nodes)
    assert done.code == 2, done.err + done.out
    line = done.err.splitlines()[-1]
    assert [part for part in said if part not in line] == [], line
    assert not (tmp_path / "results").exists()


def test_workers_wait_for_nodes(nodes: dict[str, str], tmp_path: Path) -> None:
    """With `--wait-for-workers` a run begins when the CPUs that it asked for are there."""
    command = [BIN / "raybench", "run", *FAKE, "--workers", "7", "--wait-for-workers", "120"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    process = subprocess.Popen(list(map(str, command)), cwd=tmp_path, env=nodes, text=True, **pipes)
    try:
        (*_, line) = wait_for_line(process, "waiting for CPUs")
        assert "7 workers: 6 free CPUs of 6" in line
        with joined(nodes, "late", "--num-cpus=2"):
            out, _ = process.communicate(timeout=150)
    finally:
        process.kill()
    assert process.returncode == 0, out

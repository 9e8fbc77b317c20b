"""What is said of a Ray cluster's nodes, where no cluster is needed to see it."""

import os
from pathlib import Path
from typing import Any

import pytest

from raybench import config
from raybench.config import Benchmark, ConfigError, ServerSpec
from raybench.driver import cluster, server_host
from raybench.driver.placement import Placement
from raybench.driver.ray_nodes import Node, named, resource_names
from raybench.servers import RunningServer, ServeOptions, ServerFacts, unsupported_reason

NODES = [
    Node(str(n), f"10.0.0.{n}", f"host-{n}", {"CPU": 2.0, "memory": 1e9, f"node:10.0.0.{n}": 1.0, "big": 1.0})
    for n in range(1, 6)
]
MISMATCH = """Version mismatch: The cluster was started with:
    Ray: 2.9.3
    Python: 3.9.18
This process on 10.0.0.1 was started with:
    Ray: 2.60.0
    Python: 3.11.7
"""


def test_versions_that_differ_are_all_named() -> None:
    """Ray's many lines on versions become one sentence with each of them."""
    said = cluster._why_not_joined(MISMATCH)
    assert said.startswith("that cluster has Ray 2.9.3 on Python 3.9.18, this host Ray 2.60.0 on Python 3.11.7: ")


def test_what_tells_nodes_apart() -> None:
    """A sentence on nodes names what a user gave them, and not every host of many."""
    assert resource_names(NODES) == ["CPU", "big"]
    assert named(NODES) == "host-1, host-2, host-3 and 2 more"


@pytest.mark.parametrize("kind", ["triton", "tfserving", "local"])
def test_a_node_without_the_models_cannot_serve_them(kind: str, tmp_path: Path) -> None:
    """Where the servers' node has no such models that is said before anything starts there."""
    said = unsupported_reason(ServerSpec(kind=kind), ServeOptions(models_conf=tmp_path / "models.conf", models=("m",)))
    assert said
    assert str(tmp_path) in said


def test_a_folder_of_this_host_is_not_on_another() -> None:
    """A model that was named by its folder cannot be served elsewhere: one sentence, before anything starts there."""
    benchmark = Benchmark(server=("triton",), model=("./m",), server_node="big")
    with pytest.raises(ConfigError) as error:
        server_host.check(benchmark, Path("models.conf"), Placement(NODES[0], is_hosted=True))
    assert str(error.value) == (
        "model is ./m, a folder on this host, but servers start on host-1, which has server-node big: "
        "add it to a models.conf that both can read (--models)"
    )


@pytest.mark.parametrize(
    ("bind", "url"),
    [("0.0.0.0", "10.0.0.1:8001"), ("127.0.0.1", "127.0.0.1:8001"), ("::", "10.0.0.1:8001")],
)
def test_a_server_is_reached_by_its_nodes_address(bind: str, url: str) -> None:
    """A server that listens everywhere is called by the address that other nodes know it by."""
    loopback = "[::1]" if bind == "::" else "127.0.0.1"
    facts, metrics_url = ServerFacts(kind="triton"), f"http://{loopback}:8002/metrics"
    started = RunningServer(url=f"{loopback}:8001", facts=facts, metrics_url=metrics_url)
    reached = server_host._reachable(started, bind, NODES[0])
    assert (reached.url, reached.facts.url) == (url, url if bind != "127.0.0.1" else None)
    assert reached.metrics_url == f"http://{url.replace('8001', '8002')}/metrics"


@pytest.mark.parametrize(
    ("taken", "own", "address"),
    [("far", ["far"], None), ("head", ["far"], "far"), ("head", ["head", "far"], None), ("head", [], None)],
    ids=str,
)
def test_a_driver_joins_the_node_of_its_own_host(
    taken: str, own: list[str], address: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where Ray has taken a node whose address is another host's, the driver asks for the one that is on its own."""
    nodes = tuple(Node(id=name, address=name, host=name, resources={}) for name in ("head", "far"))
    monkeypatch.setattr(cluster, "alive", lambda: nodes)
    monkeypatch.setattr(cluster, "here", lambda: taken)
    monkeypatch.setattr(cluster, "is_here", lambda url: url.removesuffix(":0") in own)
    assert cluster._own_address() == address


def test_a_ray_that_does_not_start_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where Ray gives up starting, the folder that it made for its session goes, and those of other sessions stay."""
    ours, earlier = (tmp_path / f"session_{day}_{os.getpid()}" for day in ("2026-01-02", "2026-01-01"))
    earlier.mkdir()

    def init(**_: Any) -> None:
        (ours / "logs").mkdir(parents=True)
        raise RuntimeError("The current node timed out during startup.")

    monkeypatch.setattr(cluster.ray, "init", init)
    monkeypatch.setattr(cluster, "ray_folder", lambda: str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with (
        pytest.raises(ConfigError, match="Ray does not start on this host"),
        cluster.connected(config.load(None, {}), lambda _: None),
    ):
        pass
    assert list(tmp_path.iterdir()) == [earlier]

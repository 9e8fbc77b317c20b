"""What workers tell Ray while they run, and whether a real Prometheus and the Grafana dashboard get all of it."""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import docker_parts
import pytest
import yaml
from helpers import fake_cell, sample
from prometheus_parts import CONFIG, DASHBOARD, PROMTOOL, Prometheus, needs_prometheus, panels, prometheus, queries
from ray_clusters import head
from real_parts import eventually, raybench

from raybench.driver import ray_metrics
from raybench.driver.ray_metrics import BOUNDS_MS, Metrics, Tags
from raybench.results import samples
from raybench.servers.server_process import free_ports
from raybench.telemetry.prometheus_text import fetch

TAGS = Tags(run="run-1", server="fake", model="m", trial="r1-fake")
BENCHMARK = """
server: [fake]
url: {fake: "service_ms=20,fail_every=7"}
workers: 2
batch_size: 2
loads:
  - {concurrency: 2, duration: 6}
  - {request_rate: 30, duration: 6}
"""


class Told:
    """Stands in for Ray's Counter and Gauge: what each metric came to, by the tag that is not of the trial."""

    def __init__(self, name: str, what: str, keys: tuple[str, ...]) -> None:
        assert what
        self.keys, self.values, self.calls = keys, dict[str, float](), 0
        ALL[name.removeprefix("raybench_")] = self

    def set_default_tags(self, tags: dict[str, str]) -> "Told":
        assert tags.keys() <= set(self.keys)
        return self

    def inc(self, value: float, tags: dict[str, str] | None = None) -> None:
        self.set(self.values.get(self._key(tags), 0) + value, tags)

    def set(self, value: float, tags: dict[str, str] | None = None) -> None:
        self.values[self._key(tags)], self.calls = value, self.calls + 1

    def _key(self, tags: dict[str, str] | None) -> str:
        return "".join((tags or {}).values())


ALL: dict[str, Told] = {}


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Told]:
    ALL.clear()
    monkeypatch.setattr(ray_metrics, "Counter", Told)
    monkeypatch.setattr(ray_metrics, "Gauge", Told)
    return ALL


def test_counts_are_whole_at_the_end(told: dict[str, Told]) -> None:
    """What came after the last full second counts too: counters come to every request, by status, and its items."""
    chunks = [
        samples.table([sample(0, 4), sample(0, 40, items=3)]),
        samples.table([]),
        samples.table([sample(5, 90_000), sample(5, 6, status="UNAVAILABLE")]),
    ]
    assert list(Metrics(TAGS, fake_cell().load).publish(chunks, time.time())) == chunks
    assert told["requests"].values == {"OK": 3, "UNAVAILABLE": 1}
    assert told["items"].values == {"": 5}
    buckets = told["latency_ms_bucket"].values
    assert [buckets[str(bound)] for bound in (3.2, 4.0, 32.0, 40.0, BOUNDS_MS[-1])] == [0, 1, 1, 2, 2]
    assert buckets["+Inf"] == told["latency_ms_count"].values[""] == 3
    assert told["latency_ms_sum"].values == {"": pytest.approx(4 + 40 + 89_995)}


def test_ray_is_told_once_a_second(told: dict[str, Told], monkeypatch: pytest.MonkeyPatch) -> None:
    """However many requests and chunks there are, a metric is written once a second, and once more at the end."""
    now = iter(range(10_000))
    monkeypatch.setattr(ray_metrics.time, "time", lambda: 1000 + next(now) / 4)
    chunk = samples.table([sample(i, i + 1) for i in range(500)])
    list(Metrics(TAGS, fake_cell().load).publish([chunk] * 40, 1000))
    assert told["requests"].values == {"OK": 20_000}
    assert told["requests"].calls == told["achieved_rps"].calls + 1 == 10
    assert told["achieved_rps"].values == {"": 2000}
    assert told["in_flight"].values == {"": 2}  # 2000 requests of a millisecond in each second


def test_an_open_loop_is_told_by_what_was_due(told: dict[str, Told]) -> None:
    """Latency is response, lag and the worker's share of the offered rate are there; a closed loop has neither."""
    rows = samples.table([sample(30, 50, due_ms=10), sample(30, 50, due_ms=25)])
    load = fake_cell(workers=2, request_rate=(40.0,)).load
    list(Metrics(TAGS, load).publish([rows], time.time() - 1))
    assert told["latency_ms_sum"].values == {"": 40 + 25}
    assert (told["lag_ms"].values, told["offered_rps"].values) == ({"": 20}, {"": 20})
    list(Metrics(TAGS, fake_cell().load).publish([samples.table([sample(0, 1)])], time.time() - 1))
    assert (told["lag_ms"].values, told["offered_rps"].values) == ({}, {})


def test_the_dashboard_shows_every_metric(told: dict[str, Told]) -> None:
    """The dashboard's queries name every metric that workers tell, by Prometheus' name for it, and no other."""
    Metrics(TAGS, fake_cell().load)
    totals = ("requests", "items")
    names = {f"ray_raybench_{name}{'_total' if name in totals else ''}" for name in told}
    assert set(re.findall(r"ray_raybench_\w+", DASHBOARD.read_text())) == names


def test_grafana_finds_what_is_provisioned() -> None:
    """The dashboard asks the one data source that is provisioned, and lies where Grafana looks for it."""
    mounted = {v["target"]: v["source"] for v in docker_parts.services()["grafana"]["volumes"]}
    (target, source) = next(iter(mounted.items()))
    environment = docker_parts.services()["grafana"]["environment"]
    assert environment["GF_PATHS_PROVISIONING"] == target
    home = Path(environment["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert (docker_parts.DOCKER / source / home.relative_to(target)).resolve() == DASHBOARD
    (provider,) = yaml.safe_load((DASHBOARD.parent / "raybench.yaml").read_text())["providers"]
    assert provider["options"]["path"] == str(home.parent)
    (data,) = yaml.safe_load((DASHBOARD.parents[1] / "datasources" / "prometheus.yaml").read_text())["datasources"]
    assert {panel["datasource"]["uid"] for panel in panels()} == {data["uid"]}
    port = docker_parts.services()["prometheus"]["ports"][0].rpartition(":")[2]
    assert data["url"] == f"http://prometheus:{port}"


@needs_prometheus
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """What compose.yaml mounts is a configuration that Prometheus takes, with flags that it has."""
    secret = tmp_path / "token"
    secret.write_text("0" * 64)
    config = tmp_path / CONFIG.name
    config.write_text(CONFIG.read_text().replace("/run/secrets/ray_auth_token", str(secret)))
    done = subprocess.run([str(PROMTOOL), "check", "config", config], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    known = subprocess.run(["prometheus", "--help"], capture_output=True, text=True, check=False)
    flags = [word.partition("=")[0] for word in docker_parts.services()["prometheus"]["command"]]
    assert all(flag in known.stdout + known.stderr for flag in flags)


AGENT = """
import ray
ray.init(log_to_driver=False)
(node,) = ray.nodes()
print(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics")
"""


@pytest.mark.slow
def test_workers_end_after_their_metrics(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Where workers report every 10 s, Ray's default, a short trial's counters are whole in the agent after the run."""
    run = raybench(
        "run", "-s", "fake", "--workers", 2, "--request-count", 41, "-b", 2, cwd=tmp_path, env=ray_environment
    )
    assert run.code == 0, run.err + run.out
    command = [sys.executable, "-c", AGENT]
    agent = subprocess.run(command, env=ray_environment, capture_output=True, text=True, timeout=60, check=True)
    page = fetch(agent.stdout.split()[-1]) or []
    mine = [each for each in page if each.labels.get("run") == run.folder.name]  # type: ignore[union-attr]
    total = {each.name: sum(other.value for other in mine if other.name == each.name) for each in mine}
    assert (total["ray_raybench_requests_total"], total["ray_raybench_items_total"]) == (41, 82)  # gauges age out


@pytest.fixture
def dashboard() -> Iterator[tuple[str, dict[str, str]]]:
    """Where the dashboard of a Ray answers that is set as compose.yaml sets it, and how to reach that Ray."""
    compose = docker_parts.services()["ray_head"]["environment"]
    settings = {name: compose[name] for name in ("RAY_AUTH_MODE", "RAY_metrics_report_interval_ms")}
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory(prefix="rb", dir="/tmp", ignore_cleanup_errors=True) as folder:  # sockets: short
        flags = ["--num-cpus=4", f"--dashboard-port={port}", f"--temp-dir={folder}"]
        with head(Path(folder), *flags, settings=settings) as environment:
            yield f"127.0.0.1:{port}", environment


@pytest.mark.slow
@needs_prometheus
def test_prometheus_sees_every_request(dashboard: tuple[str, dict[str, str]], tmp_path: Path) -> None:
    """A real Prometheus beside a real run: every panel's queries answer, and no request is missing at the end."""
    (tmp_path / "b.yaml").write_text(BENCHMARK)
    address, environment = dashboard
    with prometheus(tmp_path, address, environment["RAY_AUTH_TOKEN"]) as found:
        run = raybench("run", "b.yaml", "--max-error-rate", 0.5, cwd=tmp_path, env=environment)
        assert run.code == 0, run.err + run.out
        (closed, opened) = sorted(run.summary["trials"], key=lambda trial: trial["load"]["arrivals"])
        assert {closed["load"]["arrivals"], opened["load"]["arrivals"]} == {"closed", "poisson"}
        for trial in (closed, opened):
            _agree(found, trial, run.folder.name)  # type: ignore[union-attr]
        span = [datetime.fromisoformat(each).timestamp() for each in (run.summary["run"]["started"], opened["ended"])]
        asked = queries(run.folder.name)  # type: ignore[union-attr]
        answers = {name: found.between(query, min(span), time.time()) for name, query in asked.items()}
        assert {name for name, values in answers.items() if not any(value > 0 for value in values)} == set()
        by_trial = found.now(asked["Requests by trial A"])
        print(f"requests by trial in Prometheus: {by_trial}")
        assert by_trial == {trial["id"]: trial["requests"]["attempted"] for trial in (closed, opened)}
        busy = 7 * 20 / (7 * 20 + 50)  # a lane waits 50 ms after an UNAVAILABLE
        assert max(answers["In flight A"]) == pytest.approx(busy * closed["load"]["in_flight"], rel=0.15)


def _agree(found: Prometheus, trial: dict[str, Any], run: str) -> None:
    """Counters come to what the results folder says, by status, as soon as Prometheus has scraped once more."""
    requests = trial["requests"]
    expected = {"OK": requests["succeeded"], **requests["errors"]}
    query = f'sum by (status) (ray_raybench_requests_total{{run="{run}", trial="{trial["id"]}"}})'
    assert eventually(lambda: found.now(query) == expected), (found.now(query), expected)

"""Several running servers behind one url: what is read of them, and how the load is spread."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from foreign_models import write_foreign_models
from own_triton import own_triton
from real_parts import raybench

from raybench.config import Benchmark, ServerSpec, plan
from raybench.driver import recorders, server_counters
from raybench.servers import RunningServer, facts_of, header_leak_warning, metrics_url
from raybench.telemetry.server_statistics import ServerStatistics

PAIR = "a:8001,b:8003"


def several(kind: str = "triton", url: str = PAIR) -> ServerSpec:
    return ServerSpec(kind=kind, url=url)


def counted(monkeypatch: pytest.MonkeyPatch, kind: str, answers: dict[str, ServerStatistics | None]) -> Any:
    """What is counted of servers whose statistics grow by these while nobody looks."""
    calls: dict[str, int] = {}

    def read(url: str, *_: object, **__: object) -> ServerStatistics | None:
        calls[url], answer = calls.get(url, -1) + 1, answers[url]
        return answer if calls[url] > 2 or answer is None else ServerStatistics(success=0, fail=0)

    class Reader:
        def __init__(self, url: str, *_: object, **__: object) -> None:
            self.read: Callable[[], ServerStatistics | None] = lambda: read(url)

        def __call__(self) -> ServerStatistics | None:
            return self.read()

        def close(self) -> None: ...

    monkeypatch.setattr(server_counters.triton_statistics, "StatisticsReader", Reader)
    monkeypatch.setattr(server_counters.tfserving_statistics, "read", read)
    benchmark = Benchmark(server=(kind,), url={kind: PAIR})
    (trial, *_) = plan.trials(benchmark)
    server = RunningServer(url=PAIR, facts=facts_of(trial.cell.server), metrics_url=metrics_url(trial.cell.server))
    with server_counters.counting(trial, server) as counter:
        return counter.total()


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [
        ("triton", "a:8001", "b:8003"),
        ("tfserving", *(f"http://{at}/monitoring/prometheus/metrics" for at in ("a:8002", "b:8004"))),
    ],
)
def test_what_all_servers_count_is_added_up(
    kind: str, first: str, second: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The successes of a trial are those of all servers that it was spread over; a silent one leaves null."""
    one, two = ServerStatistics(success=3, fail=0), ServerStatistics(success=4, fail=0)
    total = counted(monkeypatch, kind, {first: one, second: two})
    assert total.counted.success == 7
    assert counted(monkeypatch, kind, {first: one, second: None}) is None


def test_one_page_of_metrics_is_not_about_all() -> None:
    """GPU figures of one server are not shown as those of several."""
    assert metrics_url(several()) is None
    assert metrics_url(several(url="a:8001")) == "http://a:8002/metrics"


@pytest.mark.parametrize(("url", "node"), [("h1:1,h1:2", "one"), ("h1:1,h2:1", None), ("h1:1,h9:1", None)])
def test_servers_on_several_nodes_have_no_node(url: str, node: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is read where all servers of a url are on one node, and of none where they are not."""
    monkeypatch.setattr(recorders, "here", lambda: "driver")
    monkeypatch.setattr(recorders, "_node_of", lambda url, _: {"h1": "one", "h2": "two"}.get(url.partition(":")[0]))
    found = recorders.Recorders(None, "servers", ExitStack())  # type: ignore[arg-type]
    assert found.node_of(several(url=url), ()) == node


@pytest.mark.parametrize(("url", "is_warned"), [("127.0.0.1:1,[::1]:2", False), ("127.0.0.1:1,far.example:2", True)])
def test_one_server_elsewhere_is_enough_for_a_warning(url: str, is_warned: bool) -> None:
    """Headers in plain text to any host but this one get a warning."""
    benchmark = Benchmark(server=("triton",), url={"triton": url}, header={"x-token": "$TOKEN"})
    assert (header_leak_warning(benchmark.servers[0], benchmark) is not None) == is_warned


@pytest.mark.slow
def test_two_tritons_share_a_load(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Each of two Tritons behind a url answers its half of a closed loop; a third with another model is refused."""
    received = {}
    with ExitStack() as running:
        urls = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            urls.append(running.enter_context(own_triton(write_foreign_models(folder / "models", folder / "log"))).url)
        words = ("run", "-s", "triton", "-m", "whole", "--workers", 1, "--request-count", 30)
        more = ("--warmup-request-count", 0, "--ui", "none")
        done = raybench(*words, *more, "--url", f"triton={','.join(urls)}", cwd=tmp_path, env=ray_environment)
        assert done.code == 0, done.err + done.out
        gone = raybench(*words, "--url", f"triton={urls[0]},127.0.0.1:1", cwd=tmp_path, env=ray_environment)
        assert (gone.code, len(gone.err.strip().splitlines())) == (2, 1), gone.err
        assert "127.0.0.1:1" in gone.err
        for name in ("one", "two"):
            received[name] = (tmp_path / name / "log-whole").read_text(encoding="utf-8").splitlines()
    (trial,) = done.summary["trials"]
    assert (trial["requests"]["succeeded"], trial["server_statistics"]["counted"]["success"]) == (30, 30)
    assert trial["server"]["url"] == ",".join(urls)
    assert all(len({line for line in lines if "matrix" in line}) >= 15 for lines in received.values())

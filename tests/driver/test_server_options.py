"""What a server is started with, by the loads that it gets, and how it stops."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raybench.config import Benchmark, plan
from raybench.driver import run, server_host, trial
from raybench.driver.server_host import serve_options, start_server
from raybench.servers import RunningServer, ServeOptions, ServerFacts


@pytest.mark.parametrize(("kinds", "keeps"), [(("cuda",), True), (("none", "cuda"), True), (("none", "system"), False)])
def test_inputs_stay_on_a_gpu_where_a_load_puts_them_there(kinds: tuple[str, ...], keeps: bool) -> None:
    """One load with CUDA shared memory is enough for Triton to leave inputs on the GPU; without one it does not."""
    loads = tuple({"shared_memory": kind} for kind in kinds)
    benchmark = Benchmark(server=("triton",), url={"triton": "127.0.0.1:1"}, model=("m",), loads=loads)
    cells = [each.cell for each in plan.trials(benchmark)]
    context: Any = SimpleNamespace(benchmark=benchmark, session=SimpleNamespace(models_conf=Path("models.conf")))
    assert serve_options(cells[0].server, cells, context).keeps_gpu_inputs is keeps


def test_a_server_and_its_echo_stop_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopping a Triton takes two seconds, so the server gets its signal before anything waits for the echo to exit."""
    events = []

    @contextmanager
    def running(_: Any, options: ServeOptions, __: Any) -> Iterator[RunningServer]:
        name = "echo" if options.does_nothing else "triton"
        yield RunningServer(
            "127.0.0.1:1", ServerFacts(kind="triton"), is_ours=True, begin_stop=lambda: events.append(f"signal {name}")
        )
        events.append(f"wait for {name}")

    monkeypatch.setattr(server_host, "_running", running)
    benchmark = Benchmark(server=("triton",), model=("echo",))
    idle: Any = SimpleNamespace(settle=lambda _: None, before=lambda _: None, step=lambda _: None)
    session = SimpleNamespace(models_conf=Path("models.conf"), recorders=idle, reference=idle)
    context: Any = SimpleNamespace(benchmark=benchmark, session=session, observer=idle)
    cells = [each.cell for each in plan.trials(benchmark)]
    with start_server(cells[0].server, cells, context) as server:
        assert server.start_echo
        assert server.start_echo() is server.start_echo()
        server.begin_stop()
    signals = ["signal triton", "signal echo"]
    assert events == [*signals, *signals, "wait for echo", "wait for triton"]


def test_only_the_last_trial_lets_a_server_stop_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server may stop while the answers of its last trial are checked; the trials before need it running."""
    seen = []

    def measured(*_: Any, is_servers_last: bool) -> None:
        seen.append(is_servers_last)

    server = RunningServer("127.0.0.1:1", ServerFacts(kind="triton"))
    monkeypatch.setattr(run, "start_server", lambda *_: nullcontext(server))
    monkeypatch.setattr(run, "measure", measured)
    monkeypatch.setattr(run, "save", lambda *_: None)
    benchmark = Benchmark(server=("triton",), model=("echo",), loads=({"batch_size": 1}, {"batch_size": 2}))
    run.measure_on_one_server(plan.trials(benchmark), SimpleNamespace(benchmark=benchmark))  # type: ignore[arg-type]
    assert seen == [False, True]


def test_a_server_that_stops_when_asked_has_not_failed() -> None:
    """Ctrl-C while the answers of a server's last trial are checked must not turn that trial into a failed one."""
    signals: list[str] = []
    server = RunningServer(
        "127.0.0.1:1",
        ServerFacts(kind="triton"),
        failure=lambda: "Triton ended" if signals else None,
        begin_stop=lambda: signals.append("SIGTERM"),
    )
    assert trial._ending(server).failure() is None
    assert signals == ["SIGTERM"]

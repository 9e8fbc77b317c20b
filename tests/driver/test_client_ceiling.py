"""The client's ceiling: against which Triton it is found, and what is said where it cannot be."""

from types import SimpleNamespace
from typing import Any

import pytest

from raybench.config import Benchmark, plan
from raybench.driver.client_ceiling import find_ceiling
from raybench.driver.echo_server import Echo, start_echo
from raybench.servers import RunningServer, ServerError, ServerFacts


def trial_of(**changes: Any) -> plan.Trial:
    return plan.trials(Benchmark(**{"server": ("triton",), "model": ("m",), **changes}))[0]


def asking(**changes: Any) -> Any:
    return SimpleNamespace(benchmark=Benchmark(server=("triton",), model=("m",), **changes))


def running(*, is_ours: bool = True, **changes: Any) -> RunningServer:
    return RunningServer("127.0.0.1:1", ServerFacts(kind="triton"), is_ours=is_ours, **changes)


def test_a_triton_that_we_start_gets_another_beside_it() -> None:
    """The ceiling is found against a Triton of its own, whose memory is in no row."""
    beside = running()
    assert start_echo(trial_of(), asking(), running(start_echo=lambda: beside)) == Echo(is_asked=True, server=beside)


def test_one_that_does_not_start_is_a_reason() -> None:
    """Where nothing could find the ceiling it is null, and the trial counts."""

    def fails() -> RunningServer:
        raise ServerError("no port is free")

    echo = start_echo(trial_of(), asking(), running(start_echo=fails))
    tables, reason = find_ceiling(trial_of(), asking(), SimpleNamespace(echo=echo))  # type: ignore[arg-type]
    assert (tables, reason) == ([], "the Triton that does nothing did not start: no port is free")


def test_a_triton_by_url_is_asked_itself() -> None:
    """A server that runs already is only asked for its own model that does nothing, and only where the user wants."""
    assert start_echo(trial_of(), asking(calibrate=True), running(is_ours=False)) == Echo(is_asked=True)
    assert start_echo(trial_of(), asking(), running(is_ours=False)) == Echo(is_asked=False)


def test_inputs_on_a_gpu_have_no_ceiling() -> None:
    """Where the model that does nothing could not take them, no Triton is started for it, and the trial says why."""
    server = running(start_echo=lambda: pytest.fail("it was started"))
    echo = start_echo(trial_of(shared_memory="cuda"), asking(), server)
    assert echo.is_asked
    assert "takes no inputs on a GPU" in (echo.reason or "")


@pytest.mark.parametrize("changes", [{"model": ("echo",)}, {"server": ("local",)}])
def test_what_has_no_ceiling_starts_nothing(changes: dict[str, Any]) -> None:
    """Neither the model that does nothing itself nor TensorFlow in process has one."""
    server = running(start_echo=lambda: pytest.fail("it was started"))
    assert start_echo(trial_of(**changes), asking(), server) == Echo(is_asked=False)

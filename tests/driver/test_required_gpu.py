"""--require-gpu: a run whose TensorFlow would compute on the CPU does not go on."""

from dataclasses import replace

import pytest
from record_builders import effective, record, server_facts

from raybench.config import Benchmark, ConfigError
from raybench.driver import required_gpu
from raybench.driver.required_gpu import check_gpu, check_used


def asking(**changes: object) -> Benchmark:
    return Benchmark(server=("local", "triton"), model=("m",), require_gpu=True, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(("seen", "is_refused"), [(0, True), (None, True), (1, False)])
def test_a_host_without_a_visible_gpu_is_refused(
    monkeypatch: pytest.MonkeyPatch, seen: int | None, *, is_refused: bool
) -> None:
    """Before any server starts, one sentence with the remedy says that TensorFlow sees no GPU here."""
    monkeypatch.setattr(required_gpu, "count_visible_gpus", lambda _: seen)
    if is_refused:
        with pytest.raises(ConfigError, match=r"require-gpu is true; TensorFlow sees no GPU here: pip install"):
            check_gpu(asking())
    else:
        check_gpu(asking())


def test_without_the_flag_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that does not ask for a GPU, or starts nothing that uses one, waits for no look at it."""
    monkeypatch.setattr(required_gpu, "count_visible_gpus", lambda _: pytest.fail("it was asked"))
    check_gpu(Benchmark(server=("local",), model=("m",)))
    check_gpu(Benchmark(server=("fake",), model=("m",), require_gpu=True))


@pytest.mark.parametrize(("allocator", "is_refused"), [(None, True), ("growth", False)])
def test_a_server_on_its_cpu_is_refused(allocator: str | None, *, is_refused: bool) -> None:
    """A server by url, or on another node, is asked when its trial begins."""
    server = server_facts("triton", effective=effective("triton", gpu_allocator=allocator))
    trial = replace(record(), server=server)
    if is_refused:
        with pytest.raises(ConfigError, match="computes on its CPU"):
            check_used(trial, asking())
    else:
        check_used(trial, asking())
    check_used(trial, Benchmark(server=("local",), model=("m",)))

"""What a server is started with, by the loads that it gets."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from raybench.config import Benchmark, plan
from raybench.driver.server_host import serve_options


@pytest.mark.parametrize(("kinds", "keeps"), [(("cuda",), True), (("none", "cuda"), True), (("none", "system"), False)])
def test_inputs_stay_on_a_gpu_where_a_load_puts_them_there(kinds: tuple[str, ...], keeps: bool) -> None:
    """One load with CUDA shared memory is enough for Triton to leave inputs on the GPU; without one it does not."""
    loads = tuple({"shared_memory": kind} for kind in kinds)
    benchmark = Benchmark(server=("triton",), url={"triton": "127.0.0.1:1"}, model=("m",), loads=loads)
    cells = [trial.cell for trial in plan.trials(benchmark)]
    context: Any = SimpleNamespace(benchmark=benchmark, session=SimpleNamespace(models_conf=Path("models.conf")))
    assert serve_options(cells[0].server, cells, context).keeps_gpu_inputs is keeps

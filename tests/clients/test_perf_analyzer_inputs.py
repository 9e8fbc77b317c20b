"""perf_analyzer's --input-data files: a model receives the same requests from raybench as from perf_analyzer."""

import base64
import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign_models import write_foreign_models
from own_triton import OwnTriton, own_triton
from real_parts import raybench

PERF_ANALYZER = shutil.which("perf_analyzer")
REQUESTS = 60
pytestmark = [pytest.mark.slow, pytest.mark.skipif(PERF_ANALYZER is None, reason="perf_analyzer is not installed")]


def raw(values: Any, kind: str) -> dict[str, str]:
    return {"b64": base64.b64encode(np.array(values, kind).tobytes()).decode()}


def text(value: bytes) -> dict[str, str]:
    return {"b64": base64.b64encode(len(value).to_bytes(4, "little") + value).decode()}


FLAT = [
    {"age": [n], "features": [n + 0.5, 1.5, -2.5, 1e-3], "comment": [f"row {n}"], **({"hint": [0.5]} if n == 3 else {})}
    for n in range(7)
]
CONTENT = [{name: {"content": values, "shape": [len(values)]} for name, values in step.items()} for step in FLAT]
BASE64 = [{"age": raw([n], "<i8"), "features": raw([n, 1, 2, 3], "<f4"), "comment": text(b"a\0" * n)} for n in range(5)]
ALIKE = [{name: step[name] for name in ("age", "features", "comment")} for step in FLAT]
WHOLE = [{"matrix": [float(n)] * 9} for n in range(4)]
CASES = {
    "flat arrays, an optional input": ("tabular", FLAT, 1),
    "content and shapes": ("tabular", CONTENT, 1),
    "base64": ("tabular", BASE64, 1),
    "batches that go around the end": ("tabular", ALIKE, 3),
    "batches of base64": ("tabular", BASE64, 2),
    "streams, of which the first is sent": ("tabular", [ALIKE[:3], ALIKE[3:]], 1),
    "no batch axis": ("whole", WHOLE, 1),
}


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("foreign") / "log"


@pytest.fixture(scope="module")
def server(log: Path) -> Iterator[OwnTriton]:
    with own_triton(write_foreign_models(log.parent / "repository", log)) as running:
        yield running


def received(log: Path, model: str) -> set[str]:
    """The requests that a model received since it was last asked, each by the hashes of its tensors."""
    file = log.with_name(f"{log.name}-{model}")
    lines = set(file.read_text().splitlines())
    file.write_text("")
    return lines


@pytest.mark.parametrize("case", CASES)
def test_a_model_receives_the_requests_of_perf_analyzer(
    case: str, server: OwnTriton, log: Path, tmp_path: Path, ray_environment: dict[str, str]
) -> None:
    """A model receives the same tensors in the same combinations from raybench as from perf_analyzer."""
    model, data, batch = CASES[case]
    file = tmp_path / "steps.json"
    file.write_text(json.dumps({"data": data}))
    command = [str(PERF_ANALYZER), "-m", model, "-u", server.url, "-i", "grpc", "--input-data", str(file)]
    command += ["-b", str(batch), "--concurrency-range", "4", "--request-count", str(REQUESTS)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    expected = received(log, model)
    run = raybench(
        "run", "-s", "triton", "--url", f"triton={server.url}", "-m", model, "--input", file, "-b", batch,
        "--workers", 1, "--concurrency", 4, "--request-count", REQUESTS, cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    assert received(log, model) == expected
    assert len(expected) > 2

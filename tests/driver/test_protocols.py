"""One run with every protocol and client: rows of their own, answers that agree, and what each costs the client."""

from pathlib import Path
from typing import Any

import pytest
from real_parts import TritonUnderTest, add_stand_in, raybench

MODEL = "mobilenet-no-opt"


def trials(run: Any) -> dict[str, Any]:
    """By label; each was measured without a failure, and its answers are TensorFlow's."""
    assert run.code == 0, run.err + run.out
    found = {trial["label"]: trial for trial in run.summary["trials"]}
    for label, trial in found.items():
        assert (trial["status"], trial["requests"]["failed"]) == ("ok", 0), label
        assert trial["verification"]["agrees"] is True, label
        assert trial["server_statistics"]["counted"]["success"] == trial["requests"]["succeeded"], label
    return found


@pytest.mark.slow
def test_a_triton_by_each_of_its_ways(triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """gRPC by both clients, HTTP, JSON: each is a row with a ceiling by the same way, JSON the dearest to write; the
    ratio between two ways is doubted."""
    run = raybench(
        "run", "-s", "triton", "--url", f"triton={triton.url},{triton.http_url}", "--models", triton.models,
        "-m", MODEL, "--protocol", "grpc", "--protocol", "http", "--protocol", "http-json",
        "--client", "http2", "--client", "grpcio",
        "--workers", 1, "--concurrency", 2, "-b", 2, "--request-count", 60, "--warmup-request-count", 4, "--calibrate",
        cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    found = trials(run)
    assert sorted(found) == ["triton", "triton (grpcio)", "triton (http)", "triton (http-json)"]
    for trial in found.values():  # a busy host may give the model that does nothing less, which is no ceiling then
        assert trial["ceiling"] or trial["ceiling_reason"].startswith("a model that does nothing gave it")
    cost = {label: trial["client_cost"] for label, trial in found.items()}
    assert cost["triton (http-json)"]["encode_ms_per_item"] > 5 * cost["triton (http)"]["encode_ms_per_item"]
    assert cost["triton (http-json)"]["request_bytes_per_item"] > 2 * cost["triton"]["request_bytes_per_item"]
    doubted = {
        label for label, trial in found.items() if "unequal_servers" in [each["code"] for each in trial["doubts"]]
    }
    assert doubted == {"triton (grpcio)", "triton (http)", "triton (http-json)"}


@pytest.mark.slow
def test_a_triton_by_its_http_port_alone(
    triton: TritonUnderTest, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """Where a url names the HTTP port alone, that is enough: signature, statistics and answers come over HTTP."""
    run = raybench(
        "run", "-s", "triton", "--url", f"triton={triton.http_url}", "--models", triton.models, "-m", MODEL,
        "--workers", 1, "--concurrency", 2, "-b", 2, "--request-count", 20, "--shared-memory", "system",
        cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert list(trials(run)) == ["triton (http, shared memory)"]


@pytest.mark.slow
def test_a_tensorflow_serving_by_each_of_its_ways(
    models: Path, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """gRPC, JSON in rows and JSON in columns are measured on one start of the server, with the same answers."""
    (tmp_path / "bin").mkdir()
    run = raybench(
        "run", "-s", "tfserving", "--models", models, "-m", MODEL, "--protocol", "grpc", "--protocol", "http",
        "--protocol", "http-columns", "--workers", 1, "--concurrency", 2, "-b", 1, "--request-count", 8,
        "--warmup-request-count", 2,
        cwd=tmp_path, env={**ray_environment, **add_stand_in(tmp_path / "bin")},
    )  # fmt: skip
    assert sorted(trials(run)) == ["tfserving", "tfserving (http)", "tfserving (http-columns)"]

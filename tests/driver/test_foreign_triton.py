"""`raybench run` against a Triton that serves models which raybench did not write."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from foreign_models import write_foreign_models
from own_triton import own_triton
from real_parts import Run, raybench


@dataclass(frozen=True)
class Foreign:
    """Where it answers, and what its models have written of what they received."""

    url: str
    log: Path

    def received(self, model: str) -> list[str]:
        return Path(f"{self.log}-{model}").read_text(encoding="utf-8").splitlines()


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Foreign]:
    folder = tmp_path_factory.mktemp("foreign")
    with own_triton(write_foreign_models(folder / "repository", folder / "log")) as running:
        yield Foreign(running.url, folder / "log")


def run(foreign: Foreign, cwd: Path, env: dict[str, str], *more: object) -> Run:
    load = ("--workers", 1, "--request-count", 30, "--warmup-request-count", 0, "--ui", "none")
    return raybench("run", "-s", "triton", "--url", f"triton={foreign.url}", *load, *more, cwd=cwd, env=env)


@pytest.mark.parametrize(
    ("model", "items", "inputs"),
    [
        ("tabular", 4, ["age=<i8[4]", "comment=|O[4,1]", "features=<f4[4,4]"]),
        pytest.param("whole", 1, ["matrix=<f8[3,3]"], marks=pytest.mark.slow),
        pytest.param("ragged", 2, ["tokens=|b1[2,40]"], marks=pytest.mark.slow),
    ],
)
def test_any_model_of_a_triton_is_measured(
    model: str, items: int, inputs: list[str], foreign: Foreign, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """By its metadata alone: with or without a batch axis, reshaped, optional inputs left out, all unlike."""
    size = ("-b", items) if items > 1 else ()
    done = run(foreign, tmp_path, ray_environment, "-m", model, *size)
    assert done.code == 0, done.err + done.out
    (trial,) = done.summary["trials"]
    assert trial["model"]["name"] == model
    assert trial["requests"]["succeeded"] == 30
    assert trial["server_statistics"]["counted"]["success"] == 30
    sent = {line for line in foreign.received(model) if starts(line, inputs)}  # beside what a trial request brought
    assert len(sent) == 30
    assert "TensorFlow" in next(each["sentence"] for each in trial["doubts"] if each["code"] == "not_verified")


def starts(line: str, inputs: list[str]) -> bool:
    """Whether a request had exactly these inputs, of these types and shapes."""
    tensors = line.split()
    return len(tensors) == len(inputs) and all(map(str.startswith, tensors, inputs))


def test_what_cannot_be_measured_is_one_sentence(
    foreign: Foreign, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """A model that is not there, or that answers by streams, is refused before any load, with what there is."""
    for model, words in {
        "nope": f"model is nope; Triton at {foreign.url} has no such model: choose one that it has (ragged, streaming,",
        "streaming": "model is streaming; it is decoupled",
    }.items():
        done = run(foreign, tmp_path, ray_environment, "-m", model)
        assert done.code == 2, done.err + done.out
        assert words in done.err
        assert len(done.err.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize(("size", "agrees"), [(9, True), (8, False)])
def test_what_a_file_expects_is_held_against_the_answers(
    size: int, agrees: bool, foreign: Foreign, ray_environment: dict[str, str], tmp_path: Path
) -> None:
    """perf_analyzer's validation_data verifies a model that nobody else could: its answers, whatever serves it."""
    steps = [{"matrix": [float(number)] * 9} for number in range(4)]
    file = tmp_path / "steps.json"
    file.write_text(json.dumps({"data": steps, "validation_data": [{"size": [size]}] * len(steps)}))
    done = run(foreign, tmp_path, ray_environment, "-m", "whole", "--input", file)
    (trial,) = done.summary["trials"]
    assert trial["verification"]["agrees"] is agrees, done.out
    codes = {doubt["code"] for doubt in trial["doubts"]}
    assert "not_verified" not in codes
    assert ("answers_differ" in codes) is not agrees

"""examples/compare.ipynb: a clean file, and cells that run from the first to the last."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from readme import ROOT
from real_parts import add_stand_in, newest_results

NOTEBOOK = ROOT / "examples" / "compare.ipynb"
SMALL = {"ARCHITECTURE": "mobilenet", "WORKERS": "2", "BATCH_SIZE": "2", "REQUEST_COUNT": "16", "ROUNDS": "2"}
_CELL_S = 300


@dataclass(frozen=True)
class Executed:
    """A notebook that was executed, and the summary of the run that it made."""

    cells: list[Any]
    summary: dict[str, Any]

    @property
    def outputs(self) -> list[Any]:
        return [output for cell in self.cells for output in cell.get("outputs", ())]

    @property
    def text(self) -> str:
        shown = (output.get("text") or output.get("data", {}).get("text/plain", "") for output in self.outputs)
        return "\n".join(shown)

    @property
    def figures(self) -> int:
        return sum("image/png" in output.get("data", {}) for output in self.outputs)


def execute(folder: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, **parameters: str) -> Executed:
    """Run the notebook in a folder, with other parameters than its own."""
    for name, value in {**environment, **{f"COMPARE_{name}": value for name, value in parameters.items()}}.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=_CELL_S, resources={"metadata": {"path": str(folder)}}).execute()
    results = newest_results(folder)
    assert results
    return Executed(notebook.cells, json.loads((results / "summary.json").read_text()))


def test_the_notebook_is_clean() -> None:
    """The notebook is a valid one without outputs, so that nobody reads figures or paths of another machine in it."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count] == []
    assert not re.search(r"/(work|home|root|tmp|Users)/", NOTEBOOK.read_text())
    assert set(notebook.metadata) == {"kernelspec", "language_info"}


def test_the_small_form_has_the_parameters_of_the_notebook() -> None:
    """What the test below sets is what the notebook reads, all in its one cell of parameters."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (parameters,) = [cell.source for cell in notebook.cells if "parameters" in cell.metadata.get("tags", ())]
    read = re.findall(r'^([A-Z_]+) = .*"COMPARE_([A-Z_]+)"', parameters, re.M)
    assert {name for name, variable in read if name == variable} == {*SMALL, "VARIANTS", "SERVERS"}
    assert NOTEBOOK.read_text().count("COMPARE_") == len(read)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_notebook_runs(tmp_path: Path, ray_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The notebook exports, calls every signature on every server, measures and plots; a server that cannot be had is
    named and passed over."""
    done = execute(tmp_path, ray_environment, monkeypatch, **SMALL)
    statuses = {trial["label"]: trial["status"] for trial in done.summary["trials"]}
    is_there = statuses.pop("tfserving") != "skipped"
    assert statuses == {"local": "ok", "triton x1": "ok"}
    assert ("tfserving is left out: TensorFlow Serving is not installed" in done.text) != is_there
    for signature in ("predict_images", "predict_jpeg", "predict_jpegs"):
        assert re.search(rf"triton x1 +mobilenet-no-opt +{signature} ", done.text)
    for cell in done.summary["cells"]:
        if cell["inferences_per_s"]:
            assert f"{cell['inferences_per_s']['mean']:.6f}".rstrip("0") in done.text  # pandas leaves out zeros
    assert done.figures == 3


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_the_notebook_calls_tensorflow_serving(
    tmp_path: Path, ray_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where TensorFlow Serving is there, the notebook calls each signature on it, with TensorFlow's answers."""
    environment = {**ray_environment, **add_stand_in(tmp_path)}
    done = execute(tmp_path, environment, monkeypatch, **{**SMALL, "ROUNDS": "1"}, SERVERS="tfserving")
    found = re.findall(r"tfserving +mobilenet-no-opt +(predict_\w+) +\((\d), 1000\)", done.text)
    assert sorted(found) == [("predict_images", "4"), ("predict_jpeg", "1"), ("predict_jpegs", "4")]
    assert [trial["status"] for trial in done.summary["trials"]] == ["ok"]

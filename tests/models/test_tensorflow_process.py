"""TensorFlow's own process: what it answers, and that it survives a bad question."""

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest

from raybench.models.tensorflow_process import (
    InputsRefusedError,
    NoAnswerInTimeError,
    NotLoadedError,
    ProcessEndedError,
    TensorflowProcess,
)
from raybench.processes import process_tree

_ONES = {"x": np.ones((2, 2), np.float32)}


@pytest.mark.slow
def test_one_process_answers_every_call(models: Path) -> None:
    """TensorFlow is imported once; a refused batch or an unknown model costs no restart, and a slow or killed process
    is replaced, so that no answer is taken for that of another question."""
    conf = models / "models.conf"
    with TensorflowProcess(conf, folder_prefix="raybench-test-") as process:
        (answer,) = process.compute("scale", "times", [_ONES], 120)
        first = _pids()
        assert answer["y"].shape == (2, 2)
        with pytest.raises(NotLoadedError, match="nope"):
            process.compute("nope", "times", [_ONES], 120)
        with pytest.raises(InputsRefusedError):
            process.compute("scale", "times", [{"x": np.array([b"text"], object)}], 120)
        assert _pids() == first
        os.kill(max(_pids()), signal.SIGSTOP)
        with pytest.raises(NoAnswerInTimeError, match="did not answer within"):
            process.compute("scale", "times", [_ONES], 0.2)
        assert not _pids()
        process.compute("scale", "times", [_ONES], 120)
        os.kill(max(_pids()), signal.SIGKILL)
        with pytest.raises(ProcessEndedError):
            process.compute("scale", "times", [_ONES], 120)
        (again,) = process.compute("scale", "times", [_ONES], 120)
        assert np.array_equal(answer["y"], again["y"])
    assert not _pids()


def test_the_first_models_are_loaded_before_they_are_asked_for(models: Path, tmp_path: Path) -> None:
    """After `settle` they need no file; a model that cannot be loaded is an error only when it is asked for."""
    copied = shutil.copytree(models, tmp_path / "models")
    with TensorflowProcess(copied / "models.conf", folder_prefix="raybench-test-") as process:
        process.start([("nope", "times"), ("scale", "times")])
        process.settle(120)
        shutil.rmtree(copied)
        (answer,) = process.compute("scale", "times", [_ONES], 120)
        assert answer["y"].shape == (2, 2)
        with pytest.raises(NotLoadedError):
            process.compute("nope", "times", [_ONES], 120)


@pytest.mark.parametrize("gives_back", [True, False])
def test_a_gpu_is_given_back_whatever_the_answer(
    models: Path, gives_back: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reference must not hold a GPU's memory beside the server under test, also after inputs that it refused; tries
    of values come before any server, and keep their process."""
    monkeypatch.setattr(TensorflowProcess, "_answer", lambda *_: {"refused": "no", "has_gpu": True})
    with TensorflowProcess(
        models / "models.conf", folder_prefix="raybench-test-", gives_back_gpu=gives_back
    ) as process:
        with pytest.raises(InputsRefusedError):
            process.compute("scale", "times", [_ONES], 120)
        assert (process._process is None) == gives_back


def _pids() -> list[int]:
    """The processes of TensorFlow that descend from this one, with their supervisors."""
    return [
        each.pid for each in process_tree(os.getpid())[1:] if "raybench.models.tensorflow_process" in each.cmdline()
    ]

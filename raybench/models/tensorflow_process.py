"""TensorFlow in a process of its own, so that no other process holds it: it loads models and computes batches."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from raybench.models.batch_files import read_batches, write_batches
from raybench.models.loaded_signature import (
    CallFailed,
    LoadedSignature,
    SignatureError,
    import_tensorflow,
    readable,
)
from raybench.processes import scratch_folder, stop_supervised, supervised

Outputs = Mapping[str, np.ndarray]  # by name, an item along axis 0 where the signature is batched
_INPUTS, _OUTPUTS, _ERRORS = "inputs.npz", "outputs.npz", "errors.txt"
_STOP_S = 5.0
_MOST_LOADED = 4


class ComputeError(Exception):
    """Outputs that could not be computed: one sentence."""


class NotLoadedError(ComputeError):
    """There is no such model or signature, or TensorFlow cannot load it."""


class InputsRefusedError(ComputeError):
    """TensorFlow refused the inputs."""


class ProcessEndedError(ComputeError):
    """TensorFlow's process ended instead of answering."""


class NoAnswerInTimeError(ComputeError):
    """TensorFlow did not answer within the time that it was given."""


class TensorflowProcess:
    """Computes batches with the signatures of a models.conf.

    Its process starts with the first batch, or with `start`, and ends with the block; with `gives_back_gpu` it ends
    after each call that may hold memory of a GPU, and starts again with the next. The last models stay loaded.
    """

    def __init__(
        self, models_conf: Path, *, folder_prefix: str, in_full_precision: bool = False, gives_back_gpu: bool = False
    ) -> None:
        self._models_conf, self._prefix = models_conf, folder_prefix
        self._in_full_precision, self._gives_back_gpu = in_full_precision, gives_back_gpu
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._open = ExitStack()
        self._folder = self._open.enter_context(scratch_folder(self._prefix))
        self._open.callback(self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def start(self) -> None:
        """Start to import TensorFlow, which takes seconds, and return at once."""
        self._process = self._process or self._started()

    def compute(
        self, model: str, signature: str, batches: Sequence[Mapping[str, np.ndarray]], timeout_s: float
    ) -> list[Outputs]:
        """The outputs for each batch of inputs; raises ComputeError, and stops the process where it did not answer."""
        write_batches(self._folder / _INPUTS, batches)
        self.start()
        try:
            answer = self._answer({"model": model, "signature": signature, "batches": len(batches)}, timeout_s)
        except BaseException:  # also an interrupt: what it answers later must not be taken for the next answer
            self._stop()
            raise
        if self._gives_back_gpu and answer["has_gpu"]:
            self._stop()
        if sentence := answer.get("not_loaded"):
            raise NotLoadedError(sentence)
        if sentence := answer.get("refused"):
            raise InputsRefusedError(sentence)
        return [*read_batches(self._folder / _OUTPUTS, len(batches))]

    def _answer(self, question: Mapping[str, Any], timeout_s: float) -> Mapping[str, Any]:
        process = self._process
        assert process is not None
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            print(json.dumps(question), file=process.stdin, flush=True)
        is_there, _, _ = select.select([process.stdout], [], [], max(0.0, timeout_s))
        if not is_there:
            raise NoAnswerInTimeError(f"TensorFlow did not answer within {timeout_s:.0f} s")
        if line := process.stdout.readline():
            answer: dict[str, Any] = json.loads(line)
            return answer
        said = (self._folder / _ERRORS).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ProcessEndedError(said[-1] if said else "TensorFlow's process ended and printed nothing")

    def _started(self) -> "subprocess.Popen[str]":
        folder = str(self._folder)
        precision = ["--full-precision"] if self._in_full_precision else []
        command = [sys.executable, "-P", "-m", "raybench.models.tensorflow_process", folder, str(self._models_conf)]
        with open(self._folder / _ERRORS, "wb") as errors:
            return subprocess.Popen(
                supervised([*command, *precision], sweep_if_alone=(folder,)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                encoding="utf-8",
                errors="replace",
            )

    def _stop(self) -> None:
        if self._process:
            stop_supervised(self._process, _STOP_S)
            for pipe in (self._process.stdin, self._process.stdout):
                with suppress(OSError):
                    if pipe:
                        pipe.close()
        self._process = None


def _main(folder: Path, models_conf: Path, *, in_full_precision: bool) -> int:
    """Answer the questions on stdin, a line each; inputs and outputs lie in the folder."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed is no answer
    has_gpu = bool(import_tensorflow().config.list_physical_devices("GPU"))
    loaded = dict[tuple[str, str], LoadedSignature]()
    for line in sys.stdin:
        question = json.loads(line)
        key = (question["model"], question["signature"])
        try:
            if key in loaded:
                loaded[key] = loaded.pop(key)  # the last used is the last to go
            else:
                while len(loaded) >= _MOST_LOADED:
                    del loaded[next(iter(loaded))]
                loaded[key] = LoadedSignature(models_conf, model=key[0], signature=key[1])
                if in_full_precision:
                    loaded[key].compute_in_full_precision()
            answer = _computed(loaded[key], folder, question["batches"])
        except SignatureError as error:
            answer = {"not_loaded": str(error)}
        print(json.dumps({**answer, "has_gpu": has_gpu}), file=answers, flush=True)
    return 0


def _computed(signature: LoadedSignature, folder: Path, count: int) -> dict[str, str]:
    """Compute the batches in the folder and write the outputs beside them; or why not."""
    try:
        outputs = [signature.call(batch) for batch in read_batches(folder / _INPUTS, count)]
    except CallFailed as error:
        return {"refused": error.sentence}
    except Exception as error:  # such as a shape that the signature does not have
        return {"refused": (str(error).splitlines() or [type(error).__name__])[0]}
    write_batches(folder / _OUTPUTS, [{name: readable(array) for name, array in each.items()} for each in outputs])
    return {}


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), Path(sys.argv[2]), in_full_precision="--full-precision" in sys.argv[3:]))

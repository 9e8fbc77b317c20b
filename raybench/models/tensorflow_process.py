"""TensorFlow in a process of its own, so that no other process holds it: it loads models and computes batches."""

import json
import os
import select
import subprocess
import sys
import time
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
from raybench.models.saved_model_loader import leave_out_keras
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
        self._is_up = False

    def __enter__(self) -> Self:
        self._open = ExitStack()
        self._folder = self._open.enter_context(scratch_folder(self._prefix))
        self._open.callback(self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def start(self, first: Sequence[tuple[str, str]] = ()) -> None:
        """Start to import TensorFlow, and to load the first of these models and signatures, and return at once.

        On a host with a GPU none is loaded: it would hold memory there.
        """
        self._process = self._process or self._started(first[:_MOST_LOADED])

    def settle(self, timeout_s: float) -> None:
        """Wait until a process that was started computes nothing more by itself, or has ended."""
        if self._process and not self._is_up:
            self._is_up = bool(self._line(timeout_s))

    def compute(
        self, model: str, signature: str, batches: Sequence[Mapping[str, np.ndarray]], timeout_s: float
    ) -> list[Outputs]:
        """The outputs for each batch of inputs; raises ComputeError, and stops the process where it did not answer."""
        write_batches(self._folder / _INPUTS, batches)
        end_s = time.monotonic() + timeout_s
        self.start()
        try:
            self.settle(timeout_s)
            question = {"model": model, "signature": signature, "batches": len(batches)}
            answer = self._answer(question, max(0.0, end_s - time.monotonic()))
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
        assert self._process is not None
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            print(json.dumps(question), file=self._process.stdin, flush=True)
        if line := self._line(timeout_s):
            answer: dict[str, Any] = json.loads(line)
            return answer
        said = (self._folder / _ERRORS).read_text(encoding="utf-8", errors="replace").strip().splitlines()
        raise ProcessEndedError(said[-1] if said else "TensorFlow's process ended and printed nothing")

    def _line(self, timeout_s: float) -> str:
        """The next that the process says, empty where it has ended; raises NoAnswerInTimeError."""
        assert self._process is not None
        assert self._process.stdout is not None
        is_there, _, _ = select.select([self._process.stdout], [], [], timeout_s)
        if not is_there:
            raise NoAnswerInTimeError(f"TensorFlow did not answer within {timeout_s:.0f} s")
        return self._process.stdout.readline()

    def _started(self, first: Sequence[tuple[str, str]]) -> "subprocess.Popen[str]":
        self._is_up = False
        folder = str(self._folder)
        options = [json.dumps(first), *(["--full-precision"] if self._in_full_precision else [])]
        command = [sys.executable, "-P", "-m", "raybench.models.tensorflow_process", folder, str(self._models_conf)]
        with open(self._folder / _ERRORS, "wb") as errors:
            return subprocess.Popen(
                supervised([*command, *options], sweep_if_alone=(folder,)),
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


def _main(folder: Path, models_conf: Path, first: Sequence[tuple[str, str]], *, in_full_precision: bool) -> int:
    """Load the first signatures, say so, and answer the questions on stdin, a line each; inputs and outputs lie in the
    folder."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed is no answer
    leave_out_keras()
    has_gpu = bool(import_tensorflow().config.list_physical_devices("GPU"))
    loaded = _Loaded(models_conf, in_full_precision=in_full_precision)
    for model, signature in () if has_gpu else first:
        with suppress(SignatureError):  # said where it is asked for
            loaded.signature(model, signature)
    print(file=answers, flush=True)
    for line in sys.stdin:
        question = json.loads(line)
        try:
            answer = _computed(loaded.signature(question["model"], question["signature"]), folder, question["batches"])
        except SignatureError as error:
            answer = {"not_loaded": str(error)}
        print(json.dumps({**answer, "has_gpu": has_gpu}), file=answers, flush=True)
    return 0


class _Loaded:
    """The signatures that were used last."""

    def __init__(self, models_conf: Path, *, in_full_precision: bool) -> None:
        self._models_conf, self._in_full_precision = models_conf, in_full_precision
        self._there = dict[tuple[str, str], LoadedSignature]()

    def signature(self, model: str, signature: str) -> LoadedSignature:
        """It, loaded where it is not there; raises SignatureError."""
        key = model, signature
        if key in self._there:
            self._there[key] = self._there.pop(key)  # the last used is the last to go
        else:
            while len(self._there) >= _MOST_LOADED:
                del self._there[next(iter(self._there))]
            found = LoadedSignature(self._models_conf, model=model, signature=signature)
            if self._in_full_precision:
                found.compute_in_full_precision()
            self._there[key] = found
        return self._there[key]


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
    asked = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    sys.exit(_main(*asked, in_full_precision="--full-precision" in sys.argv[4:]))

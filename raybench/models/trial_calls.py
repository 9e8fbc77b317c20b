"""Calls that find out which values a SavedModel accepts, in a process of its own, before any load."""

import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO

import numpy as np

from raybench.models.batch_files import read_batches, write_batches
from raybench.models.loaded_signature import CallFailed, LoadedSignature, SignatureError
from raybench.processes import scratch_folder, stop_supervised, supervised

_FILE = "inputs.npz"
_STOP_S = 5.0
_MOST_ENDS = 3  # of the process, by values that TensorFlow does not survive


class NotTriedError(Exception):
    """A model that cannot be tried: one sentence."""


@dataclass(frozen=True)
class Refusal:
    """Why values are not good; `is_computed` where they were accepted, and the answer is not finite."""

    sentence: str
    is_computed: bool = False


class TrialCalls:
    """Calls of TensorFlow; its process starts with the first, and ends with the block or `deadline_s` later."""

    def __init__(self, models_conf: Path, deadline_s: float) -> None:
        self._models_conf, self._left_s, self._ends = models_conf, deadline_s, 0
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self._open = ExitStack()
        self._folder = self._open.enter_context(scratch_folder("raybench-trial-"))
        self._open.callback(self._stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def refusal(self, model: str, signature: str, batch: Mapping[str, np.ndarray]) -> Refusal | None:
        """Why a model does not take a batch; None where it does. Raises NotTriedError where that is not found out."""
        write_batches(self._folder / _FILE, [batch])
        answer = self._answer({"model": model, "signature": signature})
        if answer is None:
            self._ends += 1
            if self._ends >= _MOST_ENDS:
                raise NotTriedError("TensorFlow's process stopped each time")
            return Refusal("TensorFlow's process ended")
        if untried := answer.get("untried"):
            raise NotTriedError(str(untried))
        refused = answer.get("refused")
        return Refusal(str(refused), is_computed=bool(answer["is_computed"])) if refused else None

    def _answer(self, question: Mapping[str, str]) -> dict[str, object] | None:
        """The process's answer; None where it has ended in place of one."""
        process = self._process = self._process or self._start()
        assert process.stdin is not None
        assert process.stdout is not None
        began_s = time.monotonic()
        with suppress(BrokenPipeError):
            print(json.dumps(question), file=process.stdin, flush=True)
        is_there, _, _ = select.select([process.stdout], [], [], max(0.0, self._left_s))
        self._left_s -= time.monotonic() - began_s
        if not is_there:
            raise NotTriedError("TensorFlow did not answer in time")
        line = process.stdout.readline()
        if not line:
            self._stop()
        return json.loads(line) if line else None

    def _start(self) -> subprocess.Popen[str]:
        folder = str(self._folder)
        command = [sys.executable, "-P", "-m", "raybench.models.trial_calls", folder, str(self._models_conf)]
        return subprocess.Popen(
            supervised(command, sweep_if_alone=(folder,)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
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


def unfinite(outputs: Mapping[str, np.ndarray]) -> str | None:
    """Which output is not finite, as a sentence; None where all are."""
    for name, values in outputs.items():
        numbers = values.astype(np.float32) if values.dtype.kind == "V" else values  # bfloat16
        if numbers.dtype.kind in "fc" and not np.isfinite(numbers).all():
            return f"output {name} is not finite"
    return None


def _main(folder: Path, models_conf: Path) -> int:
    """Answer the questions on stdin, a line each; the inputs lie in the folder."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever else is printed is no answer
    loaded: dict[tuple[str, str], LoadedSignature] = {}
    for line in sys.stdin:
        question = json.loads(line)
        key = (question["model"], question["signature"])
        try:
            if key not in loaded:
                loaded[key] = LoadedSignature(models_conf, model=key[0], signature=key[1])
            _say(answers, **_tried(loaded[key], folder / _FILE))
        except SignatureError as error:
            _say(answers, untried=str(error))
    return 0


def _tried(signature: LoadedSignature, file: Path) -> dict[str, str | bool]:
    (batch,) = read_batches(file, 1)
    try:
        outputs = signature.call(batch)
    except CallFailed as error:
        return {"refused": error.sentence, "is_computed": False}
    except Exception as error:  # such as a shape that the signature does not have
        return {"refused": (str(error).splitlines() or [type(error).__name__])[0], "is_computed": False}
    found = unfinite(outputs)
    return {"refused": found, "is_computed": True} if found else {}


def _say(answers: TextIO, **said: str | bool) -> None:
    print(json.dumps(said), file=answers, flush=True)


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), Path(sys.argv[2])))

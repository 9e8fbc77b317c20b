"""TensorFlow's own answers to batches, which what the servers answer is compared with."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from raybench.models.batch_files import flat
from raybench.models.tensorflow_process import ComputeError, NoAnswerInTimeError, Outputs, TensorflowProcess

_TIMEOUT_S = 900


class NoReferenceError(Exception):
    """A reference that cannot be computed: one sentence."""


class Reference:
    """TensorFlow's answers to batches, kept by model, signature and batch."""

    def __init__(self, process: TensorflowProcess) -> None:
        self._process = process
        self._known: dict[tuple[str, str, str], Outputs] = {}

    def settle(self, say: Callable[[str], None]) -> None:
        """Wait until what was to be loaded soon is: it would take CPU from a server that starts, or is measured."""
        with suppress(NoAnswerInTimeError):
            self._process.settle(0.0)
            return
        say("loading the models whose answers are the reference")
        with suppress(NoAnswerInTimeError):
            self._process.settle(_TIMEOUT_S)

    def answers(self, model: str, signature: str, batches: Sequence[Mapping[str, np.ndarray]]) -> list[Outputs]:
        """The outputs for each batch of inputs; raises NoReferenceError."""
        keys = [(model, signature, _hash(batch)) for batch in batches]
        missing = {key: batch for key, batch in zip(keys, batches, strict=True) if key not in self._known}
        if missing:
            try:
                computed = self._process.compute(model, signature, list(missing.values()), _TIMEOUT_S)
            except ComputeError as error:
                raise NoReferenceError(f"TensorFlow gave no reference: {error}") from error
            self._known |= dict(zip(missing, computed, strict=True))
        return [self._known[key] for key in keys]


@contextmanager
def tensorflow_reference(models_conf: Path, soon: Sequence[tuple[str, str]] = ()) -> Iterator[Reference]:
    """A reference for the models of a models.conf.

    With `soon`, models and signatures that will be asked for, TensorFlow is imported and the first are loaded now,
    beside what the caller does next.
    """
    with TensorflowProcess(
        models_conf, folder_prefix="raybench-reference-", in_full_precision=True, gives_back_gpu=True
    ) as process:
        if soon:
            process.start(soon)
        yield Reference(process)


def _hash(batch: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b()
    for name, array in flat(batch).items():
        digest.update(name.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()

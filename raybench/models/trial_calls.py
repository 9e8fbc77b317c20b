"""Calls that find out which values a SavedModel accepts, in TensorFlow's process, before any load."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from raybench.models.tensorflow_process import (
    InputsRefusedError,
    NoAnswerInTimeError,
    NotLoadedError,
    ProcessEndedError,
    TensorflowProcess,
)

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
        self._process = TensorflowProcess(models_conf, folder_prefix="raybench-trial-")
        self._left_s, self._ends = deadline_s, 0

    def __enter__(self) -> Self:
        self._process.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.__exit__(kind, error, traceback)

    def refusal(self, model: str, signature: str, batch: Mapping[str, np.ndarray]) -> Refusal | None:
        """Why a model does not take a batch; None where it does. Raises NotTriedError where that is not found out."""
        began_s = time.monotonic()
        try:
            (outputs,) = self._process.compute(model, signature, [batch], self._left_s)
        except InputsRefusedError as error:
            return Refusal(str(error))
        except ProcessEndedError as error:
            self._ends += 1
            if self._ends >= _MOST_ENDS:
                raise NotTriedError("TensorFlow's process stopped each time") from error
            return Refusal("TensorFlow's process ended")
        except NoAnswerInTimeError as error:
            raise NotTriedError("TensorFlow did not answer in time") from error
        except NotLoadedError as error:
            raise NotTriedError(str(error)) from error
        finally:
            self._left_s -= time.monotonic() - began_s
        found = unfinite(outputs)
        return Refusal(found, is_computed=True) if found else None


def unfinite(outputs: Mapping[str, np.ndarray]) -> str | None:
    """Which output is not finite, as a sentence; None where all are."""
    for name, values in outputs.items():
        numbers = values.astype(np.float32) if values.dtype.kind == "V" else values  # bfloat16
        if numbers.dtype.kind in "fc" and not np.isfinite(numbers).all():
            return f"output {name} is not finite"
    return None

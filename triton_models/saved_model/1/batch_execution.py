"""A batch -> its TensorFlow call -> for each of its requests outputs, or an error of its own. Knows no Triton."""

from typing import Any

import numpy as np
from dynamic_batching import Batch, ParsedRequest
from loaded_models import LoadedModels
from request_parsing import RequestError
from tensorflow_errors import sentence
from tensorflow_executor import Executor

Outputs = dict[str, np.ndarray]


class BatchExecution:
    """Executes batches; a request that makes a shared call fail is the only one that fails."""

    def __init__(self, tf: Any, models: LoadedModels, executor: Executor) -> None:
        self._errors, self._models, self._executor = tf.errors, models, executor

    def run(self, batch: Batch) -> list[Outputs | RequestError]:
        """For each request its outputs or its error: by one call for all or, where that fails, by a call for each."""
        try:
            return [*self._run_together(batch)]
        except Exception as error:
            if len(batch) > 1:
                return [result for request in batch for result in self.run((request,))]
            return [self.request_error(batch[0], error)]

    def _run_together(self, batch: Batch) -> list[Outputs]:
        key = batch[0].key
        wanted = frozenset[str]().union(*(request.outputs for request in batch))
        parts = {name: [request.inputs[name] for request in batch] for name in batch[0].inputs}
        outputs = self._executor.call(self._models.functions[key], parts, wanted)
        if len(batch) == 1:
            return [outputs]
        ends = np.cumsum([request.items for request in batch])
        if any(len(array) != ends[-1] for array in outputs.values()):
            self._models.batchable.discard(key)  # its rows are not its items: never batch it again
            raise ValueError("the outputs of a merged call cannot be split")
        split = {name: np.split(array, ends[:-1]) for name, array in outputs.items()}
        return [{name: split[name][i] for name in split} for i in range(len(batch))]

    def request_error(self, request: ParsedRequest, error: Exception) -> RequestError:
        """What a request is refused with where executing it raised an error."""
        errors = self._errors
        is_request_fault = isinstance(error, errors.InvalidArgumentError | errors.UnimplementedError | ValueError)
        code = "INVALID_ARG" if is_request_fault else "INTERNAL"
        return RequestError(code, f"{request.key}: {sentence(error)}")

"""A model repository of Triton's that raybench did not write: python models with tensors of many kinds.

Each answers with a hash of what it received, which tests compare with what was sent.
"""

from pathlib import Path
from textwrap import dedent

_MODEL = """
import hashlib

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        with open("LOG", "a") as log:
            log.write(" ".join(f"{name}={digest(array)}" for name, array in sorted(arrays.items())) + "\\n")
        first = arrays[sorted(arrays)[0]]
        size = RESULT
        return pb_utils.InferenceResponse([pb_utils.Tensor("size", np.full(size, first.size, np.int32))])


def digest(array):
    values = array.ravel().tolist() if array.dtype == object else [array.tobytes()]
    return f"{array.dtype.str}{list(array.shape)}{hashlib.sha256(b'|'.join(values)).hexdigest()[:16]}".replace(" ", "")
"""
_ROWS, _ONE = "(len(first), 1)", "(1,)"
# By name: the config, and the shape of the answer.
FOREIGN = {
    "tabular": (
        """
        max_batch_size: 16
        input [
          { name: "age" data_type: TYPE_INT64 dims: [ 1 ] reshape: { shape: [ ] } },
          { name: "features" data_type: TYPE_FP32 dims: [ 4 ] },
          { name: "comment" data_type: TYPE_STRING dims: [ 1 ] },
          { name: "hint" data_type: TYPE_FP32 dims: [ 1 ] optional: true }
        ]
        output [ { name: "size" data_type: TYPE_INT32 dims: [ 1 ] } ]
        dynamic_batching { }
        """,
        _ROWS,
    ),
    "whole": (
        """
        max_batch_size: 0
        input [ { name: "matrix" data_type: TYPE_FP64 dims: [ 3, 3 ] } ]
        output [ { name: "size" data_type: TYPE_INT32 dims: [ 1 ] } ]
        """,
        _ONE,
    ),
    "ragged": (
        """
        max_batch_size: 8
        input [ { name: "tokens" data_type: TYPE_BOOL dims: [ 40 ] allow_ragged_batch: true } ]
        output [ { name: "size" data_type: TYPE_INT32 dims: [ 1 ] } ]
        """,
        _ROWS,
    ),
    "streaming": (
        """
        max_batch_size: 0
        input [ { name: "x" data_type: TYPE_FP32 dims: [ 1 ] } ]
        output [ { name: "size" data_type: TYPE_INT32 dims: [ 1 ] } ]
        model_transaction_policy { decoupled: true }
        """,
        _ONE,
    ),
}


def write_foreign_models(repository: Path, log: Path) -> Path:
    """The models of `FOREIGN`; what each receives is a line of the file `log`."""
    for name, (config, size) in FOREIGN.items():
        (repository / name / "1").mkdir(parents=True)
        text = f'name: "{name}"\nbackend: "python"\n{dedent(config)}'
        (repository / name / "config.pbtxt").write_text(text, encoding="utf-8")
        code = _MODEL.replace("RESULT", size).replace("LOG", f"{log}-{name}")
        (repository / name / "1" / "model.py").write_text(code, encoding="utf-8")
    return repository

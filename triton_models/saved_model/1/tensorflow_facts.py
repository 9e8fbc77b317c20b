"""What a process computes with, as TensorFlow itself says."""

import os
from typing import Any


def tensorflow_facts(tf: Any) -> dict[str, str | int]:
    """The version of an imported TensorFlow, and its threads: between operations and inside one."""
    threads = tf.config.threading
    return {
        "tensorflow": str(tf.__version__),
        "inter_op_threads": _threads(threads.get_inter_op_parallelism_threads(), "TF_NUM_INTEROP_THREADS"),
        "intra_op_threads": _threads(threads.get_intra_op_parallelism_threads(), "TF_NUM_INTRAOP_THREADS"),
    }


def _threads(asked: int, variable: str) -> int:
    """0 leaves it to the environment, which leaves it to the cores that the process may use.

    tensorflow/core/common_runtime: process_util.cc and local_device.cc.
    """
    given = os.environ.get(variable, "")
    return asked or (int(given) if given.isdigit() else 0) or len(os.sched_getaffinity(0))

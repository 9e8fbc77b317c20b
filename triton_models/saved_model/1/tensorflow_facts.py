"""What a process computes with, as TensorFlow itself says."""

import os
from typing import Any


def tensorflow_facts(tf: Any) -> dict[str, str | int | None]:
    """The version of an imported TensorFlow, its threads between operations and inside one, and how it takes memory of
    its GPU."""
    threads = tf.config.threading
    return {
        "tensorflow": str(tf.__version__),
        "inter_op_threads": _threads(threads.get_inter_op_parallelism_threads(), "TF_NUM_INTEROP_THREADS"),
        "intra_op_threads": _threads(threads.get_intra_op_parallelism_threads(), "TF_NUM_INTRAOP_THREADS"),
        "gpu_allocator": _gpu_allocator(tf),
    }


def _threads(asked: int, variable: str) -> int:
    """0 leaves it to the environment, which leaves it to the cores that the process may use.

    tensorflow/core/common_runtime: process_util.cc and local_device.cc.
    """
    given = os.environ.get(variable, "")
    return asked or (int(given) if given.isdigit() else 0) or len(os.sched_getaffinity(0))


def _gpu_allocator(tf: Any) -> str | None:
    """growth: as it needs, and never back; limit: up to so much; all: at once. None without a GPU."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return None
    logical = tf.config.get_logical_device_configuration(gpus[0]) or ()
    limits = [str(each.memory_limit) for each in logical if each.memory_limit]
    forced = os.environ.get("TF_FORCE_GPU_ALLOW_GROWTH", "").lower()
    grows = tf.config.experimental.get_memory_growth(gpus[0]) if forced not in ("true", "false") else forced == "true"
    mode = f"limit of {'+'.join(limits)} MiB" if limits else "growth" if grows else "all"
    allocator = os.environ.get("TF_GPU_ALLOCATOR")
    return f"{mode} by {allocator}" if allocator else mode

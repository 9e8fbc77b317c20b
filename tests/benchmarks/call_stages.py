"""Where the time of one TensorFlow call goes, in one process: what a backend does one after the other, or at once.

    python tests/benchmarks/call_stages.py [--models models] [-m resnet50-no-opt] [--batch-size 100] [--calls 30]

Prints the median of each step, ms: copying an input into a tensor, lending it instead, moving it to the GPU, handing
the call over, waiting for its first output, and fetching the others; then whole calls, one after the other.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

BACKEND = Path(__file__).parents[2] / "triton_models" / "saved_model" / "1"
SIGNATURE = "predict_images"


def milliseconds(call: Callable[[], Any]) -> tuple[float, Any]:
    started = time.perf_counter()
    answer = call()
    return (time.perf_counter() - started) * 1e3, answer


def steps(tf: Any, function: Any, images: np.ndarray) -> dict[str, float]:
    """The steps of one call, ms."""
    took = {}
    device = "GPU:0" if tf.config.list_physical_devices("GPU") else "CPU:0"
    took["copy an array of its size"], _ = milliseconds(lambda: images.copy())
    took["tf.constant, on the CPU"], _ = milliseconds(lambda: constant(tf, images, "CPU:0"))
    took["tf.constant, on the device"], _ = milliseconds(lambda: constant(tf, images, device))
    with tf.device(device):
        took["lend and move"], tensor = milliseconds(lambda: tf.identity(lent(tf, images)))
    took["hand over"], results = milliseconds(lambda: function(images=tensor))
    names = sorted(results)
    took["wait for the first output"], _ = milliseconds(results[names[0]].numpy)
    took["fetch the others"], _ = milliseconds(lambda: [results[name].numpy() for name in names[1:]])
    return took


def constant(tf: Any, images: np.ndarray, device: str) -> Any:
    with tf.device(device):
        return tf.constant(images)


def lent(tf: Any, images: np.ndarray) -> Any:
    return tf.experimental.dlpack.from_dlpack(images.__dlpack__())


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("-m", "--model", action="append")
    parser.add_argument("--batch-size", type=int, default=100)
    parser.add_argument("--calls", type=int, default=30)
    asked = parser.parse_args()
    import tensorflow as tf

    sys.path.insert(0, str(BACKEND))
    from scratch_memory import ScratchMemory
    from tensorflow_executor import Executor

    for gpu in tf.config.list_physical_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (asked.batch_size, 224, 224, 3), np.uint8)
    images = ScratchMemory().concatenate("images", [images])  # aligned, so that a CPU can borrow it too
    for model in asked.model or ["resnet50-no-opt", "resnet50-xla-amp"]:
        function = tf.saved_model.load(str(asked.models / model / "1")).signatures[SIGNATURE]
        steps(tf, function, images)
        seen = [steps(tf, function, images) for _ in range(asked.calls)]
        for name in seen[0]:
            print(f"{model:24} {name:28} {median(each[name] for each in seen):8.2f} ms")
        executor, wanted = Executor(tf), frozenset(function.structured_outputs)
        wholes = {
            "numpy in and out": lambda f=function: {k: t.numpy() for k, t in f(images=tf.constant(images)).items()},
            "by the backend's Executor": lambda f=function, e=executor, w=wanted: e.call(f, {"images": [images]}, w),
        }
        for name, whole in wholes.items():
            whole()
            took = median(milliseconds(whole)[0] for _ in range(asked.calls))
            print(f"{model:24} {name:28} {took:8.2f} ms  {asked.batch_size / took * 1e3:8.0f} images/s", flush=True)


if __name__ == "__main__":
    main()

"""How many GPUs TensorFlow sees here, as a program that prints the number: whoever asks never loads TensorFlow."""

import subprocess
import sys

from raybench.models.loaded_signature import import_tensorflow
from raybench.processes import supervised

COMMAND = (sys.executable, "-P", "-m", "raybench.models.visible_gpus")


def count_visible_gpus(timeout_s: float) -> int | None:
    """None where TensorFlow does not import, or not in time."""
    try:
        done = subprocess.run(
            supervised(list(COMMAND)),
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    last = (done.stdout.split() or [""])[-1]
    return int(last) if done.returncode == 0 and last.isdigit() else None


if __name__ == "__main__":
    print(len(import_tensorflow().config.list_physical_devices("GPU")))

"""TensorFlow's own answers, computed in a process of its own, so that no other process holds TensorFlow."""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from raybench.models.loaded_signature import CallFailed, LoadedSignature, SignatureError
from raybench.processes import supervised

Outputs = Mapping[str, np.ndarray]  # by name, the first axis is the image
_TIMEOUT_S = 900
_IMAGES_FILE, _OUTPUTS_FILE = "images.npz", "outputs.npz"


class ReferenceError(Exception):
    """A reference that cannot be computed: one sentence."""


class Reference:
    """TensorFlow's own answers to images, computed in a process of its own and kept by model and images."""

    def __init__(self, models: Path) -> None:
        self._models = models
        self._known: dict[tuple[str, str, str], Outputs] = {}

    def answers(self, model: str, signature: str, batches: Sequence[np.ndarray]) -> list[Outputs]:
        """The outputs for each batch, uint8 [n, h, w, 3] or JPEG files of dtype S; raises ReferenceError."""
        keys = [(model, signature, hashlib.blake2b(batch.tobytes()).hexdigest()) for batch in batches]
        missing = {key: batch for key, batch in zip(keys, batches, strict=True) if key not in self._known}
        if missing:
            self._known |= dict(zip(missing, self._compute(model, signature, list(missing.values())), strict=True))
        return [self._known[key] for key in keys]

    def _compute(self, model: str, signature: str, batches: list[np.ndarray]) -> list[Outputs]:
        with tempfile.TemporaryDirectory(prefix="raybench-reference-") as folder:
            np.savez(Path(folder) / _IMAGES_FILE, *batches)
            command = [
                sys.executable,
                "-m",
                "raybench.models.reference",
                folder,
                str(self._models),
                model,
                signature,
            ]
            try:
                done = subprocess.run(
                    supervised(command), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
                )
            except subprocess.TimeoutExpired as error:
                raise ReferenceError(f"TensorFlow gave no reference within {_TIMEOUT_S} s") from error
            if done.returncode != 0:
                last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
                raise ReferenceError(f"TensorFlow gave no reference: {last}")
            with np.load(Path(folder) / _OUTPUTS_FILE) as file:
                return [_batch(file, number) for number in range(len(batches))]


def _batch(file: Mapping[str, np.ndarray], number: int) -> Outputs:
    prefix = f"{number}/"
    return {name.removeprefix(prefix): file[name] for name in file if name.startswith(prefix)}


def _main(folder: Path, models: str, model: str, signature: str) -> int:
    """Answer the images of a folder with TensorFlow, and write the outputs beside them."""
    outputs: dict[str, np.ndarray] = {}
    try:
        loaded = LoadedSignature(Path(models) / "models.conf", model=model, signature=signature)
        (name,) = loaded.spec.inputs
        with np.load(folder / _IMAGES_FILE) as batches:
            for number, batch in enumerate(batches):
                answers = loaded.call({name: batches[batch]})
                outputs |= {f"{number}/{output}": array for output, array in answers.items()}
    except (SignatureError, CallFailed) as error:
        print(error, file=sys.stderr)
        return 1
    np.savez(folder / _OUTPUTS_FILE, **outputs)
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), *sys.argv[2:5]))

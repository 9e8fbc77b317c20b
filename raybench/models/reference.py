"""TensorFlow's own answers, computed in a process of its own, so that no other process holds TensorFlow."""

import hashlib
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from raybench.models.batch_files import flat, read_batches, write_batches
from raybench.models.loaded_signature import CallFailed, LoadedSignature, SignatureError, readable
from raybench.processes import scratch_folder, supervised

Outputs = Mapping[str, np.ndarray]  # by name, an item along axis 0
_TIMEOUT_S = 900
_INPUTS_FILE, _OUTPUTS_FILE = "inputs.npz", "outputs.npz"


class NoReferenceError(Exception):
    """A reference that cannot be computed: one sentence."""


class Reference:
    """TensorFlow's answers to batches, kept by model, signature and batch."""

    def __init__(self, models: Path) -> None:
        self._models = models
        self._known: dict[tuple[str, str, str], Outputs] = {}

    def answers(self, model: str, signature: str, batches: Sequence[Mapping[str, np.ndarray]]) -> list[Outputs]:
        """The outputs for each batch of inputs; raises NoReferenceError."""
        keys = [(model, signature, _hash(batch)) for batch in batches]
        missing = {key: batch for key, batch in zip(keys, batches, strict=True) if key not in self._known}
        if missing:
            self._known |= dict(zip(missing, self._compute(model, signature, list(missing.values())), strict=True))
        return [self._known[key] for key in keys]

    def _compute(self, model: str, signature: str, batches: list[Mapping[str, np.ndarray]]) -> list[Outputs]:
        with scratch_folder("raybench-reference-") as folder:
            write_batches(folder / _INPUTS_FILE, batches)
            command = [
                sys.executable,
                "-P",
                "-m",
                "raybench.models.reference",
                str(folder),
                str(self._models),
                model,
                signature,
            ]
            try:
                done = subprocess.run(
                    supervised(command, sweep_if_alone=(str(folder),)),
                    capture_output=True,
                    encoding="utf-8",
                    errors="replace",
                    timeout=_TIMEOUT_S,
                    check=False,
                )
            except subprocess.TimeoutExpired as error:
                raise NoReferenceError(f"TensorFlow gave no reference within {_TIMEOUT_S} s") from error
            if done.returncode != 0:
                last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
                raise NoReferenceError(f"TensorFlow gave no reference: {last}")
            return [*read_batches(folder / _OUTPUTS_FILE, len(batches))]


def _hash(batch: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b()
    for name, array in flat(batch).items():
        digest.update(name.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _main(folder: Path, models: str, model: str, signature: str) -> int:
    """Answer the inputs of a folder with TensorFlow, and write the outputs beside them."""
    try:
        loaded = LoadedSignature(Path(models) / "models.conf", model=model, signature=signature)
        with np.load(folder / _INPUTS_FILE, allow_pickle=False) as file:
            count = 1 + max(int(name.partition("/")[0]) for name in file)
        loaded.compute_in_full_precision()
        batches = read_batches(folder / _INPUTS_FILE, count)
        answers = [{name: readable(array) for name, array in loaded.call(batch).items()} for batch in batches]
        write_batches(folder / _OUTPUTS_FILE, answers)
    except (SignatureError, CallFailed) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), *sys.argv[2:5]))

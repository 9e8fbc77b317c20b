"""Do the servers agree on the answers: sampled replies against TensorFlow's own answers to the same images.

The reference is computed by `python -m raybench.verify FOLDER`, a process of its own, so that nobody else holds
TensorFlow; its answers are cached by model and image.
"""

import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from raybench.guardian import guarded

Outputs = Mapping[str, np.ndarray]  # by name, the first axis is the image
TOLERANCES = {"float32": 1e-4, "mixed": 2e-2}
IMAGES = 8  # of each reply: more would tell no more
_POWER = 5.0
_TIMEOUT_S = 900
_IMAGES_FILE, _OUTPUTS_FILE = "images.npz", "outputs.npz"


class ReferenceError(Exception):
    """A reference that cannot be computed: one sentence."""


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What sampled replies of one trial differ from the reference by.

    `differences` are by output max|a − b| / max|b|; `top1` the share of images whose largest score is the same class,
    or None without scores; `nearest` the share whose nearest reference is their own; `spread` how much the references
    of different images differ at least, in the same measure: where it is not some times the tolerance, a wrong answer
    could pass for a right one.
    """

    replies: int
    images: int
    tolerance: float
    differences: dict[str, float]
    top1: float | None
    nearest: float
    spread: float

    @property
    def difference(self) -> float:
        """That of the output which differs most."""
        return max(self.differences.values())

    @property
    def agrees(self) -> bool:
        return self.difference <= self.tolerance and self.nearest == 1.0

    @property
    def has_power(self) -> bool:
        return self.spread >= _POWER * self.tolerance


def compare(replies: Sequence[Outputs], references: Sequence[Outputs], tolerance: float) -> Verification:
    """Replies against what TensorFlow answers to the same images, each with the same outputs.

    Raises ValueError where a reply has other outputs, or another number of images, than its reference.
    """
    for reply, reference in zip(replies, references, strict=True):
        for name in reference:
            if name not in reply or reply[name].shape != reference[name].shape:
                there = reply[name].shape if name in reply else "nothing"
                raise ValueError(f"output {name!r} is {there}, and TensorFlow answers {reference[name].shape}")
    names = [name for name in references[0] if references[0][name].dtype.kind == "f"]
    found = {name: _rows(replies, name) for name in names}
    expected = {name: _rows(references, name) for name in names}
    all_found, all_expected = _flat(found), _flat(expected)
    distances = _distances(all_found, all_expected)
    between = _distances(all_expected, all_expected)
    np.fill_diagonal(between, np.inf)
    own = np.diag(distances)
    return Verification(
        replies=len(replies),
        images=len(all_found),
        tolerance=tolerance,
        differences={name: _difference(found[name], expected[name]) for name in names},
        top1=_top1(found["scores"], expected["scores"]) if "scores" in names else None,
        nearest=float((own <= distances.min(axis=1) + _rounding(all_expected)).mean()),
        spread=float(between.min()) if len(between) > 1 else 0.0,
    )


def _rows(batches: Sequence[Outputs], name: str) -> np.ndarray:
    return np.concatenate([batch[name] for batch in batches]).astype(np.float64)


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    if not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))


def _flat(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """One row an image: all outputs side by side, each scaled to a largest value of 1."""
    return np.concatenate([_scaled(array) for array in outputs.values()], axis=1)


def _scaled(array: np.ndarray) -> np.ndarray:
    rows: np.ndarray = array.reshape(len(array), -1)
    with np.errstate(invalid="ignore"):  # infinity becomes no number, which is near to nothing
        return rows / (np.abs(rows).max() or 1.0)


def _distances(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The largest difference of any value, of each row of a to each row of b."""
    return np.stack([np.abs(b - row).max(axis=1) for row in a])


def _rounding(rows: np.ndarray) -> float:
    return float(np.finfo(np.float32).eps * np.abs(rows).max())


def _top1(found: np.ndarray, expected: np.ndarray) -> float:
    return float((found.argmax(axis=-1) == expected.argmax(axis=-1)).mean())


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
            command = [sys.executable, "-m", "raybench.verify", folder, str(self._models), model, signature]
            try:
                done = subprocess.run(guarded(command), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
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
    from raybench.clients.base import ClientError
    from raybench.clients.local import LocalClient

    outputs: dict[str, np.ndarray] = {}
    try:
        client = LocalClient(models, model=model, signature=signature)
        with np.load(folder / _IMAGES_FILE) as batches:
            for number, name in enumerate(batches):
                reply = client.send(client.encode(batches[name]), _TIMEOUT_S)
                if not reply.is_ok:
                    raise ClientError(f"{reply.status}: {reply.error}")
                outputs |= {f"{number}/{output}": array for output, array in client.decode(reply).items()}
    except ClientError as error:
        print(error, file=sys.stderr)
        return 1
    np.savez(folder / _OUTPUTS_FILE, **outputs)
    return 0


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1]), *sys.argv[2:5]))

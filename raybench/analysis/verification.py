"""Do the servers agree on the answers: sampled replies against TensorFlow's own answers to the same items; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raybench.models.reference import Outputs

TOLERANCES = {"float32": 1e-4, "mixed": 2e-2}
IMAGES = 8  # of each reply: more would tell no more
_POWER = 5.0


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

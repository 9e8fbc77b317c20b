"""Do the servers agree on the answers: sampled replies against TensorFlow's own answers to the same items; pure."""

import sys
from collections.abc import Mapping, Sequence

import numpy as np

from raybench.models.reference import Outputs
from raybench.results.records import ModelVerification, OutputDifference

TOLERANCES = {"float32": 1e-4, "mixed": 2e-2}
ITEMS = 8  # of each reply: more would tell no more
_POWER = 5.0  # times the tolerance


def compare(
    model: str, replies: Sequence[Outputs], references: Sequence[Outputs], tolerance: float
) -> ModelVerification:
    """Replies of a model against what TensorFlow answers to the same items, each with the same outputs.

    Raises ValueError where a reply has other outputs, or another number of items, than its reference.
    """
    _check_shapes(replies, references)
    names = [name for name in references[0] if references[0][name].dtype.kind == "f"]
    found = {name: _rows(replies, name) for name in names}
    expected = {name: _rows(references, name) for name in names}
    all_found, all_expected = _flat(found), _flat(expected)
    distances = _distances(all_found, all_expected)
    between = _distances(all_expected, all_expected)
    np.fill_diagonal(between, np.inf)
    own = np.diag(distances)
    differences = {name: _difference(found[name], expected[name]) for name in names}
    spread = float(between.min()) if len(between) > 1 else 0.0
    return ModelVerification(
        model=model,
        replies=len(replies),
        items=len(all_found),
        tolerance=tolerance,
        difference=max(differences.values()),
        outputs=tuple(OutputDifference(name=name, difference=value) for name, value in differences.items()),
        top1=_top1(found["scores"], expected["scores"]) if "scores" in names else None,
        nearest=float((own <= distances.min(axis=1) + _rounding(all_expected)).mean()),
        spread=spread,
        has_power=spread >= _POWER * tolerance,
    )


def _check_shapes(replies: Sequence[Outputs], references: Sequence[Outputs]) -> None:
    for reply, reference in zip(replies, references, strict=True):
        for name in reference:
            if name not in reply or reply[name].shape != reference[name].shape:
                there = reply[name].shape if name in reply else "nothing"
                raise ValueError(f"output {name!r} is {there}, and TensorFlow answers {reference[name].shape}")


def _rows(batches: Sequence[Outputs], name: str) -> np.ndarray:
    return np.concatenate([batch[name] for batch in batches]).astype(np.float64)


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    if not np.isfinite(found).all():
        return sys.float_info.max  # JSON has no infinity
    return float(np.abs(found - expected).max() / (np.abs(expected).max() or 1.0))


def _flat(outputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """One row an item: all outputs side by side, each scaled to a largest value of 1."""
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

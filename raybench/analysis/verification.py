"""Whether servers agree on the answers: sampled replies against TensorFlow's answers to the same items; pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raybench.models.tensorflow_process import Outputs
from raybench.results.records import UNEQUAL, ModelVerification, OutputDifference

# Of the largest value. What correct servers were seen to differ by, and a factor of at least two: docs/method.md.
_FLOAT32, _XLA, _TF32, _HALF = 1e-4, 2e-2, 0.2, 0.3
_POWER = 5.0  # times what may be noise
_AS_NEAR = 1.1  # times as far
_USUAL = 3.0  # times the median distance from the own reference
_MOST = 0.5  # of the items


class OutputMismatchError(ValueError):
    """A reply that lacks an output, or has one of another shape; its text is one sentence."""


@dataclass(frozen=True)
class AnsweredItems:
    """A reply to a request of `batch` items, and the reference answer to those with `ids`, from number `first` on."""

    reply: Outputs
    reference: Outputs
    batch: int
    first: int
    ids: tuple[str, ...]
    origin: str = "TensorFlow"  # of the reference

    @property
    def is_whole(self) -> bool:
        return len(self.ids) == self.batch

    def has_rows(self, name: str) -> bool:
        """Whether an output has an entry along axis 0 for each item."""
        found, expected = self.reply.get(name), self.reference[name]
        return (
            found is not None
            and found.ndim > 0
            and expected.ndim > 0
            and (len(found), len(expected)) == (self.batch, len(self.ids))
            and found.shape[1:] == expected.shape[1:]
        )

    def found(self, name: str) -> np.ndarray:
        """What was replied to the items; raises OutputMismatchError where that is nothing, or has another shape."""
        if name not in self.reply:
            raise OutputMismatchError(f"output {name!r} is missing; the reply has {', '.join(self.reply) or 'none'}")
        values: np.ndarray = self.reply[name]
        if self.has_rows(name):
            return values[self.first : self.first + len(self.ids)]
        if values.shape == (1,) and self.reference[name].shape == ():
            return values.reshape(())  # Triton has no scalars
        if values.shape != self.reference[name].shape:
            expected = list(self.reference[name].shape)
            raise OutputMismatchError(f"output {name!r} has shape {list(values.shape)}, {self.origin}'s has {expected}")
        return values


def is_reduced(precision: str | None) -> bool:
    """Whether a part of a model computes in 16 bits."""
    return precision is not None and precision.endswith("16")


def tolerance(*, precision: str | None, xla: bool | None, is_on_cpu: bool) -> float:
    """By what computes, as far as the model and its server say."""
    if is_reduced(precision):
        return _HALF
    return max(_FLOAT32, _XLA if xla else 0.0, 0.0 if is_on_cpu else _TF32)


def compare(model: str, answers: Sequence[AnsweredItems], tolerance: float) -> ModelVerification:
    """Replies of a model against what TensorFlow answers to the same items.

    Raises OutputMismatchError where a reply lacks an output of its reference, or has one of another shape.
    """
    scales = _scales(answers)
    names = list(answers[0].reference)
    differences = {name: max(_difference(name, each, scales[name]) for each in answers) for name in names}
    rows = _Rows.of(answers, scales)
    own, spread = rows.own(), rows.spread()
    noise = min(tolerance, max(_FLOAT32, own))
    return ModelVerification(
        model=model,
        replies=len(answers),
        items=max(len(rows.ids), len(answers)),
        tolerance=tolerance,
        difference=max(differences.values(), default=0.0),
        outputs=tuple(OutputDifference(name=name, difference=value) for name, value in differences.items()),
        top1=_top1(answers),
        nearest=float(np.mean(rows.are_nearest())) if rows.ids else 1.0,
        spread=spread,
        has_power=spread >= _POWER * noise,
    )


def suspects(answers: Sequence[AnsweredItems], tolerance: float) -> list[int]:
    """The numbers of the answers to a part of a request that differ: rows may depend on the others of their request."""
    scales, found = _scales(answers), list[int]()
    for number, each in enumerate(answers):
        try:
            differ = any(_difference(name, each, scales[name]) > tolerance for name in each.reference)
        except OutputMismatchError:
            differ = True
        if differ and not each.is_whole:
            found.append(number)
    return found


def unequal(answers: Sequence[AnsweredItems], found: ModelVerification) -> tuple[str, int, int] | None:
    """Where integers or strings alone differ: an output that does, its unequal values and all of them; None else."""
    exact = [each.name for each in found.outputs if _is_exact(answers[0].reference[each.name])]
    wrong = [each.name for each in found.outputs if each.difference > found.tolerance]
    if not wrong or set(wrong) - set(exact):
        return None
    pairs = [(each.found(wrong[0]), each.reference[wrong[0]]) for each in answers]
    return wrong[0], sum(int((a != b).sum()) for a, b in pairs), sum(b.size for _, b in pairs)


def _scales(answers: Sequence[AnsweredItems]) -> dict[str, float]:
    """The largest finite value of each output that has numbers."""
    return {name: max(_largest(each.reference[name]) for each in answers) or 1.0 for name in answers[0].reference}


def _largest(values: np.ndarray) -> float:
    if _is_exact(values):
        return 0.0
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0))


def _is_exact(values: np.ndarray) -> bool:
    return values.dtype.kind not in "fc"


def _difference(name: str, answer: AnsweredItems, scale: float) -> float:
    """max|a - b| / scale; what must be equal and is not, or is not finite on one side alone, is as far as can be."""
    found, expected = answer.found(name), answer.reference[name]
    if _is_exact(expected):
        is_equal = bool(np.all(found == expected)) or _scores_of(name, answer) is not None
        return 0.0 if is_equal else UNEQUAL
    if found.dtype.kind not in "fciub":
        return UNEQUAL
    apart = ~((found == expected) | (np.isnan(found) & np.isnan(expected)))
    a, b = found[apart].astype(np.complex128), expected[apart].astype(np.complex128)
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        return UNEQUAL
    return float(min(np.abs(a - b).max(initial=0) / scale, UNEQUAL))


def _scores_of(name: str, answer: AnsweredItems) -> str | None:
    """The output of whose largest scores an output has the classes, on both sides; None where there is none.

    The scores themselves are compared, and two that are as good as equal may change places.
    """
    found, expected = answer.found(name), answer.reference[name]
    if not _is_exact(expected):
        return None
    for other, scores in answer.reference.items():
        if scores.dtype.kind == "f" and scores.shape[:-1] == expected.shape and scores.ndim and scores.shape[-1]:
            theirs = answer.found(other)
            if np.array_equal(scores.argmax(-1), expected) and np.array_equal(theirs.argmax(-1), found):
                return other
    return None


@dataclass(frozen=True)
class _Rows:
    """Items by row, all outputs side by side: what was replied and what was expected; ids are those of the inputs."""

    ids: tuple[str, ...]
    found: tuple[np.ndarray, ...]  # of each output [items, values]
    expected: tuple[np.ndarray, ...]

    @classmethod
    def of(cls, answers: Sequence[AnsweredItems], scales: Mapping[str, float]) -> "_Rows":
        """Of the outputs that have a row for each item; without one, a whole reply is a row.

        Classes of scores are left to these: between two that are as good as equal, a class says nothing of the item.
        """
        by_item = [name for name in scales if all(each.has_rows(name) for each in answers)]
        if by_item:
            names, ids = by_item, tuple(item for each in answers for item in each.ids)
        else:
            names, ids = list(scales), tuple("".join(each.ids) for each in answers)
        shapes = {name: {each.reference[name].shape[1 if by_item else 0 :] for each in answers} for name in names}
        even = [name for name in names if len(shapes[name]) == 1]  # else the number of values depends on the items
        found, expected = list[np.ndarray](), list[np.ndarray]()
        for name in even:
            if any(_scores_of(name, each) in even for each in answers):
                continue
            pairs = [(each.found(name), each.reference[name]) for each in answers]
            for side, rows in zip((found, expected), zip(*pairs, strict=True), strict=True):
                stacked = np.concatenate(rows) if by_item else np.stack(rows)
                side.append(_scaled(stacked.reshape(len(ids), -1), scales[name]))
        return cls(ids if found else (), tuple(found), tuple(expected))

    def own(self) -> float:
        """The largest difference of an item's reply to its own reference."""
        pairs = zip(self.found, self.expected, strict=True)
        return max((float(np.max(_apart(a, b), initial=0)) for a, b in pairs), default=0.0)

    def spread(self) -> float:
        """The least that references of different items lie apart, each by its largest difference; 0 with one item."""
        between = [np.stack([_apart(b, row).max(axis=-1, initial=0) for row in b]) for b in self.expected]
        if not between:
            return 0.0
        apart = np.max(between, axis=0)
        different = np.array(self.ids)[:, None] != np.array(self.ids)[None, :]
        return float(apart[different].min()) if different.any() else 0.0

    def are_nearest(self) -> np.ndarray:
        """Which items' nearest reference is their own, by the root of mean squares, which averages noise; bool [n].

        As near as the nearest, to what noise may change, counts too: items may be as good as equal. Where most items
        are nearest to their own, so does an item that is no further from it than all are by noise.
        """
        squares = sum(
            np.stack([(_apart(b, row) ** 2).mean(axis=-1) if row.size else np.zeros(len(b)) for row in a])
            for a, b in zip(self.found, self.expected, strict=True)
        )
        distances = np.sqrt(np.asarray(squares))
        own = np.diag(distances)
        near = np.asarray(own <= _AS_NEAR * distances.min(axis=1) + _FLOAT32)
        return near | (own <= _USUAL * np.median(own)) if near.mean() > _MOST else near


def _scaled(rows: np.ndarray, scale: float) -> np.ndarray:
    """Numbers as shares of the largest, without what is not finite; others as they are."""
    if _is_exact(rows):
        return rows
    return np.nan_to_num(rows / scale, nan=0.0, posinf=2.0, neginf=-2.0)


def _apart(rows: np.ndarray, row: np.ndarray) -> np.ndarray:
    """How far values lie from those of a row; 1 where they must be equal and are not."""
    if _is_exact(rows) or _is_exact(row):
        return np.asarray(rows != row).astype(np.float64)
    return np.abs(rows - row)


def _top1(answers: Sequence[AnsweredItems]) -> float | None:
    """The share of items whose largest score is of the same class; None without an output `scores`."""
    if not all("scores" in each.reference and each.has_rows("scores") for each in answers):
        return None
    pairs = [(each.found("scores"), each.reference["scores"]) for each in answers]
    if not all(b.ndim > 1 and b.size for _, b in pairs):
        return None
    return float(np.mean(np.concatenate([(a.argmax(-1) == b.argmax(-1)).ravel() for a, b in pairs])))

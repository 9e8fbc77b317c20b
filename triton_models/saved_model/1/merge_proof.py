"""Whether a row's answer depends on the rows that it is answered with: a signature is asked, its answers are compared.

Asking cannot prove everything: an influence that only values unlike the rows tried have, or only larger calls, stays
unseen.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from probe_rows import Candidates, Rows
from tensorflow_errors import sentence

Call = Callable[[Rows], Rows]

_FEWEST_ROWS = 2
_SMALLEST_LARGE = 8  # rows of the largest call, where a row takes long; its memory stays with the process
_LARGE_CALL_S = 0.2
_MOST_S = 60.0
_COMPANIONS = 3
_STRICT = 8  # roundings by which answers may differ in calls that differ in the other rows alone
_REDUCED = 2.0**-12  # a rounding from which on integers that come from numbers may differ
_FLIPPED = 0.01  # share of an answer's integers that may differ by rounding


class NotProven(Exception):
    """Why a signature's requests may not share a call."""


class NotLegal(Exception):
    """Why a signature refuses rows, each alone."""


@dataclass(frozen=True)
class Limits:
    """The most rows of a call, and the relative rounding error of what is computed."""

    max_items: int
    rounding: float


def prove(call: Call, tried: Candidates, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
    """Ask for rows alone, together, in another order, in other company, and many at once.

    Raises NotProven where an answer depends on more than its row, NotLegal where too few rows are taken alone.
    """
    proof = _Proof(call, limits, clock)
    proof.ask_alone(tried.rows)
    proof.compare(range(len(proof.alone))[::-1], "when rows are sent together")
    proof.compare([0, 0, 1], "beside its own copy")
    proof.compare(proof.many(), "among many rows")
    proof.vary_company([*_each(proof.rows)[-_COMPANIONS:], *(_each(tried.extreme) if tried.extreme else ())])
    proof.repeat()


class _Proof:
    def __init__(self, call: Call, limits: Limits, clock: Callable[[], float]) -> None:
        self._call, self._limits, self._clock = call, limits, clock
        self._end_s = clock() + _MOST_S
        self._row_s = _MOST_S
        self._is_reduced = False
        self.rows: Rows = {}
        self.alone: list[Rows] = []

    def ask_alone(self, rows: Rows) -> None:
        """Keep the rows that are taken, and their answers."""
        taken, refusal = [], "its answers are not finite"
        for row in _each(rows):
            began_s = self._clock()
            answer = self._ask(row)
            if isinstance(answer, Exception):
                refusal = sentence(answer)
                continue
            self._row_s = min(self._row_s, self._clock() - began_s)  # the first takes TensorFlow's preparation too
            if all(np.isfinite(array).all() for array in answer.values() if _is_float(array)):
                taken.append(row)
                self.alone.append(answer)
        if len(taken) < _FEWEST_ROWS:
            raise NotLegal(refusal)
        self.rows = _joined(taken)
        self._is_reduced = self._limits.rounding > _REDUCED and any(map(_is_float, self.alone[0].values()))

    def compare(self, order: Sequence[int], when: str) -> None:
        """Ask for rows in one call, and compare the answer to each with that to it alone.

        A call of more rows may add up in another order, so that answers differ by many roundings.
        """
        answers = self._ask({name: array[list(order)] for name, array in self.rows.items()})
        if isinstance(answers, Exception):
            raise NotProven(f"it refuses rows together that it accepts alone: {sentence(answers)}")
        self._check((self.alone[number] for number in order), answers, when)

    def many(self) -> list[int]:
        """Rows by number for the largest call, which is not to take long."""
        affordable = int(_LARGE_CALL_S / max(self._row_s, 1e-6))
        count = min(self._limits.max_items, max(_SMALLEST_LARGE, affordable))
        order = np.arange(count) % len(self.alone)
        return [int(number) for number in np.random.default_rng(0).permutation(order)]

    def vary_company(self, strangers: list[Rows]) -> None:
        """Ask for the same rows at the same places beside others; the answers have to be equal but for some bits."""
        mine = {name: array[:1] for name, array in self.rows.items()}
        expected: list[Rows] = []
        for stranger in strangers:
            answers = self._ask(_joined([stranger, mine, stranger]))
            if isinstance(answers, Exception):
                continue  # where a shared call fails each of its requests is answered alone
            answers = {name: array[1:-1] for name, array in answers.items()}
            expected = expected or _each(answers)
            self._check(expected, answers, "when only the rows around it change", is_strict=True)

    def repeat(self) -> None:
        """Ask again for the row that was asked first."""
        again = self._ask({name: array[:1] for name, array in self.rows.items()})
        if not isinstance(again, Exception):
            self._check(self.alone[:1], again, "when it is sent again", is_strict=True)

    def _ask(self, rows: Rows) -> Rows | Exception:
        """The answers, or what TensorFlow raised; raises NotProven for answers that are not one a row."""
        if self._clock() > self._end_s:
            raise NotProven(f"the trial calls took more than {_MOST_S:.0f} s")
        try:
            answers = self._call(rows)
        except Exception as error:
            return error
        sent = len(next(iter(rows.values())))
        for name, array in answers.items():
            if array.shape[:1] != (sent,):
                raise NotProven(f"its output {name!r} has shape {list(array.shape)} for {sent} rows")
        return answers

    def _check(self, expected: Iterable[Rows], answers: Rows, when: str, *, is_strict: bool = False) -> None:
        rounding = self._limits.rounding
        tolerance = _STRICT * rounding if is_strict else rounding**0.5
        for row, answer in zip(expected, _each(answers), strict=True):
            for name, array in answer.items():
                if row[name].shape != array.shape:
                    raise NotProven(f"the shape of its output {name!r} for a row differs {when}")
                if not self._is_same(row[name], array, tolerance, is_strict=is_strict):
                    raise NotProven(f"its output {name!r} for a row differs {when}")

    def _is_same(self, one: np.ndarray, other: np.ndarray, tolerance: float, *, is_strict: bool) -> bool:
        if _is_float(one):
            return _is_close(np.asarray(one, np.float64), np.asarray(other, np.float64), tolerance)
        different = int(np.count_nonzero(one != other))
        if is_strict or one.dtype.kind in "OSUb":
            return different == 0
        return self._is_reduced or different <= _FLIPPED * one.size


def _is_close(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    """Whether numbers agree, relative to the largest of them."""
    largest = max(float(np.abs(each[np.isfinite(each)]).max(initial=0.0)) for each in (one, other))
    return bool(np.allclose(one, other, rtol=0.0, atol=tolerance * largest, equal_nan=True))


def _is_float(array: np.ndarray) -> bool:
    return array.dtype.kind == "f" or array.dtype.name == "bfloat16"


def _each(rows: Rows) -> list[Rows]:
    count = len(next(iter(rows.values())))
    return [{name: array[number : number + 1] for name, array in rows.items()} for number in range(count)]


def _joined(rows: Sequence[Rows]) -> Rows:
    return {name: np.concatenate([each[name] for each in rows]) for name in rows[0]}

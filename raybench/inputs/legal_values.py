"""The search for values that a model accepts: the widest that it does not refuse; pure."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice, product

from raybench.models.saved_models import Accepted
from raybench.models.trial_calls import Refusal

Choices = Mapping[str, tuple[Accepted, ...]]  # by input, from the widest
Values = dict[str, Accepted]
Try = Callable[[Values], Refusal | None]
_MOST_TRIES = 300
_INDEX_RANGE = re.compile(r"not in \[(-?\d+), ?(\d+)\)")  # as TensorFlow words an index that is out of range


@dataclass(frozen=True)
class Found:
    """The widest values that were accepted; `refused` is why wider ones were not, None where none was."""

    values: Values
    refused: str | None = None


class NoLegalValuesError(Exception):
    """All values were refused: why the first were, and why the last."""

    def __init__(self, first: str, last: str) -> None:
        super().__init__(first)
        self.first, self.last = first, last


def legal_values(choices: Choices, refusal: Try) -> Found:
    """The first choice of each input where that is accepted, else the widest that are; raises NoLegalValuesError.

    What is accepted with answers that are not finite counts only where nothing is better.
    """
    widest = {name: each[0] for name, each in choices.items()}
    refused = refusal(widest)
    if refused is None:
        return Found(widest)
    choices = _with_range(choices, refused.sentence)
    second = widest if refused.is_computed else None
    last = refused
    for values in _narrower(choices):
        answer = refusal(values)
        if answer is None:
            return Found(_widened(values, choices, refusal), refused.sentence)
        last = answer
        if answer.is_computed and second is None:
            second = values
    if second:
        return Found(second, refused.sentence)
    raise NoLegalValuesError(refused.sentence, last.sentence)


def _with_range(choices: Choices, sentence: str) -> Choices:
    """With the range of indices that a refusal names, for the inputs that may hold more."""
    if not (said := _INDEX_RANGE.search(sentence)):
        return choices
    low, high = float(said[1]), float(said[2])
    return {
        name: (each[0], Accepted(low, high), *each[1:]) if _is_wider(each, low, high) else each
        for name, each in choices.items()
    }


def _is_wider(choices: tuple[Accepted, ...], low: float, high: float) -> bool:
    """Whether the user has not chosen, and the widest choice is a range of numbers that goes beyond another."""
    first = choices[0]
    return (
        len(choices) > 1 and first.low is not None and first.high is not None and first.low <= low < high < first.high
    )


def _narrower(choices: Choices) -> Iterator[Values]:
    """Every input at the same step, then all steps together from the widest on; as many as there is time for."""
    longest = max(map(len, choices.values()))
    numbers = {name for name, each in choices.items() if each[0].form is None}
    forms = max((len(each) for name, each in choices.items() if name not in numbers), default=1)
    alike = (
        {name: each[min(step if name in numbers else form, len(each) - 1)] for name, each in choices.items()}
        for step in range(longest)
        for form in range(forms)
    )
    steps = sorted(islice(product(*(range(len(each)) for each in choices.values())), 10 * _MOST_TRIES), key=sum)
    apart = (
        {name: each[step] for (name, each), step in zip(choices.items(), steps_of, strict=True)} for steps_of in steps
    )
    seen = [{name: each[0] for name, each in choices.items()}]
    for values in (*alike, *apart):
        if len(seen) > _MOST_TRIES:
            return
        if values not in seen:
            seen.append(values)
            yield values


def _widened(values: Values, choices: Choices, refusal: Try) -> Values:
    """Each input in turn at the widest choice that is accepted beside the others."""
    for name, each in choices.items():
        for wider in each[: each.index(values[name])]:
            if refusal({**values, name: wider}) is None:
                values = {**values, name: wider}
                break
    return values

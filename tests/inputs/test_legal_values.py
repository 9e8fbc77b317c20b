"""The search for values that a model accepts: the widest that are not refused, and a reason where all are."""

from collections.abc import Callable

import pytest

from raybench.inputs.legal_values import NoLegalValuesError, Values, legal_values
from raybench.inputs.value_choices import INTEGERS, STRINGS, TRUTHS
from raybench.models.saved_models import Accepted
from raybench.models.trial_calls import Refusal

FIXED = (Accepted(0, 1000),)  # by --range


def refusing(accepts: Callable[[Values], bool], sentence: str = "no", *, is_computed: bool = False):
    return lambda values: None if accepts(values) else Refusal(sentence, is_computed)


def below(most: int) -> Callable[[Values], bool]:
    return lambda values: all((each.high or 0) <= most for each in values.values())


def of_form(form: str) -> Callable[[Values], bool]:
    return lambda values: values["s"].form == form


@pytest.mark.parametrize(
    ("choices", "accepts", "expected"),
    [
        ({"i": INTEGERS}, below(100), {"i": Accepted(0, 100)}),
        ({"i": INTEGERS}, below(12), {"i": Accepted(0, 10)}),
        ({"i": INTEGERS}, below(1), {"i": Accepted(0, 1)}),
        ({"i": INTEGERS}, lambda values: values["i"].low == 1, {"i": Accepted(1, 2)}),
        ({"i": FIXED}, below(1000), {"i": FIXED[0]}),
        ({"s": STRINGS}, of_form("base64"), {"s": Accepted(form="base64")}),
        ({"s": STRINGS}, of_form("tf.Example"), {"s": Accepted(form="tf.Example")}),
        (
            {"i": INTEGERS, "j": INTEGERS},
            lambda values: (values["i"].high or 0) <= 2,
            {"i": Accepted(0, 2), "j": Accepted(0, 100)},
        ),
        (
            {"i": INTEGERS, "s": STRINGS},
            lambda values: (values["i"].high or 0) <= 10 and values["s"].form == "digits",
            {"i": Accepted(0, 10), "s": Accepted(form="digits")},
        ),
        (
            {"s": STRINGS, "t": STRINGS},
            lambda values: (values["s"].form, values["t"].form) == ("jpeg", "text"),
            {"s": Accepted(form="jpeg"), "t": Accepted(form="text")},
        ),
        ({"b": TRUTHS, "s": STRINGS}, of_form("text"), {"b": TRUTHS[0], "s": STRINGS[0]}),
    ],
)
def test_values_are_the_widest_that_are_accepted(choices: dict, accepts: Callable, expected: Values) -> None:
    """Each input has the widest values that the model takes beside those of the others."""
    assert legal_values(choices, refusing(accepts)).values == expected


def test_a_range_that_the_refusal_names_is_taken() -> None:
    """TensorFlow says how many entries a table has: all of them are asked for, and not the next rounder number."""
    said = "indices[0,3] = 99 is not in [0, 64)"
    found = legal_values({"i": INTEGERS}, refusing(below(64), said))
    assert found.values == {"i": Accepted(0, 64)}
    assert found.refused == said
    assert legal_values({"i": INTEGERS}, refusing(below(100))).refused is None


def test_answers_that_are_not_finite_are_the_last_resort() -> None:
    """Values whose answers are NaN are left for others, and taken where a model has no finite answer."""
    not_a_number = refusing(lambda values: values["i"].low == 1, "output y is not finite", is_computed=True)
    assert legal_values({"i": INTEGERS}, not_a_number).values == {"i": Accepted(1, 2)}
    never = refusing(lambda _: False, "output y is not finite", is_computed=True)
    assert legal_values({"i": INTEGERS}, never).values == {"i": Accepted(0, 100)}


@pytest.mark.parametrize("choices", [{"i": INTEGERS}, {"i": FIXED}, {f"i{n}": (*INTEGERS, *STRINGS) for n in range(9)}])
def test_a_model_that_refuses_all_ends_the_search(choices: dict) -> None:
    """The search gives the reason of the first refusal, and ends however many inputs there are."""
    calls = []

    def refusal(values: Values) -> Refusal:
        calls.append(values)
        return Refusal(f"refusal {len(calls)}")

    with pytest.raises(NoLegalValuesError, match="refusal 1"):
        legal_values(choices, refusal)
    assert len(calls) <= 301

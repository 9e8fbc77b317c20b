"""Small spaces of values are gone through: no item comes twice before all have come."""

import numpy as np
import pytest

from raybench.inputs import enumeration
from raybench.inputs.declared_inputs import DeclaredInputs
from raybench.inputs.photo_source import NOISE, photo_source
from raybench.inputs.random_values import RandomValues
from raybench.inputs.tensors import item_hashes
from raybench.models.saved_models import Accepted, Signature, TensorSpec


@pytest.mark.parametrize("size", [1, 2, 3, 8, 10, 97, 100, 2**53])
def test_no_value_comes_twice_before_all_have_come(size: int) -> None:
    """So many items in a row are so many values, from any item on."""
    for first in (0, 10**9):
        found = {enumeration.shuffled(first + number, size, (1, 2)) for number in range(min(size, 500))}
        assert len(found) == min(size, 500)
        assert min(found) >= 0
        assert max(found) < size


SPACES = {
    "booleans": ([TensorSpec("BOOL", (-1, 3))], 8),
    "a digit": ([TensorSpec("BYTES", (-1,), Accepted(form="digit"))], 10),
    "indices": ([TensorSpec("INT64", (-1, 2), Accepted(0, 10))], 100),
    "two alike": ([TensorSpec("INT64", (-1,), Accepted(0, 10))] * 2, 100),
    "three with common factors": (
        [TensorSpec("INT8", (-1,), Accepted(0, size)) for size in (4, 6)] + [TensorSpec("BOOL", (-1,))],
        48,
    ),
    "zero alone": ([TensorSpec("INT8", (-1, 5), Accepted(0, 1))], 1),
}


@pytest.mark.parametrize("case", SPACES)
def test_items_differ_as_far_as_the_values_allow(case: str) -> None:
    """A model of few values gets every combination of them over its inputs, and the number of them is known."""
    specs, distinct = SPACES[case]
    signature = Signature({f"x{number}": spec for number, spec in enumerate(specs)}, {})
    source = DeclaredInputs(photo_source(NOISE, jpeg_quality=90)).bind(signature, 3)
    assert source.distinct == distinct
    assert len(set(item_hashes(source.batch(np.arange(distinct))))) == distinct
    assert len(set(item_hashes(source.batch(np.arange(1000, 1000 + 3 * distinct))))) == distinct


@pytest.mark.parametrize(
    ("values", "distinct"),
    [
        (RandomValues("x", "FP32", (1,), 0), None),
        (RandomValues("x", "INT64", (8,), 0), None),  # 100**8
        (RandomValues("x", "INT64", (3,), 0), 100**3),
        (RandomValues("x", "BYTES", (), 0), None),
        (RandomValues("x", "BYTES", (), 0, length=2), 26**2),
        (RandomValues("x", "BYTES", (2,), 0, text="a"), 1),
        (RandomValues("x", "BOOL", (200,), 0), None),
    ],
)
def test_the_number_of_different_items_is_said_where_it_is_small(values: RandomValues, distinct: int | None) -> None:
    """`distinct` is exact where items are gone through, and no limit where they are drawn."""
    assert values.distinct == distinct

"""Random values: every type, the declared shape, and nothing outside the range."""

import numpy as np
import pytest

from raybench.inputs.random_values import NUMPY_TYPES, RandomValues, to_bfloat16
from raybench.inputs.tensors import item_hashes, size_bytes

NUMBERS = [name for name in NUMPY_TYPES if name not in ("BYTES", "BOOL")]
SHAPES = [(), (5,), (2, 3), (0, 4)]


def drawn(datatype: str, shape: tuple[int, ...] = (16,), seed: int = 1, name: str = "x") -> RandomValues:
    return RandomValues(name, datatype, shape, seed)


@pytest.mark.parametrize("datatype", NUMPY_TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_values_have_the_declared_type_and_shape(datatype: str, shape: tuple[int, ...]) -> None:
    """An item has the shape that is declared, scalars and empty ones too, and takes no more bytes than was said."""
    source = drawn(datatype, shape)
    made = source.values(np.arange(3))
    assert (made.shape, made.dtype) == ((3, *shape), np.dtype(NUMPY_TYPES[datatype]))
    assert size_bytes({"x": made}) <= 3 * source.item_bytes
    assert all(isinstance(value, bytes) for value in made.ravel()) or datatype != "BYTES"


@pytest.mark.parametrize("datatype", NUMPY_TYPES)
def test_an_item_depends_on_its_number_alone(datatype: str) -> None:
    """Who verifies an answer makes the item again: alone or among others, in any order, it is the same."""
    many = drawn(datatype, (64,)).values(np.array([5, 0, 2, 7]))
    assert (drawn(datatype, (64,)).values(np.array([2]))[0] == many[2]).all()
    assert len(set(item_hashes({"x": many}))) == 4


@pytest.mark.parametrize("other", [{"seed": 2}, {"name": "y"}])
def test_inputs_and_seeds_have_values_of_their_own(other: dict[str, int]) -> None:
    """Two inputs of one model, and two seeds of one input, are not the same values."""
    numbers = np.arange(4)
    assert (drawn("INT64").values(numbers) != drawn("INT64", **other).values(numbers)).any()


@pytest.mark.parametrize("datatype", NUMBERS)
@pytest.mark.parametrize(("low", "high"), [(None, None), (3, 7)])
def test_numbers_stay_in_the_range(datatype: str, low: float | None, high: float | None) -> None:
    """A range that was asked for is kept by every type, its upper end left out; without one it is 0 to 1 or to 99."""
    made = RandomValues("x", datatype, (500,), 0, low, high).values(np.arange(2)).astype(np.float64)
    usual = (0, 100) if "INT" in datatype else (0, 1)
    least, most = (low, high) if low is not None and high is not None else usual
    assert made.min() >= least
    assert made.max() < most or (datatype in ("FP16", "BF16") and made.max() == most)
    assert len(set(made.ravel())) >= 4


def test_the_whole_range_of_a_type_can_be_drawn() -> None:
    """The bounds of 64-bit integers are no limit of what is drawn."""
    wide = RandomValues("x", "UINT64", (1000,), 0, 0, 2**64).values(np.arange(1))
    assert wide.max() > np.uint64(2**63)


def test_booleans_are_both() -> None:
    """A flag is sometimes true and sometimes false."""
    assert set(drawn("BOOL", (100,)).values(np.arange(1)).ravel()) == {True, False}


def test_text_has_the_asked_length_or_is_the_asked_one() -> None:
    """Text is so many letters, different for each item, or what the user wrote for all of them."""
    made = RandomValues("x", "BYTES", (3,), 0, length=5).values(np.arange(2))
    assert {len(text) for text in made.ravel()} == {5}
    same = RandomValues("x", "BYTES", (3,), 0, text="né")
    assert set(same.values(np.arange(2)).ravel()) == {"né".encode()}
    assert (same.distinct, same.item_bytes) == (1, 9)


def test_bfloat16_is_cut_to_what_it_holds() -> None:
    """What travels as bfloat16 is what TensorFlow computes with in process: no bit of it is lost on the way."""
    values = np.array([1.0, 1 / 3, -2.7, 1e38, 0.0], np.float32)
    cut = to_bfloat16(values)
    assert (cut.view(np.uint32) & 0xFFFF == 0).all()
    assert cut == pytest.approx(values, rel=2**-7)
    assert (to_bfloat16(cut) == cut).all()

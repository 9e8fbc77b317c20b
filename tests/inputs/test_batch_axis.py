"""Which axis counts items: the first one where it is free, or where there are images; else a request is one item."""

import numpy as np
import pytest

from raybench.inputs.batch_axis import has_item_axis, is_image, items_of_a_request, on_the_wire
from raybench.models.saved_models import Signature, TensorSpec

Shape = tuple[int, ...] | None


def signature(*shapes: Shape, datatype: str = "FP32", optional: tuple[str, ...] = ()) -> Signature:
    inputs = {f"x{number}": TensorSpec(datatype, shape) for number, shape in enumerate(shapes)}
    return Signature(inputs, {}, optional=frozenset(optional))


@pytest.mark.parametrize(
    ("takes", "items"),
    [
        (signature((-1, 3)), None),
        (signature((-1,), (-1, 2)), None),
        (signature(None), None),
        (signature((4, 8, 8, 3)), 4),  # so many images
        (signature((4, 16)), 1),  # it may be one item of four rows
        (signature(()), 1),
        (signature((-1, 3), (2,)), 1),  # what is not the items' is no part of them
    ],
)
def test_a_request_has_as_many_items_as_the_signature_says(takes: Signature, items: int | None) -> None:
    """A free first axis is the user's choice, so many images are that many, and anything else is one inference."""
    assert items_of_a_request(takes) == items
    assert has_item_axis(takes) == (items != 1)


def test_what_may_be_left_out_has_no_say() -> None:
    """An optional input is not sent, so its shape does not decide what an item is."""
    assert has_item_axis(signature((-1, 3), (2,), optional=("x1",)))


def test_a_signature_without_an_item_axis_gets_the_item_itself() -> None:
    """Batches always have items along axis 0; what has no such axis is sent the one item, even where it is a scalar."""
    batch = {"x0": np.zeros((1, 4, 16), np.float32), "x1": np.array([7], np.int64)}
    sent = on_the_wire(batch, signature((4, 16), ()))
    assert {name: values.shape for name, values in sent.items()} == {"x0": (4, 16), "x1": ()}
    assert on_the_wire(batch, signature((-1, 4, 16), (-1,))) == batch
    texts = np.empty((1,), object)
    texts[0] = b"a\0b"
    assert np.asarray(on_the_wire({"x0": texts}, signature((), datatype="BYTES"))["x0"]).item() == b"a\0b"


@pytest.mark.parametrize(
    ("spec", "holds"),
    [
        (TensorSpec("UINT8", (-1, 299, 299, 3)), True), (TensorSpec("FP32", (-1, -1, -1, 1)), True),
        (TensorSpec("FP16", (2, 8, 8, -1)), True), (TensorSpec("UINT8", None), True), (TensorSpec("FP32", None), False),
        (TensorSpec("UINT8", (-1, 8, 8, 4)), False), (TensorSpec("INT32", (-1, 8, 8, 3)), False),
        (TensorSpec("UINT8", (-1, 8, 3)), False), (TensorSpec("BYTES", (-1, 8, 8, 3)), False),
    ],
)  # fmt: skip
def test_images_are_known_by_type_and_shape(spec: TensorSpec, holds: bool) -> None:
    """Four axes, the last of 1 or 3, of a type that pixels have: such an input gets photos."""
    assert is_image(spec) == holds


def test_a_string_alone_stays_an_array() -> None:
    """A signature that takes one string gets an array without dimensions, as every encoder reads it."""
    (alone,) = on_the_wire({"x0": np.array([b"a\0b"], object)}, signature((), datatype="BYTES")).values()
    assert (alone.shape, alone.dtype.kind, alone.item()) == ((), "O", b"a\0b")

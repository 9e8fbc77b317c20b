"""What a user says of inputs that are made, against what a signature declares."""

import numpy as np
import pytest

from raybench.config import ConfigError
from raybench.inputs.declared_inputs import BoundInputs, DeclaredInputs
from raybench.inputs.input_options import InputOptions, check_names
from raybench.inputs.photo_source import NOISE, photo_source
from raybench.models.saved_models import Accepted, Signature, TensorSpec


def bound(options: InputOptions, **inputs: TensorSpec) -> BoundInputs:
    return DeclaredInputs(photo_source(NOISE, jpeg_quality=90), options).bind(Signature(inputs, {}), 0)


@pytest.mark.parametrize(
    ("given", "declared", "made"),
    [
        ((7,), (-1, -1), (7,)),
        ((1, 7), (-1, -1), (7,)),  # as perf_analyzer has it of a batch of one
        ((1, 299, 299, 3), (-1, -1, -1, 3), (299, 299, 3)),
        ((), None, ()),
        ((2, 3), None, (2, 3)),
        ((3, 5), (3, -1), (3, 5)),  # all of it: no batch axis
    ],
)
def test_shapes_are_of_an_item(given: tuple, declared: tuple | None, made: tuple) -> None:
    """--shape says what one item looks like, or all of a tensor without a batch axis; a leading 1 may stand for it."""
    values = bound(InputOptions(shapes={"x": given}), x=TensorSpec("FP32", declared)).batch(np.arange(2))["x"]
    assert values.shape == (2, *made)


@pytest.mark.parametrize(
    ("options", "spec", "words"),
    [
        ({"ranges": {"x": (0, 300)}}, TensorSpec("UINT8", (-1,)), "--range says 0,300: it holds 0 to 255"),
        ({"ranges": {"x": (-1, 4)}}, TensorSpec("UINT64", (-1,)), "--range says -1,4: it holds 0 to"),
        ({"ranges": {"x": (0, 1e6)}}, TensorSpec("FP16", (-1,)), "--range says 0,1000000: it holds -65504 to 65504"),
        ({"ranges": {"x": (0, 0.5)}}, TensorSpec("INT8", (-1,)), "--range says 0,0.5: give whole numbers"),
        ({"ranges": {"x": (0, 3)}}, TensorSpec("BOOL", (-1,)), "--range says 0,3: give 0,2"),
        ({"ranges": {"x": (0, 3)}}, TensorSpec("BYTES", (-1,)), "--range says 0,3: it takes strings"),
        ({"ranges": {"x": (0, 256)}}, TensorSpec("UINT8", (-1, 8, 8, 3)), "--range says 0,256: it holds 0 to 255"),
        ({"shapes": {"x": (8, 4)}}, TensorSpec("INT8", (-1, -1)), "--shape says 8,4: an item has the shape [-1]"),
        ({"shapes": {"x": (9, 9, 1)}}, TensorSpec("UINT8", (-1, 8, 8, 3)), "--shape says 9,9,1: write height"),
    ],
)
def test_what_does_not_fit_the_input_is_refused(options: dict, spec: TensorSpec, words: str) -> None:
    """A range that the type does not hold, or a shape of another rank or size, is one sentence with what would fit."""
    with pytest.raises(ConfigError) as error:
        bound(InputOptions(**options), x=spec)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shapes": {"y": (3,)}}, "shape is y:3; no input is called y: choose from x, z"),
        ({"ranges": {"y": (0, 0.5)}}, "range is y:0,0.5; no input is called y: choose from x, z"),
        ({"string_length": 4}, "string-length is 4; no input takes strings: leave it out"),
        ({"string_data": "a"}, "string-data is a; no input takes strings: leave it out"),
    ],
)
def test_names_that_no_signature_has_are_refused(options: dict, words: str) -> None:
    """What a user says of an input has to be of one that some model of the run has: else it would do nothing."""
    signatures = [Signature({name: TensorSpec("INT64", (-1,))}, {}) for name in "xz"]
    with pytest.raises(ConfigError) as error:
        check_names(InputOptions(**options), signatures)
    assert str(error.value) == words


def test_a_range_of_uint8_images_is_kept() -> None:
    """--range holds for pixels of every type."""
    images = bound(InputOptions(ranges={"x": (10, 20)}), x=TensorSpec("UINT8", (-1, 8, 8, 3))).batch(np.arange(4))["x"]
    assert (images.dtype, images.min(), images.max()) == (np.uint8, 10, 20)


ACCEPTED = {
    "in [0, 7)": (TensorSpec("INT32", (-1,), Accepted(0, 7)), "int32 in [0, 7)"),
    "nothing but 0": (TensorSpec("INT32", (-1,), Accepted(0, 1)), "int32 of 0"),
    "digits": (TensorSpec("BYTES", (-1,), Accepted(form="digits")), "digits"),
    "base64": (TensorSpec("BYTES", (-1,), Accepted(form="base64")), "base64 of jpeg q90"),
    "tf.Example": (TensorSpec("BYTES", (-1,), Accepted(form="tf.Example")), "tf.Example"),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_inputs_are_what_a_model_accepts_and_the_report_says_it(case: str) -> None:
    """What was found by trial is what is made, and the encoding in the report names it."""
    spec, encoding = ACCEPTED[case]
    made = bound(InputOptions(), x=spec)
    assert made.encoding == encoding
    values = made.batch(np.arange(14))["x"]
    if spec.datatype == "INT32":
        assert set(values) == set(range(int(spec.accepts.high or 0) if spec.accepts else 0))
    else:
        assert len(set(values)) == 14


def test_a_user_has_the_last_word() -> None:
    """What a user says is sent, and is not narrowed."""
    source = DeclaredInputs(photo_source(NOISE, jpeg_quality=90), InputOptions(ranges={"x": (0, 9)}, string_data="hi"))
    signature = Signature({"x": TensorSpec("INT32", (-1,), Accepted(0, 2)), "s": TensorSpec("BYTES", (-1,))}, {})
    assert source.alternatives(signature) == {"x": (Accepted(0, 9),), "s": (Accepted(form="text"),)}
    assert source.bind(signature, 0).encoding == "x: int32 in [0, 9); s: the text given"


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        ("x", TensorSpec("UINT8", (-1, 8, 8, 3))),
        ("x", TensorSpec("FP32", (-1, 4))),
        ("jpeg_images", TensorSpec("BYTES", (-1,))),
    ],
)
def test_nothing_has_to_be_tried_where_all_values_are_good(name: str, spec: TensorSpec) -> None:
    """Images, floats and our own exports take what is made: their runs do not wait for a trial."""
    source = DeclaredInputs(photo_source(NOISE, jpeg_quality=90))
    assert source.alternatives(Signature({name: spec}, {})) == {}

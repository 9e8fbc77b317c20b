"""Inputs made from a signature: what each input gets, and the sentence where nothing can be made."""

import numpy as np
import pytest

from raybench.config import ConfigError
from raybench.inputs.declared_inputs import BoundInputs, DeclaredInputs, InputOptions
from raybench.inputs.photo_source import IMAGE_PX, NOISE, PHOTOS, photo_source
from raybench.inputs.photos import decode
from raybench.models.saved_models import Signature, TensorSpec

PIXELS = TensorSpec("UINT8", (-1, 32, 32, 3))
TABLE = {"age": TensorSpec("INT64", (-1,)), "city": TensorSpec("BYTES", (-1, 1)), "x": TensorSpec("FP32", (-1, 4))}


def bound(source: str = NOISE, options: InputOptions | None = None, seed: int = 0, **inputs: TensorSpec) -> BoundInputs:
    photos = photo_source(source, jpeg_quality=90)
    return DeclaredInputs(photos, options or InputOptions()).bind(Signature(inputs, {}), seed)


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((-1, -1, -1, 3), (IMAGE_PX, IMAGE_PX)), ((-1, 299, 299, 3), (299, 299)), ((4, 20, 40, 3), (20, 40)),
        ((-1, 64, -1, -1), (64, IMAGE_PX)), (None, (IMAGE_PX, IMAGE_PX)),
    ],
)  # fmt: skip
def test_images_have_the_size_that_the_signature_declares(shape: tuple[int, ...] | None, size: tuple[int, int]) -> None:
    """Whatever side a signature declares, images have it; what it leaves free is the usual size."""
    made = bound(PHOTOS, x=TensorSpec("UINT8", shape))
    images = made.batch(np.arange(2))["x"]
    assert (images.shape, images.dtype) == ((2, *size, 3), np.uint8)
    assert (made.item_bytes, made.encoding, made.unit) == (images.nbytes // 2, "uint8 NHWC", "images")


def test_every_input_gets_what_it_takes() -> None:
    """A table of several columns gets a column for each, with an entry for each item; items are inferences."""
    made = bound(**TABLE)
    batch = made.batch(np.arange(3))
    assert {name: (each.shape, each.dtype) for name, each in batch.items()} == {
        "age": ((3,), np.int64),
        "city": ((3, 1), np.dtype(object)),
        "x": ((3, 4), np.float32),
    }
    assert (made.source, made.unit, made.item_bytes) == ("random", "inferences", 8 + 16 + 16)
    assert made.encoding == "age: int64 in [0, 100); city: text [1]; x: fp32 [4] in [0, 1)"


@pytest.mark.parametrize(("name", "is_file"), [("jpeg_images", True), ("PHOTO", True), ("sentence", False)])
def test_bytes_that_are_called_images_get_jpeg_files(name: str, is_file: bool) -> None:
    """An input of bytes that its name calls an image gets JPEG files, any other gets text, whatever its name."""
    takes = {name: TensorSpec("BYTES", (-1,))}
    (value,) = bound(PHOTOS, **takes).batch(np.arange(1))[name]
    assert value.startswith(b"\xff\xd8") == is_file
    assert not is_file or decode(value).size == (IMAGE_PX, IMAGE_PX)
    (text,) = bound(PHOTOS, InputOptions(string_data="a"), **takes).batch(np.arange(1))[name]
    assert text == b"a"


def test_options_say_what_a_signature_leaves_free() -> None:
    """--shape fills what is free, and --range the values; both are of the input that is named."""
    options = InputOptions(shapes={"x": (7,), "y": (24, 40, 3)}, ranges={"x": (5, 6)}, string_length=3)
    made = bound(options=options, x=TensorSpec("FP32", (-1, -1)), s=TensorSpec("BYTES", (-1,))).batch(np.arange(4))
    assert made["x"].shape == (4, 7)
    assert made["x"].min() >= 5
    assert {len(text) for text in made["s"]} == {3}
    assert bound(options=options, y=TensorSpec("UINT8", None)).batch(np.arange(1))["y"].shape == (1, 24, 40, 3)


@pytest.mark.parametrize(
    ("options", "inputs", "sentences"),
    [
        ({}, {"i": TensorSpec("INT64", (-1, -1))}, ["i INT64 [-1, -1], whose size is free", "with --shape i:16"]),
        ({}, {"x": TensorSpec("FP32", None)}, ["x FP32 of any rank, whose size is free", "with --shape x:4,16"]),
        ({"x": (3,)}, {"x": TensorSpec("FP32", (-1, 4))}, ["x FP32 [-1, 4]", "says 3: an item has the shape [4]"]),
        ({"x": (3, 3)}, {"x": PIXELS}, ["x UINT8 [-1, 32, 32, 3]", "says 3,3: write height, width and channels"]),
        ({}, {"wave": TensorSpec("DT_8", (-1, 4))}, ["wave DT_8 [-1, 4], a type that raybench cannot send"]),
        ({}, {}, ["no input, so there is nothing to send"]),
    ],
)  # fmt: skip
def test_what_cannot_be_made_is_a_sentence(options: dict, inputs: dict[str, TensorSpec], sentences: list[str]) -> None:
    """One sentence says what the signature takes, why nothing can be made for it, and the flag that helps."""
    with pytest.raises(ConfigError) as error:
        bound(options=InputOptions(shapes=options), **inputs)
    assert str(error.value).startswith(f"it takes {sentences[0]}")
    assert all(sentence in str(error.value) for sentence in sentences)


def test_sources_that_make_the_same_are_equal() -> None:
    """Servers whose signatures differ in outputs alone are sent the same items, made once."""
    source = DeclaredInputs(photo_source(PHOTOS, jpeg_quality=90))
    one, other = (source.bind(Signature(TABLE, {name: PIXELS}), 0) for name in "ab")
    assert (one, hash(one)) == (other, hash(other))
    assert one != source.bind(Signature(TABLE, {}), 1)


def test_what_may_be_left_out_is() -> None:
    """An optional input of Triton is not sent: its type need not be one that raybench makes."""
    signature = Signature({"x": PIXELS, "y": TensorSpec("DT_8", None)}, {}, optional=frozenset({"y"}))
    made = DeclaredInputs(photo_source(NOISE, jpeg_quality=90)).bind(signature, 0)
    assert list(made.batch(np.arange(1))) == ["x"]

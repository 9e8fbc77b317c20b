"""Images as inputs: what they look like for each type, size and number of channels that a model declares."""

import numpy as np
import pytest

from raybench.inputs.photo_source import IMAGE_PX, NOISE, PHOTOS, PIXEL_RANGE, Images, photo_source
from raybench.inputs.photos import decode
from raybench.inputs.tensors import item_hashes
from raybench.models.saved_models import TensorSpec

SIZE = (32, 48)


def pixels(
    name: str = NOISE,
    datatype: str = "UINT8",
    channels: int = 3,
    bounds: tuple[float, float] = PIXEL_RANGE,
    seed: int = 3,
) -> Images:
    spec = TensorSpec(datatype, (-1, *SIZE, channels))
    return photo_source(name, jpeg_quality=90).pixels(spec, SIZE, bounds, seed)


@pytest.mark.parametrize("name", [NOISE, PHOTOS])
def test_an_image_depends_on_its_number_alone(name: str) -> None:
    """Who verifies an answer makes the image again: alone or among others, in any order, it is the same."""
    many = pixels(name).values(np.array([5, 0, 2, 7]))
    assert (pixels(name).values(np.array([2]))[0] == many[2]).all()
    assert len(set(item_hashes({"x": many}))) == 4
    assert (pixels(name, seed=4).values(np.array([2]))[0] != many[2]).any()


@pytest.mark.parametrize(
    ("datatype", "made", "encoding"),
    [
        ("UINT8", np.uint8, "uint8 NHWC"), ("FP32", np.float32, "float32 NHWC"), ("FP64", np.float64, "float64 NHWC"),
        ("FP16", np.float16, "float16 NHWC"), ("BF16", np.float32, "bfloat16 NHWC"),
    ],
)  # fmt: skip
def test_images_have_the_declared_type(datatype: str, made: type, encoding: str) -> None:
    """Floats are the values of the pixels, 0 to 255; bfloat16 is float32 that it can hold."""
    for name in (NOISE, PHOTOS):
        images = pixels(name, datatype).values(np.arange(2))
        assert (images.shape, images.dtype) == ((2, *SIZE, 3), made)
        assert (images == pixels(name).values(np.arange(2))).all()  # each of 0 to 255 fits into 8 bits of mantissa
        assert pixels(name, datatype).item_bytes == images.nbytes // 2
        assert pixels(name, datatype).encoding == encoding


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-1.0, 1.0), (-123.7, 151.1)])
def test_black_and_white_are_the_ends_of_the_range(bounds: tuple[float, float]) -> None:
    """A model that wants other values than 0 to 255 gets them: black is the lower end, white the upper one."""
    raw, scaled = pixels().values(np.arange(3)), pixels(datatype="FP32", bounds=bounds).values(np.arange(3))
    assert raw.min() == 0
    assert raw.max() == 255
    assert scaled[raw == 0] == pytest.approx(bounds[0], abs=1e-4)
    assert scaled[raw == 255] == pytest.approx(bounds[1], abs=1e-4)
    assert pixels(datatype="FP32", bounds=bounds).encoding == f"float32 NHWC {bounds[0]:g} to {bounds[1]:g}"


def test_one_channel_is_the_brightness() -> None:
    """A model of grey images gets the same photos, as bright as Pillow makes them, give or take its rounding."""
    colored, grey = pixels(PHOTOS).values(np.arange(2)), pixels(PHOTOS, channels=1).values(np.arange(2))
    assert grey.shape == (2, *SIZE, 1)
    luma = colored @ np.array([0.299, 0.587, 0.114])
    assert np.abs(grey[..., 0] - luma).max() <= 1


def test_images_of_an_unknown_number_of_channels_are_in_color() -> None:
    """What a signature leaves open is what most models take: three channels."""
    for spec in (TensorSpec("UINT8", None), TensorSpec("UINT8", (-1, -1, -1, -1))):
        made = photo_source(NOISE, jpeg_quality=90).pixels(spec, (8, 8), PIXEL_RANGE, 0)
        assert made.values(np.arange(1)).shape == (1, 8, 8, 3)


def test_files_are_jpegs_of_the_asked_quality() -> None:
    """Where an input takes files, an image is a JPEG of the asked quality that decodes to the usual size."""
    good, poor = (photo_source(PHOTOS, jpeg_quality=quality).jpegs(3).values(np.arange(3)) for quality in (95, 20))
    assert {decode(file).size for file in good} == {(IMAGE_PX, IMAGE_PX)}
    assert all(len(small) < len(large) for small, large in zip(poor, good, strict=True))
    assert photo_source(NOISE, jpeg_quality=90).jpegs(3).encoding == "jpeg q90"

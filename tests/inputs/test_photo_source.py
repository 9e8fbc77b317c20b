"""The photo source: which signatures it fits, and what it makes for them."""

import numpy as np
import pytest

from raybench.config import ConfigError
from raybench.inputs.photo_source import IMAGE_PX, NOISE, PHOTOS, BoundPhotos, photo_source
from raybench.inputs.photos import decode
from raybench.inputs.tensors import item_hashes
from raybench.models.saved_models import Signature, TensorSpec

PIXELS = TensorSpec("UINT8", (-1, 32, 32, 3))
FILES = TensorSpec("BYTES", (-1,))


def signature(**inputs: TensorSpec) -> Signature:
    return Signature(inputs, {})


def bound(name: str = NOISE, seed: int = 3, spec: TensorSpec = PIXELS, quality: int = 90) -> BoundPhotos:
    return photo_source(name, jpeg_quality=quality).bind(signature(x=spec), seed)


@pytest.mark.parametrize("name", [NOISE, PHOTOS])
def test_an_image_depends_on_its_number_alone(name: str) -> None:
    """Who verifies an answer makes the image again: alone or among others, in any order, it is the same."""
    many = bound(name).batch(np.array([5, 0, 2, 7]))
    assert (bound(name).batch(np.array([2]))["x"][0] == many["x"][2]).all()
    assert len(set(item_hashes(many))) == 4
    assert item_hashes(bound(name, seed=4).batch(np.array([2]))) != item_hashes({"x": many["x"][2:3]})


@pytest.mark.parametrize(
    ("shape", "size"),
    [
        ((-1, -1, -1, 3), (IMAGE_PX, IMAGE_PX)), ((-1, 299, 299, 3), (299, 299)), ((4, 20, 40, 3), (20, 40)),
        ((-1, 64, -1, -1), (64, IMAGE_PX)), (None, (IMAGE_PX, IMAGE_PX)),
    ],
)  # fmt: skip
def test_images_have_the_size_that_the_signature_declares(shape: tuple[int, ...] | None, size: tuple[int, int]) -> None:
    """Whatever side a signature declares, images have it; what it leaves free is the usual size."""
    for name in (NOISE, PHOTOS):
        made = bound(name, spec=TensorSpec("UINT8", shape))
        images = made.batch(np.arange(2))["x"]
        assert (images.shape, images.dtype) == ((2, *size, 3), np.uint8)
        assert made.item_bytes == images.nbytes // 2
        assert made.encoding == "uint8 NHWC"


def test_a_signature_of_files_gets_jpeg_files() -> None:
    """Where a signature takes bytes, an image is a JPEG file of the asked quality that decodes to the usual size."""
    good, poor = (bound(PHOTOS, spec=FILES, quality=quality).batch(np.arange(3))["x"] for quality in (95, 20))
    assert {decode(file).size for file in good} == {(IMAGE_PX, IMAGE_PX)}
    assert all(len(small) < len(large) for small, large in zip(poor, good, strict=True))
    assert bound(spec=FILES).encoding == "jpeg q90"


def test_what_is_no_image_is_refused() -> None:
    """A signature of another type, rank or number of inputs is a sentence with what it takes."""
    refused = {
        "x FP32 [-1, 32, 32, 3]": signature(x=TensorSpec("FP32", (-1, 32, 32, 3))),
        "x UINT8 [-1, 3]": signature(x=TensorSpec("UINT8", (-1, 3))),
        "x UINT8 [-1, 8, 8, 4]": signature(x=TensorSpec("UINT8", (-1, 8, 8, 4))),
        "x BYTES []": signature(x=TensorSpec("BYTES", ())),
        "x BYTES of any rank": signature(x=TensorSpec("BYTES", None)),
        "x UINT8 [-1, 32, 32, 3], y INT32 [-1]": signature(y=TensorSpec("INT32", (-1,)), x=PIXELS),
        "nothing": signature(),
    }
    for takes, wrong in refused.items():
        with pytest.raises(ConfigError) as error:
            photo_source(NOISE, jpeg_quality=90).bind(wrong, 0)
        assert str(error.value).startswith(f"it takes {takes}, and images go into a single input of UINT8 [n, h, w, 3]")


def test_sources_that_make_the_same_are_equal() -> None:
    """Servers whose signatures differ in name or output alone are sent the same items, made once."""
    one = photo_source(PHOTOS, jpeg_quality=90).bind(Signature({"x": PIXELS}, {"a": PIXELS}), 0)
    other = photo_source(PHOTOS, jpeg_quality=50).bind(Signature({"x": PIXELS}, {"b": FILES}), 0)
    assert (one, hash(one)) == (other, hash(other))
    assert one != bound(PHOTOS, seed=1)

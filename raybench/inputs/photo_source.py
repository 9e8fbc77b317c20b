"""Images as a source of inputs: crops of photos, each another, or noise; as pixels or as JPEG files."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from raybench.config import JPEGS, ConfigError
from raybench.inputs.photos import decode, jpeg_files, photos_in, random_crop, sample_photos
from raybench.inputs.tensors import Batch, described
from raybench.models.saved_models import Signature, TensorSpec

PHOTOS, NOISE = "photos", "noise"
PIXELS = TensorSpec("UINT8", (-1, -1, -1, 3))
FILES = TensorSpec("BYTES", (-1,))
IMAGE_PX = 224  # a side that a signature leaves free, as in most models of keras.applications
_CHANNELS = 3
_LARGEST_VALUE = 256
_FREE = (-1, -1, -1, _CHANNELS)


@dataclass(frozen=True)
class PhotoSource:
    """Crops of image files, or noise where there are no `files`; `jpeg_quality` is for signatures that take files."""

    name: str
    files: tuple[str, ...]
    jpeg_quality: int

    @property
    def item_bytes(self) -> int:
        """The most bytes of an image in a request, in the size that a signature leaves free."""
        return IMAGE_PX * IMAGE_PX * _CHANNELS

    def bind(self, signature: Signature, seed: int) -> "BoundPhotos":
        """Images for the one input of a signature, in its size; raises ConfigError where it takes something else."""
        if len(signature.inputs) == 1:
            ((name, spec),) = signature.inputs.items()
            if _takes_pixels(spec):
                height_px, width_px = (IMAGE_PX if side == -1 else side for side in (spec.shape or _FREE)[1:3])
                return BoundPhotos(self.name, self.files, name, height_px, width_px, seed, None, signature)
            if _takes_files(spec):
                quality = self.jpeg_quality
                return BoundPhotos(self.name, self.files, name, IMAGE_PX, IMAGE_PX, seed, quality, signature)
        takes = ", ".join(described(*each) for each in sorted(signature.inputs.items())) or "nothing"
        raise ConfigError(
            f"it takes {takes}, and images go into a single input of UINT8 [n, h, w, 3], or of BYTES [n] as JPEG files"
        )

    def only(self, files: tuple[str, ...]) -> "PhotoSource":
        """The source without the files that could not be read."""
        return replace(self, files=files)


@dataclass(frozen=True)
class BoundPhotos:
    """Image i is made from the files (none: it is noise), the seed and i alone. Equal ones make the same items."""

    source: str
    files: tuple[str, ...]
    input_name: str
    height_px: int
    width_px: int
    seed: int
    jpeg_quality: int | None  # None: pixels
    signature: Signature = field(compare=False)

    unit = "images"
    distinct = None

    @property
    def encoding(self) -> str:
        return f"jpeg q{self.jpeg_quality}" if self.jpeg_quality else "uint8 NHWC"

    @property
    def item_bytes(self) -> int:
        return self.height_px * self.width_px * _CHANNELS

    def batch(self, numbers: np.ndarray) -> Batch:
        pixels = self._pixels(numbers)
        return {self.input_name: jpeg_files(pixels, self.jpeg_quality) if self.jpeg_quality else pixels}

    def _pixels(self, numbers: np.ndarray) -> np.ndarray:
        """The images of these numbers, uint8 [n, height_px, width_px, 3]."""
        images = np.empty((len(numbers), self.height_px, self.width_px, _CHANNELS), np.uint8)
        if not self.files:
            for i, number in enumerate(numbers):
                images[i] = self._rng(number).integers(0, _LARGEST_VALUE, images.shape[1:], np.uint8)
            return images
        photo_of = numbers % len(self.files)
        for index in np.unique(photo_of):
            photo = decode(Path(self.files[index]).read_bytes())  # one at a time: many large ones exceed any memory
            for i in np.flatnonzero(photo_of == index):
                images[i] = random_crop(photo, self._rng(numbers[i]), self.height_px, self.width_px)
        return images

    def _rng(self, number: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, int(number)))


def photo_source(name: str, *, jpeg_quality: int) -> PhotoSource:
    """The source of photos, noise, or a folder; raises ConfigError where there is no image file.

    Whether the files can be read is found out by Ray Data tasks, later.
    """
    try:
        if name == NOISE:
            files: tuple[Path, ...] = ()
        else:
            files = sample_photos() if name == PHOTOS else photos_in(Path(name))
    except ValueError as error:
        raise ConfigError(str(error)) from error
    return PhotoSource(name, tuple(map(str, files)), jpeg_quality)


def demo_signature(name: str) -> Signature:
    """What a signature of the exported models takes by its name, for endpoints that declare no inputs of their own."""
    return Signature({"jpeg_images": FILES} if name == JPEGS else {"images": PIXELS}, {})


def _takes_pixels(spec: TensorSpec) -> bool:
    if spec.datatype != PIXELS.datatype or spec.shape is None:
        return spec.datatype == PIXELS.datatype
    return len(spec.shape) == 4 and spec.shape[3] in (-1, _CHANNELS)


def _takes_files(spec: TensorSpec) -> bool:
    return spec.datatype == FILES.datatype and spec.shape is not None and len(spec.shape) == 1

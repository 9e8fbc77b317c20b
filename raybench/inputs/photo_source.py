"""Images as a source of inputs: crops of photos, each another, or noise; as pixels or as JPEG files."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from raybench.config import JPEGS, ConfigError
from raybench.inputs.photos import decode, jpeg_files, photos_in, random_crop, resized, sample_photos
from raybench.inputs.random_values import NUMPY_TYPES, to_bfloat16
from raybench.inputs.source import ASSUMED
from raybench.inputs.wanted_values import MisfitError
from raybench.models.saved_models import Signature, TensorSpec

PHOTOS, NOISE = "photos", "noise"
PIXELS = TensorSpec("UINT8", (-1, -1, -1, 3))
FILES = TensorSpec("BYTES", (-1,))
IMAGE_PX = 224  # a side that a signature leaves free, as in most models of keras.applications
_CHANNELS = 3
_LARGEST_VALUE = 256
PIXEL_RANGE = (0.0, 255.0)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow and TensorFlow make images grey


@dataclass(frozen=True)
class PhotoSource:
    """Crops of image files, or noise where there are no `files`; `jpeg_quality` is for inputs that take files."""

    name: str
    files: tuple[str, ...]
    jpeg_quality: int

    def only(self, files: tuple[str, ...]) -> "PhotoSource":
        """The source without the files that could not be read."""
        return replace(self, files=files)

    def pixels(
        self, spec: TensorSpec, size_px: tuple[int, int], bounds: tuple[float, float] | None, seed: int
    ) -> "Images":
        """Images for an input that takes pixels; of an unknown rank they have 3 channels.

        `bounds` is what black and white are sent as; None where it is not declared.
        """
        channels = _CHANNELS if spec.shape is None or spec.shape[3] == -1 else spec.shape[3]
        made = Images(self.name, self.files, *size_px, channels, spec.datatype, bounds or PIXEL_RANGE, seed)
        return replace(made, is_range_assumed=bounds is None and spec.datatype != "UINT8")

    def jpegs(self, seed: int) -> "Images":
        """JPEG files for an input that takes bytes."""
        return Images(
            self.name, self.files, IMAGE_PX, IMAGE_PX, _CHANNELS, "UINT8", PIXEL_RANGE, seed, self.jpeg_quality
        )


@dataclass(frozen=True)
class Images:
    """Image i is made from the files (none: it is noise), the seed and i alone. Equal ones make the same items."""

    source: str
    files: tuple[str, ...]
    height_px: int
    width_px: int
    channels: int
    datatype: str
    bounds: tuple[float, float]  # of what black and white are sent as
    seed: int
    jpeg_quality: int | None = None  # None: pixels
    is_range_assumed: bool = False  # nobody says what the model takes for white

    is_image = True
    distinct = None

    @property
    def encoding(self) -> str:
        if self.jpeg_quality:
            return f"jpeg q{self.jpeg_quality}"
        kind = NUMPY_TYPES[self.datatype].__name__ if self.datatype != "BF16" else "bfloat16"
        low, high = self.bounds
        if self.is_range_assumed:
            return f"{kind} NHWC, {ASSUMED} {low:g} to {high:g}"
        return f"{kind} NHWC" if self.bounds == PIXEL_RANGE else f"{kind} NHWC {low:g} to {high:g}"

    @property
    def item_bytes(self) -> int:
        each = np.dtype(NUMPY_TYPES[self.datatype]).itemsize
        return self.height_px * self.width_px * self.channels * each

    def values(self, numbers: np.ndarray) -> np.ndarray:
        """Images by number, [n, height_px, width_px, channels]; as JPEG files, bytes [n]."""
        pixels = self._pixels(numbers)
        return jpeg_files(pixels, self.jpeg_quality) if self.jpeg_quality else self._encoded(pixels)

    def of_file(self, data: bytes) -> np.ndarray:
        """An image file's pixels, resized, as the input takes them; raises MisfitError where it cannot be read."""
        try:
            pixels = resized(decode(data), self.height_px, self.width_px)
        except Exception as error:  # Pillow raises many kinds for broken files
            raise MisfitError("its image file cannot be decoded") from error
        return self._encoded(pixels[np.newaxis])[0]

    def _encoded(self, pixels: np.ndarray) -> np.ndarray:
        """Images uint8 [n, height_px, width_px, 3] in the input's channels, range and type."""
        if self.channels == 1:
            pixels = np.rint(pixels @ _LUMA).astype(np.uint8)[..., np.newaxis]
        if self.datatype == "UINT8" and self.bounds == PIXEL_RANGE:
            return pixels
        low, high = self.bounds
        scaled = low + pixels.astype(np.float32) * np.float32((high - low) / PIXEL_RANGE[1])
        if self.datatype == "UINT8":
            return np.rint(scaled).astype(np.uint8)
        return to_bfloat16(scaled) if self.datatype == "BF16" else scaled.astype(NUMPY_TYPES[self.datatype])

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

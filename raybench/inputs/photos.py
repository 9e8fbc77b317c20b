"""Real photos on disk and the seeded crops that make every image of a dataset differ."""

import hashlib
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

# Colour photographs that travel inside scikit-image's wheel.
_SAMPLES = (
    "astronaut.png",
    "chelsea.png",
    "coffee.png",
    "hubble_deep_field.jpg",
    "ihc.png",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
    "rocket.jpg",
)
_CALIBRATION_IMAGES = 32
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")  # Pillow's others include ones that start programs
_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp"}


def sample_photos() -> tuple[Path, ...]:
    """The photos inside scikit-image's wheel, found without importing it."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ValueError("the sample photos come with scikit-image, which is not installed: pip install scikit-image")
    return tuple(Path(spec.origin).parent / "data" / name for name in _SAMPLES)


def photos_in(folder: Path) -> tuple[Path, ...]:
    """The image files below a folder, sorted; raises ValueError where there is none."""
    found = tuple(sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES and path.is_file()))
    if not found:
        kinds = ", ".join(sorted(_SUFFIXES))
        raise ValueError(f"images is {folder}; it holds no {kinds} file: name a folder with photos")
    return found


def decode(data: bytes) -> Image.Image:
    """An image file's bytes as RGB pixels, the first frame's where it moves.

    Raises whatever Pillow raises, mostly OSError, where they are not an image of a known format or it is too large.
    """
    photo: Any = Image.open(io.BytesIO(data), formats=_FORMATS)
    if any(tile[0] == "bmp_rle" for tile in photo.tile):  # a hundred bytes of it can take Pillow ten seconds
        raise OSError("a BMP with run lengths is not read; save it as PNG")
    if photo.mode.startswith("I"):  # 16 bits a pixel: convert() would clip them to white
        photo = Image.fromarray((np.asarray(photo) // 256).astype(np.uint8))
    return photo.convert("RGB")


def jpegs(images: np.ndarray, quality: int) -> np.ndarray:
    """Images uint8 [n, h, w, 3] as JPEG files, bytes [n] of dtype S: that drops zeros at the end, and none ends so."""
    return np.array([_jpeg(image, quality) for image in images])


def hashes(images: np.ndarray) -> tuple[str, ...]:
    """What tells images uint8 [n, h, w, 3] apart: equal ones have equal hashes."""
    return tuple(hashlib.blake2b(image.tobytes(), digest_size=16).hexdigest() for image in images)


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return file.getvalue()


def random_crop(photo: Image.Image, rng: np.random.Generator, size_px: int) -> np.ndarray:
    """A square crop of random place and scale, sometimes mirrored, as uint8 [size_px, size_px, 3]."""
    side = max(1, int(min(photo.size) * rng.uniform(0.4, 1.0)))
    left = int(rng.integers(0, photo.width - side + 1))
    top = int(rng.integers(0, photo.height - side + 1))
    box = (left, top, left + side, top + side)
    pixels = np.asarray(photo.resize((size_px, size_px), Image.Resampling.BILINEAR, box=box))
    return np.ascontiguousarray(pixels[:, ::-1] if rng.random() < 0.5 else pixels)


def calibration_crops(size_px: int, *, seed: int) -> np.ndarray:
    """Seeded crops of the sample photos, uint8 [32, size_px, size_px, 3], for an export to fit its weights to."""
    found = [decode(path.read_bytes()) for path in sample_photos()]
    rng = np.random.default_rng(seed)
    return np.stack([random_crop(found[i % len(found)], rng, size_px) for i in range(_CALIBRATION_IMAGES)])

"""Image files: those inside scikit-image's wheel and those below a folder, decoded, cropped and compressed."""

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
SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".webp")


def sample_photos() -> tuple[Path, ...]:
    """The photos inside scikit-image's wheel, found without importing it."""
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise ValueError("the sample photos come with scikit-image, which is not installed: pip install scikit-image")
    return tuple(Path(spec.origin).parent / "data" / name for name in _SAMPLES)


def photos_in(folder: Path) -> tuple[Path, ...]:
    """The image files below a folder, sorted, by their whole paths; raises ValueError where there is none."""
    paths = sorted(folder.resolve().rglob("*"))
    found = tuple(path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file())
    if not found:
        kinds = ", ".join(SUFFIXES)
        raise ValueError(f"images is {folder}; it has no {kinds} files: name a folder with photos")
    return found


def decode(data: bytes) -> Image.Image:
    """An image file's bytes as RGB pixels, the first frame's where it moves.

    Raises whatever Pillow raises, mostly OSError, where they are not an image of a known format or it is too large.
    """
    photo: Any = Image.open(io.BytesIO(data), formats=_FORMATS)
    if any(tile[0] == "bmp_rle" for tile in photo.tile):  # a hundred bytes of it can take Pillow ten seconds
        raise OSError("run-length encoded BMP is not supported; save it as PNG")
    if photo.mode.startswith("I"):  # 16 bits a pixel: convert() would clip them to white
        photo = Image.fromarray((np.asarray(photo) // 256).astype(np.uint8))
    return photo.convert("RGB")


def decodes(path: str) -> bool:
    """Whether a file is an image that can be read."""
    try:
        decode(Path(path).read_bytes())
    except Exception:  # Pillow raises many kinds for broken files, and one for pictures that are too large
        return False
    return True


def resized(photo: Image.Image, height_px: int, width_px: int) -> np.ndarray:
    """The whole photo as uint8 [height_px, width_px, 3]."""
    return np.asarray(photo.resize((width_px, height_px), Image.Resampling.BILINEAR))


def random_crop(photo: Image.Image, rng: np.random.Generator, height_px: int, width_px: int) -> np.ndarray:
    """A crop of random place and scale, sometimes mirrored, as uint8 [height_px, width_px, 3]."""
    scale = min(photo.width * height_px, photo.height * width_px) * rng.uniform(0.4, 1.0)
    across, down = max(1, int(scale / height_px)), max(1, int(scale / width_px))
    left = int(rng.integers(0, photo.width - across + 1))
    top = int(rng.integers(0, photo.height - down + 1))
    box = (left, top, left + across, top + down)
    pixels = np.asarray(photo.resize((width_px, height_px), Image.Resampling.BILINEAR, box=box))
    return np.ascontiguousarray(pixels[:, ::-1] if rng.random() < 0.5 else pixels)


def jpeg_files(images: np.ndarray, quality: int) -> np.ndarray:
    """Images uint8 [n, h, w, 3] as JPEG files: bytes [n], dtype object."""
    files = np.empty(len(images), object)
    for number, image in enumerate(images):
        files[number] = _jpeg(image, quality)
    return files


def calibration_crops(size_px: int, *, seed: int) -> np.ndarray:
    """Seeded crops of the sample photos, uint8 [32, size_px, size_px, 3], for an export to fit its weights to."""
    found = [decode(path.read_bytes()) for path in sample_photos()]
    rng = np.random.default_rng(seed)
    return np.stack([random_crop(found[i % len(found)], rng, size_px, size_px) for i in range(_CALIBRATION_IMAGES)])


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return file.getvalue()

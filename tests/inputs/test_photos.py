"""images and photos: real pictures, each different, the same for the same seed."""

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from real_parts import crops, raybench

from raybench.inputs.photos import decode, jpeg_files, photos_in, random_crop, sample_photos


def encoded(pixels: np.ndarray, kind: str, mode: str | None = None, **options: Any) -> bytes:
    file = io.BytesIO()
    photo = Image.fromarray(pixels)
    photo.convert(mode or photo.mode).save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, data: bytes) -> bytes:
    """A chunk of a PNG, section 5.3 of its specification."""
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


PIXELS = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
HUGE = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
CORRUPT = {
    "cut-off.jpg": encoded(PIXELS, "JPEG")[:900],
    "text.jpg": b"no picture",
    "empty.png": b"",
    "bomb.png": b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", HUGE) + chunk(b"IDAT", zlib.compress(bytes(1000))),
    "pixmap.jpg": b"P6 1 1 255\nRGB",  # none of the formats that are read
    # what a fuzzer found: Pillow pads the one row of this BMP byte by byte, for seconds
    "runs.bmp": struct.pack("<2sIIIIiiHHIIiiII", b"BM", 66, 0, 62, 40, 80_000_000, 1, 1, 8, 1, 4, 0, 0, 2, 0)
    + bytes(8)
    + b"\1\0\0\0",
}
UNUSUAL = {
    "cmyk.jpg": encoded(PIXELS, "JPEG", "CMYK"),
    "deep.png": encoded(np.linspace(0, 65535, 4096).astype(np.uint16).reshape(64, 64), "PNG"),
    "palette.png": encoded(PIXELS, "PNG", "P"),
    "see-through.webp": encoded(PIXELS, "WEBP", "RGBA"),
    "moving.webp": encoded(PIXELS, "WEBP", save_all=True, append_images=[Image.fromarray(PIXELS[::-1])]),
    "moving.png": encoded(PIXELS, "PNG", save_all=True, append_images=[Image.fromarray(PIXELS[::-1])]),
    "dot.png": encoded(PIXELS[:1, :1], "PNG"),
    "line.png": encoded(PIXELS[:1], "PNG"),
    "huge.png": encoded(np.zeros((5000, 6000, 3), np.uint8), "PNG"),
}


def test_sample_photos_are_there() -> None:
    """The default photos come from an installed package and are coloured pictures of a useful size."""
    photos = [decode(path.read_bytes()) for path in sample_photos()]
    assert len(photos) >= 8
    assert all(min(photo.size) >= 224 and np.asarray(photo).std() > 20 for photo in photos)


def test_crops_depend_on_the_seed_alone() -> None:
    """The same seed gives the same crop, another seed another one, of the asked size."""
    photo = decode(sample_photos()[0].read_bytes())
    first, again, other = (random_crop(photo, np.random.default_rng(seed), 64, 64) for seed in (1, 1, 2))
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert (first == again).all()
    assert (first != other).any()


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    """A folder that holds no image is refused with its name."""
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=tmp_path.name):
        photos_in(tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["noise", "folder"])
def test_images_of_a_run_differ(source: str, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Two pictures in a folder, or seeded noise, become as many different images as are sent."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, pixels in enumerate(crops(2, size_px=256)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    images = folder if source == "folder" else source
    run = raybench(
        "run", "-s", "fake", "--images", images, "--workers", 2, "-b", 4, "--request-count", 20,
        cwd=tmp_path, env=ray_environment,
    )  # fmt: skip
    assert run.code == 0, run.err + run.out
    payload = run.summary["trials"][0]["payload"]
    assert payload["items"] == payload["distinct"] == 80


@pytest.mark.slow
def test_files_that_are_no_images(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Among good images the corrupt ones are named, counted and skipped; unusual ones that decode are sent."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, data in {**CORRUPT, **UNUSUAL}.items():
        (folder / name).write_bytes(data)
    run = raybench("run", "-s", "fake", "--images", folder, "--request-count", 100, cwd=tmp_path, env=ray_environment)
    assert run.code == 0, run.err + run.out
    assert f"skipped {len(CORRUPT)} unreadable images: " in run.err
    assert sum(str(folder / name) in run.err for name in CORRUPT) == 5
    assert " and 1 more\n" in run.err
    about = json.loads((run.folder / "environment.json").read_text())  # type: ignore[operator]
    assert about["environment"]["unreadable_images"] == sorted(str(folder / name) for name in CORRUPT)
    assert "warning" not in run.err
    assert run.summary["trials"][0]["payload"]["distinct"] > len(UNUSUAL)


@pytest.mark.parametrize("name", CORRUPT)
def test_what_is_no_image_is_refused(name: str) -> None:
    """A file that is cut off, empty, of another kind, or claims to be huge costs no time or memory."""
    with pytest.raises((OSError, Image.DecompressionBombError)):
        decode(CORRUPT[name])


@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_images_become_crops(name: str) -> None:
    """Any colour model, depth, shape or number of frames becomes a crop of the asked size."""
    crop = random_crop(decode(UNUSUAL[name]), np.random.default_rng(0), 32, 32)
    assert crop.shape == (32, 32, 3)


def test_sixteen_bits_keep_their_shades() -> None:
    """A picture of 16 bits a pixel is scaled to 8, not clipped to white."""
    assert np.asarray(decode(UNUSUAL["deep.png"])).mean() == pytest.approx(127, abs=2)


def test_a_jpeg_file_is_its_picture() -> None:
    """An image that is sent as a JPEG file decodes to itself, as far as its quality goes, and is smaller."""
    photo = np.asarray(decode(sample_photos()[0].read_bytes()).resize((64, 64)))
    good, poor = (jpeg_files(photo[np.newaxis], quality) for quality in (95, 20))
    assert good.shape == (1,)
    assert len(poor[0]) < len(good[0]) < photo.nbytes
    assert np.abs(np.asarray(decode(good[0])).astype(int) - photo).mean() < 4

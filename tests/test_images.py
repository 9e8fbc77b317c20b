"""images and photos: real pictures, each different, the same for the same seed."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from real_parts import crops, raybench

from raybench.photos import decode, photos_in, random_crop, sample_photos


def test_sample_photos_are_there() -> None:
    """The default photos come from an installed package and are coloured pictures of a useful size."""
    photos = [decode(path.read_bytes()) for path in sample_photos()]
    assert len(photos) >= 8
    assert all(min(photo.size) >= 224 and np.asarray(photo).std() > 20 for photo in photos)


def test_crops_depend_on_the_seed_alone() -> None:
    """The same seed gives the same crop, another seed another one, of the asked size."""
    photo = decode(sample_photos()[0].read_bytes())
    first, again, other = (random_crop(photo, np.random.default_rng(seed), 64) for seed in (1, 1, 2))
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.uint8
    assert (first == again).all()
    assert (first != other).any()


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    """A folder that holds no image is refused with its name."""
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=tmp_path.name):
        photos_in(tmp_path)


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
    assert payload["images"] == payload["distinct"] == 80


@pytest.mark.parametrize("good", [0, 1])
def test_a_file_that_is_no_image(good: int, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """An unreadable image among good ones is named and skipped; where no good one is left, it is exit 2 before load."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    (folder / "broken.jpg").write_bytes(b"no picture")
    for number, pixels in enumerate(crops(good)) if good else ():
        Image.fromarray(pixels).save(folder / f"{number}.png")
    run = raybench("run", "-s", "fake", "--images", folder, cwd=tmp_path, env=ray_environment)
    assert run.code == (0 if good else 2), run.err + run.out
    assert "broken.jpg" in run.out + run.err
    assert (run.folder is not None) == bool(good)

"""A Ray Dataset of images -> a shard of uint8 blocks per worker; reading, decoding and cropping are Ray Data tasks."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data

from raybench.photos import decode, photos_in, random_crop, sample_photos

MEMORY_BUDGET_BYTES = 2**30
_BLOCK_IMAGES = 256
_PROBE_FILES = 64


def most_images(size_px: int) -> int:
    """How many images of this size the memory budget holds."""
    return MEMORY_BUDGET_BYTES // (size_px * size_px * 3)


@dataclass(frozen=True)
class Images:
    """A materialized Ray Dataset with a column `image`, and the files that could not be read."""

    dataset: Any
    unreadable: tuple[str, ...] = ()


def load(source: str, count: int, *, size_px: int, seed: int) -> Images:
    """So many images, uint8 [count, size_px, size_px, 3], from photos, noise or a folder.

    Image i depends on the source, the seed and i alone, so that every image differs and the same arguments give the
    same images. Raises ValueError where the source has no image that can be read.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its warning that progress bars are off
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.range(count, override_num_blocks=max(1, count // _BLOCK_IMAGES))
    kwargs = {"size_px": size_px, "seed": seed}
    if source == "noise":
        return Images(rows.map_batches(_noise, fn_kwargs=kwargs, batch_size=None).materialize())
    photos, unreadable = _readable(sample_photos() if source == "photos" else photos_in(Path(source).resolve()))
    if not photos:
        raise ValueError(
            f"images is {source}; none of its {len(unreadable)} files can be read, such as {unreadable[0]}: "
            f"name a folder with photos"
        )
    cropped = rows.map_batches(_crops, fn_kwargs={"photos": photos, **kwargs}, batch_size=None)
    return Images(cropped.materialize(), tuple(unreadable))


def shards(images: Images, parts: int) -> list[list[Any]]:
    """The dataset dealt to so many workers: for each a list of references to uint8 arrays [n, h, w, 3]."""
    return [part.to_numpy_refs(column="image") for part in images.dataset.split(parts, equal=True)]


def _readable(paths: tuple[Path, ...]) -> tuple[list[str], list[str]]:
    """The files that decode and those that do not, tried in Ray Data tasks."""
    tried = ray.data.from_items([{"path": str(path)} for path in paths]).map_batches(_probe, batch_size=_PROBE_FILES)
    rows = sorted(tried.take_all(), key=lambda row: row["path"])
    return [r["path"] for r in rows if r["decodes"]], [r["path"] for r in rows if not r["decodes"]]


def _probe(rows: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"path": rows["path"], "decodes": np.array([_decodes(path) for path in rows["path"]])}


def _decodes(path: str) -> bool:
    try:
        decode(Path(path).read_bytes())
    except Exception:  # Pillow raises many kinds for broken files, and one for pictures that are too large
        return False
    return True


def _crops(rows: dict[str, np.ndarray], *, photos: list[str], size_px: int, seed: int) -> dict[str, np.ndarray]:
    images = np.empty((len(rows["id"]), size_px, size_px, 3), np.uint8)
    photo_of = rows["id"] % len(photos)
    for index in np.unique(photo_of):
        photo = decode(Path(photos[index]).read_bytes())  # one at a time: a folder of large ones exceeds any memory
        for i in np.flatnonzero(photo_of == index):
            images[i] = random_crop(photo, np.random.default_rng((seed, int(rows["id"][i]))), size_px)
    return {"image": images}


def _noise(rows: dict[str, np.ndarray], *, size_px: int, seed: int) -> dict[str, np.ndarray]:
    shape = (size_px, size_px, 3)
    return {
        "image": np.stack([np.random.default_rng((seed, int(i))).integers(0, 256, shape, np.uint8) for i in rows["id"]])
    }

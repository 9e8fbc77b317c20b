"""A Ray Dataset of images -> a shard of uint8 blocks per worker; reading, decoding and cropping are Ray Data tasks."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import ray
import ray.data

from raybench.photos import decode, photos_in, random_crop, sample_photos

MEMORY_BUDGET_BYTES = 2**30
_BLOCK_IMAGES = 256


def most_images(size_px: int) -> int:
    """How many images of this size the memory budget holds."""
    return MEMORY_BUDGET_BYTES // (size_px * size_px * 3)


def dataset(source: str, count: int, *, size_px: int, seed: int) -> Any:
    """A materialized Ray Dataset with a column `image`, uint8 [count, size_px, size_px, 3].

    `source` is photos, noise or a folder. Image i depends on the seed and i alone, so that every image differs and
    the same arguments give the same images. Raises ValueError where the source has no image that can be read.
    """
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its warning that progress bars are off
    ray.data.DataContext.get_current().enable_progress_bars = False
    rows = ray.data.range(count, override_num_blocks=max(1, count // _BLOCK_IMAGES))
    if source == "noise":
        made = rows.map_batches(_noise, fn_kwargs={"size_px": size_px, "seed": seed}, batch_size=None)
    else:
        photos = [str(path) for path in (sample_photos() if source == "photos" else photos_in(Path(source)))]
        kwargs = {"photos": photos, "size_px": size_px, "seed": seed}
        made = rows.map_batches(_crops, fn_kwargs=kwargs, batch_size=None)
    return made.materialize()


def shards(images: Any, parts: int) -> list[list[Any]]:
    """The dataset dealt to so many workers: for each a list of references to uint8 arrays [n, h, w, 3]."""
    return [part.to_numpy_refs(column="image") for part in images.split(parts, equal=True)]


def _crops(rows: dict[str, np.ndarray], *, photos: list[str], size_px: int, seed: int) -> dict[str, np.ndarray]:
    decoded: dict[str, Any] = {}
    images = np.empty((len(rows["id"]), size_px, size_px, 3), np.uint8)
    for i, number in enumerate(rows["id"]):
        path = photos[int(number) % len(photos)]
        if path not in decoded:
            decoded[path] = _read(path)
        images[i] = random_crop(decoded[path], np.random.default_rng((seed, int(number))), size_px)
    return {"image": images}


def _noise(rows: dict[str, np.ndarray], *, size_px: int, seed: int) -> dict[str, np.ndarray]:
    shape = (size_px, size_px, 3)
    return {
        "image": np.stack([np.random.default_rng((seed, int(i))).integers(0, 256, shape, np.uint8) for i in rows["id"]])
    }


def _read(path: str) -> Any:
    try:
        return decode(Path(path).read_bytes())
    except OSError as error:
        raise ValueError(f"images: {path} cannot be read as an image; remove it or replace it") from error

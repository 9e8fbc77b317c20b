"""Images by number, and a worker's shard of them: of a Ray Dataset whose tasks read, decode and crop, or to be read."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray

from raybench.inputs.photos import decode, photos_in, random_crop, sample_photos

_BLOCK_IMAGES = 256
_PROBE_FILES = 64
_FETCH_S = 60.0  # of blocks from other nodes
_STREAM_IMAGES = 2**20  # then a stream begins again: hashes are kept of all that differ


@dataclass(frozen=True)
class Recipe:
    """How image i is made, each another: by the photos (none: it is noise), the seed and i alone."""

    photos: tuple[str, ...]
    size_px: int
    seed: int

    def images(self, numbers: np.ndarray) -> np.ndarray:
        """The images of these numbers, uint8 [n, size_px, size_px, 3]."""
        images = np.empty((len(numbers), self.size_px, self.size_px, 3), np.uint8)
        if not self.photos:
            for i, number in enumerate(numbers):
                images[i] = self._rng(number).integers(0, 256, images.shape[1:], np.uint8)
            return images
        photo_of = numbers % len(self.photos)
        for index in np.unique(photo_of):
            photo = decode(Path(self.photos[index]).read_bytes())  # one at a time: many large ones exceed any memory
            for i in np.flatnonzero(photo_of == index):
                images[i] = random_crop(photo, self._rng(numbers[i]), self.size_px)
        return images

    def _rng(self, number: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, int(number)))


@dataclass(frozen=True)
class Images:
    """The images of a run: how they are made, those that are made already, and the files that could not be read.

    `dataset` is a materialized Ray Dataset with a column `image`, None where images are made while they are sent.
    """

    recipe: Recipe
    dataset: Any | None
    unreadable: tuple[str, ...] = ()


@dataclass(frozen=True)
class Held:
    """A worker's part of a dataset: references to uint8 arrays [n, h, w, 3]."""

    blocks: list[Any]

    def batch(self, payload: int, batch_size: int) -> np.ndarray:
        """The images of a payload."""
        blocks, first = ray.get(self.blocks, timeout=_FETCH_S), payload * batch_size
        starts = np.cumsum([0, *map(len, blocks)])
        parts = zip(blocks, starts, strict=False)
        return np.concatenate([b[max(0, first - at) : max(0, first + batch_size - at)] for b, at in parts])


@dataclass(frozen=True)
class Streamed:
    """A worker's part of images that are made while they are sent: the workers deal them out by the batch.

    `recipe` is a reference to it, for a folder has many names.
    """

    recipe: Any
    count: int
    worker: int
    workers: int

    def payloads(self, batch_size: int, models: int) -> int:
        """How many batches there are until it begins again, as many for each model."""
        return max(1, self.count // (self.workers * batch_size * models)) * models

    def numbers(self, payload: int, batch_size: int) -> np.ndarray:
        """Which images are in a payload, int64 [batch_size]."""
        return np.arange(batch_size) + (payload * self.workers + self.worker) * batch_size

    def batch(self, payload: int, batch_size: int) -> np.ndarray:
        """The images of a payload."""
        recipe: Recipe = ray.get(self.recipe)
        return recipe.images(self.numbers(payload, batch_size))


def load(source: str, count: int | None, *, size_px: int, seed: int) -> Images:
    """So many images of photos, noise or a folder; without a count, any number of them, which are not made yet.

    Raises ValueError where the source has no image that can be read.
    """
    import ray.data  # not above: a worker's process has no need of it, and waits a second for it

    logging.getLogger("ray.data").setLevel(logging.ERROR)  # its warning that progress bars are off
    ray.data.DataContext.get_current().enable_progress_bars = False
    photos, unreadable = ((), ()) if source == "noise" else _photos(source)
    recipe = Recipe(photos, size_px=size_px, seed=seed)
    if count is None:
        return Images(recipe, None, unreadable)
    rows = ray.data.range(count, override_num_blocks=max(1, count // _BLOCK_IMAGES))
    made = rows.map_batches(_made, fn_kwargs={"recipe": recipe}, batch_size=None)
    return Images(recipe, made.materialize(), unreadable)


def shards(images: Images, parts: int) -> Sequence[Held | Streamed]:
    """The images dealt to so many workers."""
    if images.dataset is None:
        recipe, count = ray.put(images.recipe), max(_STREAM_IMAGES, len(images.recipe.photos))
        return [Streamed(recipe, count, worker, parts) for worker in range(parts)]
    return [Held(part.to_numpy_refs(column="image")) for part in images.dataset.split(parts, equal=True)]


def _photos(source: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The files that can be read, and those that cannot."""
    photos, unreadable = _readable(sample_photos() if source == "photos" else photos_in(Path(source).resolve()))
    if not photos:
        raise ValueError(
            f"images is {source}; none of its {len(unreadable)} files can be read, such as {unreadable[0]}: "
            f"name a folder with photos"
        )
    return tuple(photos), tuple(unreadable)


def _readable(paths: tuple[Path, ...]) -> tuple[list[str], list[str]]:
    """The files that decode and those that do not, tried in Ray Data tasks."""
    import ray.data

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


def _made(rows: dict[str, np.ndarray], *, recipe: Recipe) -> dict[str, np.ndarray]:
    return {"image": recipe.images(rows["id"])}

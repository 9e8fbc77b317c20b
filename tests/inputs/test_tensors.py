"""Batches: arrays by input name, an item along axis 0."""

import numpy as np
import pytest

from raybench.inputs.tensors import concatenated, item_count, item_hashes, items_of, size_bytes, unnested

BATCH = {"ids": np.arange(6).reshape(3, 2), "text": np.array([b"a\0", b"", b"ccc"], object)}


def test_a_batch_is_cut_and_put_together_by_items() -> None:
    """Parts of a batch hold whole items of every input, and together they are the batch again."""
    parts = [items_of(BATCH, 0, 1), items_of(BATCH, 1, 5)]
    assert [item_count(part) for part in parts] == [1, 2]
    again = concatenated(parts)
    assert all((again[name] == BATCH[name]).all() for name in BATCH)


def test_an_item_is_known_by_all_of_its_inputs() -> None:
    """Equal items have equal hashes; one that differs in any input, or in where a value ends, has another."""
    text = np.array([[b"ab", b"c"], [b"a", b"bc"], [b"ab", b"c"]], object)
    hashes = item_hashes({"same": np.zeros(3), "text": text})
    assert hashes[0] == hashes[2] != hashes[1]
    assert len(set(item_hashes(BATCH))) == 3
    assert item_hashes(items_of(BATCH, 2, 1)) == item_hashes(BATCH)[2:]


def test_the_size_of_a_batch_is_that_of_its_values() -> None:
    """Numbers count by their type, bytes by their lengths."""
    assert size_bytes(BATCH) == 6 * 8 + 5


@pytest.mark.parametrize("shape", [(3,), (3, 2), (3, 2, 2)])
def test_strings_are_whole_after_ray_data(shape: tuple[int, ...]) -> None:
    """Several strings for each item, which Ray Data brings as arrays in an array, are one array again."""
    flat = np.empty(int(np.prod(shape)), object)
    flat[:] = [bytes([65 + number]) for number in range(flat.size)]
    sent = flat.reshape(shape)

    def nested(array: np.ndarray) -> np.ndarray:
        made = np.empty(len(array), object)
        made[:] = [nested(each) if each.ndim > 1 else each for each in array] if array.ndim > 1 else array
        return made

    found = unnested({"x": nested(sent)})["x"]
    assert found.shape == shape
    assert found.tolist() == sent.tolist()

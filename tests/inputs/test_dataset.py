"""Shards: which items each worker of a trial sends."""

import numpy as np

from raybench.inputs.dataset import StreamedShard


def test_models_of_a_mix_take_turns() -> None:
    """A payload is of the same model in every epoch, so that its reply is held against that model's answer."""
    shard = StreamedShard(source=None, count=1000, worker=0, workers=3)
    for models in (1, 2, 7):
        assert shard.payloads(8, models) % models == 0
        assert 0 < shard.payloads(8, models) * 8 * 3 <= max(1000, 8 * 3 * models)


def test_workers_deal_the_images_of_a_stream() -> None:
    """No image is sent by two workers, and together they go through the folder from its first file on."""
    shards = [StreamedShard(source=None, count=48, worker=worker, workers=3) for worker in range(3)]
    dealt = [shard.numbers(payload, 4) for payload in range(shards[0].payloads(4, 1)) for shard in shards]
    assert np.concatenate(dealt).tolist() == list(range(48))

"""Which replies a worker keeps, and what it says of those that are none."""

import time

import numpy as np
import pytest
from helpers import fake_task, images

from raybench.clients.base import OK, Reply, UnsupportedReplyError
from raybench.clients.fake_client import FakeClient
from raybench.clients.proto import tfserving_pb2 as pb
from raybench.clients.tensor_proto import array, put
from raybench.worker.load_worker import Worker
from raybench.worker.reply_sampler import ReplySampler


def sampled(sizes: list[int], workers: int = 1) -> list[int]:
    """The numbers of the requests that are kept, by the sizes of their replies."""
    sampler = ReplySampler(workers)
    for seq, size in enumerate(sizes):
        sampler.offer(seq, seq % 4, Reply(status=OK, received_bytes=size))
    return [each.seq for each in sampler.kept]


def test_early_and_late_replies_are_kept() -> None:
    """The first ten, then each half as late again: few of many, and the same ones in every round."""
    assert sampled([100] * 200) == [*range(11), 15, 22, 33, 50, 75, 113, 170]
    assert len(sampled([100] * 100_000)) < 40


def test_every_third_reply_is_seen_whatever_the_phase() -> None:
    """Faults that come back periodically are among the kept, for every period up to 8 and every phase of it."""
    kept = sampled([100] * 60)
    assert all(any(seq % period == phase for seq in kept) for period in range(2, 9) for phase in range(period))


@pytest.mark.parametrize("rare", [7, 5000])
def test_a_reply_of_another_size_is_always_kept(rare: int) -> None:
    """One reply of ten thousand that is of another size is kept, whether all others are alike or scatter."""
    alike, scattered = [100] * 10_000, list(np.random.default_rng(0).integers(80, 120, 10_000))
    for sizes in (alike, scattered):
        assert 7777 in sampled([*sizes[:7777], rare, *sizes[7778:]])


def test_what_is_kept_fits_into_a_budget() -> None:
    """Large replies are few, the first and some of another size among them, and many workers keep less each."""
    large = [2**22] * 300
    kept = sampled([*large[:100], 9, *large[101:]])
    assert kept[0] == 0
    assert 100 in kept
    assert len(kept) <= 6
    assert len(sampled([2**20] * 300, workers=1000)) <= 3


def test_what_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a decoder raises is a reply that is no answer, with its size; a type that is not read is the client's
    own limit; neither loses the others."""
    faults = iter([KeyError("x"), UnsupportedReplyError("a type of tomorrow"), None, ValueError("of\nlines")])

    def decode(_: FakeClient, reply: Reply) -> dict[str, np.ndarray]:
        if fault := next(faults):
            raise fault
        return {"count": np.array([reply.body])}

    monkeypatch.setattr(FakeClient, "decode", decode)
    worker = Worker(fake_task(requests=4))
    worker.open()
    worker.encode([{"images": images(8)}])
    assert sum(len(rows) for rows in worker.run(time.time())) == 4
    found = worker.replies()
    assert found.malformed == ("KeyError: 'x' (8 bytes)", "ValueError: of lines (8 bytes)")
    assert found.unsupported == ("a type of tomorrow",)
    assert [each.seq for each in found.replies] == [2]
    worker.close()


def read(**fields: object) -> np.ndarray:
    return array(pb.TensorProto(**fields))


def test_tensors_that_cannot_be_are_errors() -> None:
    """A shape costs no bytes: one that claims more values than any answer has is refused before it is filled in."""
    shape = pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=2**40)])
    with pytest.raises(ValueError, match="no such number of values"):
        read(dtype=1, tensor_shape=shape)
    with pytest.raises(ValueError, match="no such number of values"):
        read(dtype=1, tensor_shape=pb.TensorShapeProto(dim=[pb.TensorShapeProto.Dim(size=-1)]))
    with pytest.raises(UnsupportedReplyError, match="type 12"):
        read(dtype=12)


@pytest.mark.parametrize("kind", [np.complex64, np.complex128])
@pytest.mark.parametrize("is_packed", [False, True])
def test_complex_tensors_are_read(kind: type, is_packed: bool) -> None:
    """Complex numbers come as their bytes, or as pairs of numbers."""
    values, tensor = np.array([1 + 2j, -3j], kind), pb.TensorProto()
    put(values, tensor)
    if is_packed:
        field = tensor.scomplex_val if kind is np.complex64 else tensor.dcomplex_val
        field.append(tensor.tensor_content)
        tensor.tensor_content = b""
    assert array(tensor).tolist() == values.tolist()

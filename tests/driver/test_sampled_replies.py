"""Sampled replies against TensorFlow's: what cannot be compared is a reason, and never a lost trial."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from ray.exceptions import RayError

from raybench.config import Benchmark, plan
from raybench.driver import sampled_replies
from raybench.driver.sampled_replies import SampledReplies, SampledReply, sample_replies, verified
from raybench.models.model_facts import ModelFacts
from raybench.models.reference import NoReferenceError
from raybench.models.saved_models import Signature, TensorSpec
from raybench.results.records import TelemetryRecord, VerificationRecord
from raybench.telemetry import gpu
from raybench.worker.reply_sampler import DecodedReplies, DecodedReply

ITEMS = np.arange(1, 13, dtype=np.uint8).reshape(12, 1)
HERE = TelemetryRecord(node="host-1", gpu_source=None)
TRIAL = plan.trials(Benchmark(server=("local",), model=("m",), workers=1, batch_size=2))[0]


def doubled(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {"y": batch["x"].astype(np.float32) * 2}


def context(compute: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = doubled, *, verify: bool = True) -> Any:
    """A run whose worker sent six payloads of two items, and whose reference computes this."""

    def batch(payload: int, size: int) -> dict[str, np.ndarray]:
        return {"x": ITEMS[payload * size : (payload + 1) * size]}

    source = SimpleNamespace(signature=Signature({"x": TensorSpec("UINT8", (-1, 1))}, {}), item_bytes=1)
    shards = SimpleNamespace(shards_of=lambda _: [SimpleNamespace(batch=batch)], source_of=lambda _: source)
    reference = SimpleNamespace(answers=lambda _, __, batches: [compute(each) for each in batches])
    observer = SimpleNamespace(step=lambda _: None)
    benchmark = Benchmark(server=("local",), model=("m",), verify=verify, models="/nowhere")
    session = SimpleNamespace(inputs=shards, reference=reference, models_conf=Path("models.conf"))
    return SimpleNamespace(benchmark=benchmark, observer=observer, session=session)


@pytest.fixture(autouse=True)
def _a_model_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampled_replies, "describe_model", lambda _, name: ModelFacts(name=name, version=1))


def replies(
    reply: Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]] = doubled, **more: tuple[str, ...]
) -> SampledReplies:
    found = tuple(SampledReply(0, n, n, reply({"x": ITEMS[2 * n : 2 * n + 2]})) for n in range(6))
    return SampledReplies(found, **more)


def judged(run: Any, sampled: SampledReplies) -> VerificationRecord:
    found = verified(TRIAL, run, sampled, HERE)
    assert found
    return found


def test_right_answers_agree() -> None:
    """Replies that are TensorFlow's agree, each by a part of its items."""
    found = judged(context(), replies())
    assert (found.agrees, found.reason, found.models[0].replies) == (True, None, 6)


def test_rows_that_depend_on_their_request_are_compared_whole() -> None:
    """A model that ranks the items of a request answers another thing for a part of it: the whole request tells."""

    def ranked(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"y": batch["x"] / batch["x"].sum()}

    many = SampledReplies(tuple(SampledReply(0, n, n % 6, ranked({"x": ITEMS[2 * (n % 6) :][:2]})) for n in range(17)))
    assert judged(context(ranked), many).agrees is True
    assert judged(context(ranked), replies()).agrees is False


@pytest.mark.parametrize(
    ("run", "sampled", "agrees", "words"),
    [
        (context(), SampledReplies(), None, "no sampled reply can be read"),
        (context(), replies(missing=("workers 1 did not give their replies",)), True, "workers 1 did not give"),
        (context(), SampledReplies(missing=("a type of tomorrow",)), None, "a type of tomorrow"),
        (context(), replies(malformed=("DecodeError: x",) * 3), False, "3 of 9 sampled replies cannot be read: Decode"),
        (context(), SampledReplies(malformed=("DecodeError: x",)), False, "1 of 1 sampled replies cannot be read"),
        (context(), replies(lambda _: {"z": np.zeros(2)}), False, "output 'y' is missing; the reply has z"),
        (context(), replies(lambda _: {"y": np.zeros((3, 3))}), False, "output 'y' has shape [3, 3]"),
    ],
)
def test_what_cannot_be_compared_has_a_reason(
    run: Any, sampled: SampledReplies, agrees: bool | None, words: str
) -> None:
    """A reply that is no answer disagrees; what was not looked at is not known to agree."""
    found = judged(run, sampled)
    assert found.agrees is agrees
    assert words in (found.reason or "")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (NoReferenceError("TensorFlow gave no reference: x"), "TensorFlow gave no reference: x"),
        (RayError("lost"), "the inputs were on a node that is gone"),
        (MemoryError("too much"), "they cannot be compared: MemoryError: too much"),
    ],
)
def test_a_reference_that_cannot_be_had_is_a_reason(error: Exception, words: str) -> None:
    """Whatever keeps TensorFlow from answering, the trial stays, with why nothing was compared."""

    def fails(_: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        raise error

    assert judged(context(fails), replies()) == VerificationRecord(agrees=None, reason=words)


def test_a_model_that_is_not_on_disk_is_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Triton by url may serve models that TensorFlow does not have here: that is said, and is no difference."""
    monkeypatch.setattr(sampled_replies, "describe_model", lambda _, name: ModelFacts(name=name))
    found = judged(context(), replies())
    assert (found.agrees, found.models) == (None, ())
    assert found.reason == "model m is not in /nowhere/models.conf, so TensorFlow cannot run it"


def test_who_asks_for_no_comparison_gets_none() -> None:
    """With --no-verify nothing is compared, sampled or doubted."""
    run = context(verify=False)
    assert verified(TRIAL, run, replies(malformed=("x",)), HERE) is None
    assert sample_replies(TRIAL, run, {0: None}) == SampledReplies()


def test_workers_that_give_no_replies_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose replies do not come in time is named; those of the others are there."""
    kept = DecodedReplies(tuple(DecodedReply(n, n, {}) for n in range(300)), ("bad",), ("new",))
    monkeypatch.setattr(sampled_replies, "call_all", lambda *_: {1: kept})
    found = sample_replies(TRIAL, context(), {0: None, 1: None, 2: None})
    assert found.missing[0].startswith("workers 0, 2 did not hand over their replies within")
    assert (found.malformed, found.missing[1:]) == (("bad",), ("new",))
    numbers = [each.seq for each in found.replies]
    assert (len(numbers), numbers[0], numbers[-1]) == (42, 0, 299)


@pytest.mark.parametrize(("uses_gpu", "agrees"), [(False, False), (True, True), (None, False)])
def test_the_tolerance_is_that_of_what_computes(
    monkeypatch: pytest.MonkeyPatch, uses_gpu: bool | None, agrees: bool
) -> None:
    """TF32 of a GPU may differ by 0.004, a CPU may not; a server's own word goes before its host's GPUs."""
    monkeypatch.setattr(gpu, "is_here", lambda: True)
    rounded = replies(lambda batch: {"y": doubled(batch)["y"] + np.float32(0.09)})
    host = TelemetryRecord(node="host-1", gpu_source=None if uses_gpu is None else "nvidia-smi")
    found = verified(TRIAL, context(), rounded, host, uses_gpu)
    assert found is not None
    assert found.agrees is agrees


def test_a_gpu_answers_requests_as_they_were_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU computes another batch size by other algorithms: the reference is computed in the request's own size, and a
    reply to other items is still found."""
    monkeypatch.setattr(gpu, "is_here", lambda: True)
    sizes = set[int]()

    def compute(batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        sizes.add(len(batch["x"]))
        return {"y": batch["x"].astype(np.float32) * 2}

    many = SampledReplies(tuple(SampledReply(0, n, n % 6, doubled({"x": ITEMS[2 * (n % 6) :][:2]})) for n in range(17)))
    right = verified(TRIAL, context(compute), many, HERE, True)
    slipped = replace(many.replies[3], outputs=many.replies[4].outputs)
    wrong = SampledReplies((*many.replies[:3], slipped, *many.replies[4:]))
    found = verified(TRIAL, context(compute), wrong, HERE, True)
    assert right is not None
    assert found is not None
    assert (right.agrees, found.agrees, sizes) == (True, False, {2})

"""Sampled replies of a trial's workers against TensorFlow's answers; while nothing is being measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from ray.exceptions import RayError

from raybench.analysis import verification
from raybench.analysis.verification import AnsweredItems, OutputMismatchError
from raybench.config import ECHO, Benchmark
from raybench.config.plan import Trial
from raybench.driver.run_context import RunContext
from raybench.driver.worker_group import call_all
from raybench.inputs.batch_axis import on_the_wire
from raybench.inputs.dataset import Shard, StreamedShard, StreamedTable
from raybench.inputs.tensors import Batch, item_hashes, items_of
from raybench.models.model_facts import describe_model
from raybench.models.reference import NoReferenceError
from raybench.models.tensorflow_process import Outputs
from raybench.results.records import ModelVerification, TelemetryRecord, VerificationRecord
from raybench.telemetry import gpu
from raybench.worker.reply_sampler import DecodedReply

_TIMEOUT_S = 120.0  # until replies of any size are decoded and here
_ITEMS = 16  # of a worker, over its replies
_MOST_REPLIES, _LEAST_REPLIES = 128, 2  # of all workers; of each
_WHOLE_REPLIES, _WHOLE_ITEMS = 8, 256  # to be compared with the answers to whole requests
_MOST_BYTES = 2**30  # of whole requests that a GPU answers again


@dataclass(frozen=True)
class _Device:
    """What a server computes on, where that is known; neither where it is not."""

    is_cpu: bool
    is_gpu: bool

    @classmethod
    def of(cls, telemetry: TelemetryRecord, uses_gpu: bool | None) -> "_Device":
        """Its own word goes before its host's GPUs: without any it computes on its CPU."""
        has_none = telemetry.node is not None and telemetry.gpu_source is None
        return cls(is_cpu=has_none if uses_gpu is None else not uses_gpu, is_gpu=uses_gpu is True)


@dataclass(frozen=True)
class SampledReply:
    """One reply: who sent which payload in which request, and all outputs."""

    worker: int
    seq: int
    payload: int
    outputs: Outputs
    items: Batch | None = None  # None: they can be made again


@dataclass(frozen=True)
class SampledReplies:
    """The replies that workers kept; a sentence for each that cannot be read, and for those that are missing."""

    replies: tuple[SampledReply, ...] = ()
    malformed: tuple[str, ...] = ()
    missing: tuple[str, ...] = field(default=())


def sample_replies(trial: Trial, context: RunContext, left: Mapping[int, Any]) -> SampledReplies:
    """What the workers that are left have kept, where it is to be compared."""
    if not is_compared(trial, context.benchmark):
        return SampledReplies()
    found = call_all(left, "replies", _TIMEOUT_S)
    silent = sorted(left.keys() - found.keys())
    missing = [f"workers {', '.join(map(str, silent))} did not hand over their replies within {_TIMEOUT_S:.0f} s"]
    replies, most = list[SampledReply](), max(_LEAST_REPLIES, _MOST_REPLIES // max(1, len(left)))
    for worker, kept in sorted(found.items()):
        missing += kept.unsupported
        replies += [_with_worker(worker, each) for each in _spread(kept.replies, most)]
    malformed = tuple(text for _, kept in sorted(found.items()) for text in kept.malformed)
    return SampledReplies(tuple(replies), malformed, tuple(missing if silent else missing[1:]))


def is_compared(trial: Trial, benchmark: Benchmark) -> bool:
    """Whether a trial's answers are to be compared with TensorFlow's: a scripted server has none."""
    return benchmark.verify and trial.cell.server.kind != "fake" and ECHO not in trial.cell.models


def verified(
    trial: Trial, context: RunContext, sampled: SampledReplies, telemetry: TelemetryRecord, uses_gpu: bool | None = None
) -> VerificationRecord | None:
    """By how much the answers of each model differ; None where nothing is to be compared, a reason where it fails.

    `uses_gpu` is what the server says that it computes on, None that it does not say. Never raises because of an answer
    or a model: that is a reason.
    """
    if not is_compared(trial, context.benchmark):
        return None
    context.observer.step(f"checking the answers of {trial.cell.label} against TensorFlow")
    found = _compared(trial, context, sampled, _Device.of(telemetry, uses_gpu))
    if sampled.malformed:
        count = len(sampled.malformed)
        said = f"{count} of {count + len(sampled.replies)} sampled replies cannot be read: {sampled.malformed[0]}"
        return replace(found, agrees=False, reason=said)
    if sampled.missing and found.agrees is not False:
        return replace(found, agrees=found.agrees if found.models else None, reason=sampled.missing[0])
    return found


def _compared(trial: Trial, context: RunContext, sampled: SampledReplies, device: _Device) -> VerificationRecord:
    if not sampled.replies:
        return VerificationRecord(agrees=None, reason="no sampled reply can be read")
    models, found = trial.cell.models, list[ModelVerification]()
    try:
        for number, model in enumerate(models):
            mine = [each for each in sampled.replies if each.payload % len(models) == number]
            if not mine:
                continue
            one = _compare(trial, context, model, mine, device)
            if isinstance(one, str):
                return VerificationRecord(agrees=None, reason=one, models=tuple(found))
            found.append(one)
    except NoReferenceError as error:
        return VerificationRecord(agrees=None, reason=str(error))
    except RayError:
        return VerificationRecord(agrees=None, reason="the inputs were on a node that is gone")
    except OutputMismatchError as error:
        return VerificationRecord(agrees=False, reason=str(error))
    except Exception as error:  # an answer may be anything: what cannot be compared loses no trial
        return VerificationRecord(agrees=None, reason=f"they cannot be compared: {type(error).__name__}: {error}")
    return VerificationRecord(agrees=all(each.agrees for each in found), models=tuple(found))


def _compare(
    trial: Trial, context: RunContext, model: str, replies: Sequence[SampledReply], device: _Device
) -> ModelVerification | str:
    """Compared with the answers that the input file expects, else with TensorFlow's.

    A sentence where there is neither, or where the difference may be rounding.
    """
    facts, expected = describe_model(context.session.models_conf, model), _expected(trial, context, replies)
    if facts.version is None and not expected:
        return f"model {model} is not in {context.benchmark.models_conf}, so TensorFlow cannot run it"
    derived = verification.tolerance(precision=facts.precision, xla=facts.xla, is_on_cpu=device.is_cpu)
    limit = context.benchmark.tolerance or derived
    answers = expected or _answered_by_tensorflow(
        trial, context, model, replies, limit, as_sent=device.is_gpu and gpu.is_here()
    )
    found = verification.compare(model, answers, limit)
    if verification.is_reduced(facts.precision) and (wrong := verification.unequal(answers, found)):
        name, count, values = wrong
        if count <= values / 2:
            return f"{count} of {values} values of {name} differ, which rounding in {facts.precision} may explain"
    return found


def _answered_by_tensorflow(
    trial: Trial, context: RunContext, model: str, replies: Sequence[SampledReply], limit: float, *, as_sent: bool
) -> list[AnsweredItems]:
    """Replies with TensorFlow's answers to a few items of each request; where that differs, to whole ones: rows may
    depend on each other.

    `as_sent`: the items are answered in the request that brought them. A GPU computes batches of other sizes by other
    algorithms, and XLA compiles each size; on a CPU they differ in rounding alone, and whole requests take long.
    """
    few = max(1, _ITEMS // max(1, sum(each.worker == replies[0].worker for each in replies)))
    if as_sent:
        request_bytes = trial.cell.load.batch_size * context.session.inputs.source_of(trial.cell).item_bytes
        replies = _spread(replies, max(_LEAST_REPLIES, _MOST_BYTES // max(1, request_bytes)))
    answers = _answered(trial, context, model, replies, few, as_sent=as_sent)
    if numbers := verification.suspects(answers, limit):
        most = max(1, min(_WHOLE_REPLIES, _WHOLE_ITEMS // trial.cell.load.batch_size))
        again = _answered(trial, context, model, [replies[n] for n in numbers[:most]], None)
        answers = [each for n, each in enumerate(answers) if n not in numbers] + again
    return answers


def _answered(
    trial: Trial,
    context: RunContext,
    model: str,
    replies: Sequence[SampledReply],
    few: int | None,
    *,
    as_sent: bool = False,
) -> list[AnsweredItems]:
    """Replies with TensorFlow's answers to so many items of each request, or to all of them."""
    size, shards = trial.cell.load.batch_size, context.session.inputs.shards_of(trial.cell)
    count = min(few or size, size)
    parts, asked, firsts = list[Batch](), list[Batch](), [each.seq % (size - count + 1) for each in replies]
    for each, first in zip(replies, firsts, strict=True):
        whole = each.items or _made_again(shards[each.worker], each.payload, size)
        part = {name: array.copy() for name, array in items_of(whole, first, count).items()}  # without the rest
        parts.append(part)
        asked.append(whole if as_sent else part)
    signature = context.session.inputs.source_of(trial.cell).signature
    sent = [on_the_wire(batch, signature) for batch in asked]
    references = context.session.reference.answers(model, trial.cell.signature, sent)
    if as_sent:
        references = [_rows(each, first, count, size) for each, first in zip(references, firsts, strict=True)]
    return [
        AnsweredItems(each.outputs, reference, size, first, item_hashes(part))
        for each, reference, first, part in zip(replies, references, firsts, parts, strict=True)
    ]


def _rows(outputs: Outputs, first: int, count: int, size: int) -> Outputs:
    """The rows of some items in the answer to a request; an output without a row for each item stays whole."""
    has_rows = {name: array.ndim > 0 and len(array) == size for name, array in outputs.items()}
    return {name: array[first : first + count] if has_rows[name] else array for name, array in outputs.items()}


def _expected(trial: Trial, context: RunContext, replies: Sequence[SampledReply]) -> list[AnsweredItems]:
    """Replies with the outputs that an input file expects of their items; nothing where it does not."""
    size, shards = trial.cell.load.batch_size, context.session.inputs.shards_of(trial.cell)
    signature, found = context.session.inputs.source_of(trial.cell).signature, list[AnsweredItems]()
    for each in replies:
        shard = shards[each.worker]
        items = shard.expected(each.payload, size) if isinstance(shard, StreamedShard) else None
        if not items or not all(items):
            return []
        names = [name for name in items[0] if all(name in item for item in items)]
        stacked = {name: np.stack([item[name] for item in items]) for name in names}
        reference = {
            name: _laid_out(values, each.outputs.get(name)) for name, values in on_the_wire(stacked, signature).items()
        }
        batch = _made_again(shard, each.payload, size)
        found.append(AnsweredItems(each.outputs, reference, size, 0, item_hashes(batch), "the input file"))
    return found


def _laid_out(expected: np.ndarray, found: np.ndarray | None) -> np.ndarray:
    """A flat list of expected values in the shape of the reply, where it has as many."""
    is_flat = found is not None and expected.ndim < found.ndim and found.size == expected.size
    return expected.reshape(found.shape) if found is not None and is_flat else expected


def _with_worker(worker: int, reply: DecodedReply) -> SampledReply:
    return SampledReply(worker, reply.seq, reply.payload, reply.outputs, reply.items)


def _made_again(shard: Shard, payload: int, size: int) -> Batch:
    if isinstance(shard, StreamedTable):
        raise NoReferenceError("the rows of the table were not kept")
    return shard.batch(payload, size)


def _spread(replies: Sequence[Any], most: int) -> list[Any]:
    """At most so many, from the first to the last."""
    if len(replies) <= most:
        return list(replies)
    return [replies[round(number * (len(replies) - 1) / (most - 1))] for number in range(most)]

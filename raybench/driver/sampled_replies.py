"""Sampled replies of a trial's workers against TensorFlow's answers; while nothing is being measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ray.exceptions import RayError

from raybench.analysis import verification
from raybench.config import ECHO, Benchmark
from raybench.config.plan import Trial
from raybench.driver.run_context import RunContext
from raybench.driver.worker_group import call_all
from raybench.inputs.dataset import Shards
from raybench.inputs.tensors import Batch, items_of
from raybench.models.model_facts import describe_model
from raybench.models.reference import NoReferenceError
from raybench.results.records import VerificationRecord

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class SampledReply:
    """One reply: its model, the first of its items, and their outputs."""

    model: str
    batch: Batch
    outputs: dict[str, np.ndarray]


def sample_replies(trial: Trial, shards: Shards, left: Mapping[int, Any]) -> list[SampledReply]:
    """What the workers that are left have kept, beside the items that they sent."""
    batch_size, models = trial.cell.load.batch_size, trial.cell.models
    sampled = []
    for worker, replies in call_all(left, "replies", _TIMEOUT_S).items():
        for payload, outputs in replies:
            try:
                batch = shards[worker].batch(payload, batch_size)
            except RayError:  # they lay on a node that is gone
                continue
            few = {name: array[: verification.ITEMS] for name, array in outputs.items()}
            sampled.append(SampledReply(models[payload % len(models)], items_of(batch, 0, verification.ITEMS), few))
    return sampled


def is_compared(trial: Trial, benchmark: Benchmark) -> bool:
    """Whether a trial's answers are to be held against TensorFlow's: it has no answer of a scripted server."""
    return benchmark.verify and trial.cell.server.kind != "fake" and ECHO not in trial.cell.models


def verified(trial: Trial, context: RunContext, sampled: Sequence[SampledReply]) -> VerificationRecord | None:
    """By how much the answers of each model differ; None where nothing is to be compared, a reason where it fails."""
    cell, benchmark = trial.cell, context.benchmark
    if not sampled or not is_compared(trial, benchmark):
        return None
    context.observer.step(f"holding the answers of {cell.label} against TensorFlow's")
    found = []
    try:
        for model in dict.fromkeys(each.model for each in sampled):
            mine = [each for each in sampled if each.model == model]
            batches = [each.batch for each in mine]
            expected = context.session.reference.answers(model, cell.signature, batches)
            tolerance = benchmark.tolerance or _tolerance(benchmark, model)
            found.append(verification.compare(model, [each.outputs for each in mine], expected, tolerance))
    except NoReferenceError as error:
        return VerificationRecord(agrees=None, reason=str(error))
    except ValueError as error:
        return VerificationRecord(agrees=False, reason=str(error))
    return VerificationRecord(agrees=all(each.agrees for each in found), models=tuple(found))


def _tolerance(benchmark: Benchmark, model: str) -> float:
    precision = describe_model(benchmark.models_conf, model).precision
    return verification.TOLERANCES["float32" if precision == "float32" else "mixed"]

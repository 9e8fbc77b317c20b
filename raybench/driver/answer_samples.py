"""Sampled answers of a trial's workers, held against TensorFlow's; while nothing is being measured."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from ray.exceptions import RayError

from raybench.analysis import verification
from raybench.config import ECHO, Benchmark
from raybench.config.plan import Trial
from raybench.driver.worker_records import told
from raybench.inputs.dataset import Held, Streamed
from raybench.inputs.photos import jpegs
from raybench.models.model_facts import describe_model
from raybench.models.reference import Reference, ReferenceError
from raybench.results.records import ModelVerification

_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class Sampled:
    """One reply: its model, the first of its images (uint8 [n, h, w, 3], or JPEG files) and their outputs."""

    model: str
    images: np.ndarray
    outputs: dict[str, np.ndarray]


def sample(actors: list[Any], lost: Collection[int], trial: Trial, shards: Sequence[Held | Streamed]) -> list[Sampled]:
    """What the workers that are left have kept, beside the images that they sent."""
    batch_size, models, quality = trial.cell.load.batch_size, trial.cell.models, trial.cell.jpeg_quality
    left = {worker: actor for worker, actor in enumerate(actors) if worker not in lost}
    sampled = []
    for worker, replies in told(left, "replies", _TIMEOUT_S).items():
        for payload, outputs in replies:
            try:
                batch = shards[worker].batch(payload, batch_size)[: verification.ITEMS]
            except RayError:  # they lay on a node that is gone
                continue
            batch = jpegs(batch, quality) if quality else batch
            few = {name: array[: verification.ITEMS] for name, array in outputs.items()}
            sampled.append(Sampled(models[payload % len(models)], batch, few))
    return sampled


def verified(
    trial: Trial,
    benchmark: Benchmark,
    sampled: list[Sampled],
    reference: Reference,
    say: Callable[[str], None],
) -> dict[str, Any] | None:
    """What the answers differ by, for each model; None where nothing is to be compared, a reason where it cannot be."""
    cell = trial.cell
    if not benchmark.verify or not sampled or cell.server.kind == "fake" or ECHO in cell.models:
        return None
    say(f"holding the answers of {cell.label} against TensorFlow's")
    found: dict[str, ModelVerification] = {}
    try:
        for model in dict.fromkeys(each.model for each in sampled):
            mine = [each for each in sampled if each.model == model]
            expected = reference.answers(model, cell.signature, [each.images for each in mine])
            tolerance = benchmark.tolerance or _tolerance(benchmark, model)
            found[model] = verification.compare([each.outputs for each in mine], expected, tolerance)
    except ReferenceError as error:
        return {"agrees": None, "reason": str(error), "models": []}
    except ValueError as error:
        return {"agrees": False, "reason": str(error), "models": []}
    models = [_record(model, each) for model, each in found.items()]
    return {"agrees": all(each.agrees for each in found.values()), "reason": None, "models": models}


def _record(model: str, found: ModelVerification) -> dict[str, Any]:
    outputs = [{"name": name, "difference": value} for name, value in found.differences.items()]
    plain = {key: value for key, value in asdict(found).items() if key != "differences"}
    return {"model": model, **plain, "difference": found.difference, "outputs": outputs, "has_power": found.has_power}


def _tolerance(benchmark: Benchmark, model: str) -> float:
    precision = describe_model(benchmark.models_conf, model)["precision"]
    return verification.TOLERANCES["float32" if precision == "float32" else "mixed"]

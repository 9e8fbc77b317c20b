"""What the server of a trial really runs, as it says itself."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import ray

from raybench.config import triton_model
from raybench.config.plan import Trial
from raybench.servers import Running
from raybench.telemetry import triton_statistics
from raybench.telemetry.effective_config import EffectiveConfig, TensorflowFacts, of_local, of_tfserving, of_triton

_TIMEOUT_S = 30.0


def with_effective(trial: Trial, server: Running, model: Mapping[str, Any], actor: Any) -> dict[str, Any]:
    """The server's facts with `effective` in its config; the scripted server computes nothing and has none."""
    found = _effective(trial, server, model, actor)
    if found is None:
        return server.facts
    return {**server.facts, "config": {**(server.facts["config"] or {}), "effective": asdict(found)}}


def _effective(trial: Trial, server: Running, model: Mapping[str, Any], actor: Any) -> EffectiveConfig | None:
    kind, name = trial.cell.server.kind, trial.cell.models[0]
    if kind == "triton":
        about = triton_statistics.read_about(server.url, name, trial.cell.signature, server.credentials)
        config = triton_statistics.read_config(server.url, triton_model(name), server.credentials)
        return of_triton(config, about, **_computed(model))
    if kind == "local":
        facts: TensorflowFacts = ray.get(actor.tensorflow.remote(), timeout=_TIMEOUT_S)
        return of_local(facts, **_computed(model))
    if kind == "tfserving":
        return of_tfserving(server.facts["config"], **_computed(model), cpus=server.cores or os.cpu_count() or 1)
    return None


def _computed(model: Mapping[str, Any]) -> dict[str, Any]:
    return {"precision": model["precision"], "xla": model["xla"]}

"""Benchmark: what one run does, from YAML and flags, with every check of user input that needs no server."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from raybench.config import validation, yaml_file
from raybench.config.benchmark import (
    CONTINUE,
    ECHO,
    IMAGE_BYTES,
    IMAGE_PX,
    IN_PROCESS,
    JPEGS,
    LARGEST_SEED,
    LOAD_KEYS,
    SERVER_KINDS,
    SHARED_MEMORY,
    STOP,
    STREAM,
    UI_KINDS,
    VARIANTS,
    Benchmark,
    ConfigError,
    ServerSpec,
    alternatives,
    input_name,
    is_text,
    labelled,
    triton_model,
)
from raybench.config.threshold import Threshold, ratio, threshold

__all__ = [
    "CONTINUE",
    "ECHO",
    "IMAGE_BYTES",
    "IMAGE_PX",
    "IN_PROCESS",
    "JPEGS",
    "LARGEST_SEED",
    "LOAD_KEYS",
    "SERVER_KINDS",
    "SHARED_MEMORY",
    "STOP",
    "STREAM",
    "UI_KINDS",
    "VARIANTS",
    "Benchmark",
    "ConfigError",
    "ServerSpec",
    "Threshold",
    "input_name",
    "is_text",
    "labelled",
    "load",
    "ratio",
    "threshold",
    "triton_model",
]


def load(path: Path | None, flags: Mapping[str, Any]) -> Benchmark:
    """The benchmark of a YAML file, or the default one, with the flags that were given laid over it.

    Raises ConfigError for the first field that is wrong.
    """
    values = yaml_file.read(path) if path else {}
    if path and "name" not in values:
        values["name"] = path.stem
    given = {key: value for key, value in flags.items() if value is not None and value not in ((), {})}
    overridden = alternatives(given)
    values = {key: value for key, value in values.items() if key not in overridden}
    values["loads"] = tuple(
        {key: value for key, value in load.items() if key not in overridden} for load in values.get("loads", ())
    )
    return validation.checked(_with_defaults(replace(Benchmark(), **{**values, **given})))


def _with_defaults(benchmark: Benchmark) -> Benchmark:
    """A trial is 100 requests long unless a count or a duration is given, in closed loop without a rate.

    A url names its server.
    """
    if benchmark.request_count is None and benchmark.duration is None:
        benchmark = replace(benchmark, request_count=100)
    if benchmark.concurrency is None and not benchmark.request_rate:
        benchmark = replace(benchmark, concurrency=1)
    added = tuple(kind for kind in benchmark.url if kind not in benchmark.server)
    return replace(benchmark, server=benchmark.server + added)

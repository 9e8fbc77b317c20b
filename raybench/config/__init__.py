"""What a run does, from YAML and flags: declared once, with every check of user input that needs no server."""

from collections.abc import Mapping
from pathlib import Path

from raybench.config import validation, yaml_file
from raybench.config.benchmark import (
    CONTINUE,
    EXPORTED,
    LARGEST_SEED,
    PRELOAD,
    RUN_SETTINGS,
    SETTINGS,
    STOP,
    STREAM,
    VARIANTS,
    Benchmark,
)
from raybench.config.load_settings import (
    JPEGS,
    LOAD_SETTINGS,
    LoadSettings,
    alternatives,
)
from raybench.config.protocols import GRPC, HTTP, HTTP_COLUMNS, HTTP_JSON, OWN_CLIENT, is_http, without_scheme
from raybench.config.refusal import ConfigError, is_text
from raybench.config.server_spec import (
    CUDA_SHARED_MEMORY,
    ECHO,
    IN_MEMORY,
    IN_PROCESS,
    MULTI,
    PER_MODEL,
    SAVED_MODEL,
    SERVER_KINDS,
    SHARED_MEMORY,
    ServerSpec,
    labelled,
    replica_urls,
    triton_model,
)
from raybench.config.threshold import Threshold, ratio, threshold

__all__ = [
    "CONTINUE",
    "CUDA_SHARED_MEMORY",
    "ECHO",
    "EXPORTED",
    "GRPC",
    "HTTP",
    "HTTP_COLUMNS",
    "HTTP_JSON",
    "IN_MEMORY",
    "IN_PROCESS",
    "JPEGS",
    "LARGEST_SEED",
    "LOAD_SETTINGS",
    "MULTI",
    "OWN_CLIENT",
    "PER_MODEL",
    "PRELOAD",
    "RUN_SETTINGS",
    "SAVED_MODEL",
    "SERVER_KINDS",
    "SETTINGS",
    "SHARED_MEMORY",
    "STOP",
    "STREAM",
    "VARIANTS",
    "Benchmark",
    "ConfigError",
    "LoadSettings",
    "ServerSpec",
    "Threshold",
    "is_http",
    "is_text",
    "labelled",
    "load",
    "ratio",
    "replica_urls",
    "threshold",
    "triton_model",
    "without_scheme",
]


def load(path: Path | None, flags: Mapping[str, object]) -> Benchmark:
    """The benchmark of a YAML file, or the default one, with the flags that were given laid over it.

    Raises ConfigError for the first setting that is wrong.
    """
    values = yaml_file.read(path) if path else {}
    if path and "name" not in values:
        values["name"] = path.stem
    given = {key: value for key, value in flags.items() if value is not None and value not in ((), {})}
    return validation.checked(validation.validated({**_kept(values, alternatives(given)), **given}))


def _kept(values: Mapping[str, object], overridden: set[str]) -> dict[str, object]:
    """The values of a YAML that no flag takes the place of, in no load."""
    kept = {key: value for key, value in values.items() if key not in overridden}
    loads = values.get("loads")
    if isinstance(loads, tuple):
        kept["loads"] = tuple({key: value for key, value in load.items() if key not in overridden} for load in loads)
    return kept

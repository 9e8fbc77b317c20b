"""Loading what models.conf says now into a running Triton, while the old models answer until the new ones are ready."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import tritonclient.grpc as triton_grpc
from google.protobuf import json_format
from tritonclient.utils import InferenceServerException

from raybench.config import PER_MODEL, SAVED_MODEL
from raybench.models.saved_models import ModelConfig
from raybench.servers import echo_models, per_model_repository, repository
from raybench.servers.server_process import ServerError
from raybench.servers.started_server import OLD_SERVE
from raybench.servers.triton_options import TritonOptions
from raybench.servers.triton_overview import ASK_S, readable

_LOAD_S = 900.0  # XLA compiles in here
# "load failed for model 'saved_model': version 1 is at UNAVAILABLE state: Internal: ValueError: ...\n\nAt:\n  ..."
_LOAD_REASON = re.compile(r"UNAVAILABLE state: (?:Internal: )?(.*?)(?:\n\nAt:|;?\n|$)")


def reload(
    asking: triton_grpc.InferenceServerClient,
    options: TritonOptions,
    models: tuple[ModelConfig, ...],
    folder: Path,
    served: Collection[str],
) -> None:
    """Have Triton serve these models alone, where `served` are served; raises ServerError, with what is served then."""
    if options.layout == PER_MODEL:
        _reload_each(asking, options, models, folder, served)
    else:
        keep = tuple(model.name for model in models if model.name in served)
        _load(asking, SAVED_MODEL, repository.model_config(options, models, folder, keep))
    echoes = repository.echo_configs(options, models, folder)
    echo_models.write(folder / "repository", echoes)
    for name, config in echoes.items():
        _load(asking, name, config)


def _reload_each(
    asking: triton_grpc.InferenceServerClient,
    options: TritonOptions,
    models: tuple[ModelConfig, ...],
    folder: Path,
    served: Collection[str],
) -> None:
    """One after the other: of those that do not load the old version goes on, and the others are new."""
    per_model_repository.write(options, models, folder)
    token, failed = _token(folder), []
    for model in models:
        config = per_model_repository.model_config(options, model, folder)
        config.parameters["reload"].string_value = token
        try:
            _load(asking, model.name, config)
        except ServerError as error:
            failed.append(f"model {model.name}: {error}")
    for name in set(served) - {model.name for model in models}:
        asking.unload_model(name, client_timeout=_LOAD_S)
        for file in per_model_repository.facts_files(folder, name):
            file.unlink()
    if failed:
        raise ServerError("; ".join(failed))


def _token(folder: Path) -> str:
    """New each time: Triton does not reload a model that it knows, and does not notice a changed SavedModel."""
    path = folder / "reloads"
    count = int(path.read_text(encoding="ascii")) + 1 if path.exists() else 1
    path.write_text(str(count), encoding="ascii")
    return str(count)


def _load(asking: triton_grpc.InferenceServerClient, name: str, config: Any) -> None:
    try:
        asking.load_model(name, config=json_format.MessageToJson(config), client_timeout=_LOAD_S)
    except InferenceServerException as error:
        raise ServerError(f"{_failure(error)}; {_what_serves(asking, name)}") from error


def _what_serves(asking: triton_grpc.InferenceServerClient, name: str) -> str:
    """What answers after a load that failed: as a rule Triton keeps what it had."""
    try:
        is_ready = bool(asking.is_model_ready(name, client_timeout=ASK_S))
    except InferenceServerException as error:
        return f"what it serves is not known ({error.message()})"
    return OLD_SERVE if is_ready else "it serves none of them now"


def _failure(error: InferenceServerException) -> str:
    if str(error.status()).endswith("DEADLINE_EXCEEDED"):
        return f"Triton has not loaded the models within {_LOAD_S:.0f} s, and may yet"
    said = str(error.message())
    reason = _LOAD_REASON.search(said)
    return f"Triton cannot load the models: {readable(reason[1] if reason else said)}"

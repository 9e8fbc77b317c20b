"""The model repository of a Triton that we start: triton_models/, with parameters and a resolved models.conf."""

import json
import shutil
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from raybench.models.batch_files import write_batches
from raybench.models.saved_models import ModelConfig, format_models_conf, utf8
from raybench.servers.served_models import resolve_models
from raybench.servers.warm_up import WarmUp

_MERGE_RULES = "merge.conf"  # triton_models/saved_model/1/merging.py reads it beside models.conf


@dataclass(frozen=True)
class TritonOptions:
    """What to load and how: models of a models.conf (None: all; none: `echo` alone), instances, calls to make before it
    is ready, the merge cap in items, TensorFlow calls under way at once; None is the backend's own choice.

    `backend` is a model.py to serve `saved_model` in place of the shipped one.
    """

    models_conf: Path
    models: tuple[str, ...] | None = None
    instances: int = 1
    warm_up: tuple[WarmUp, ...] = ()
    merge_max_items: int | None = None
    pipeline_depth: int | None = None
    backend: Path | None = None
    bind: str = "127.0.0.1"
    grpc_port: int = 0


def assemble(options: TritonOptions, folder: Path) -> Path:
    """A copy of triton_models/ below `folder`, configured; raises ServerError where models.conf cannot be served."""
    repository = folder / "repository"
    with resources.as_file(resources.files("triton_models")) as shipped:
        for model in ("echo",) if options.models == () else ("saved_model", "echo"):
            shutil.copytree(shipped / model, repository / model, ignore=shutil.ignore_patterns("__pycache__"))
    if options.models == ():
        return repository
    if options.backend:
        shutil.copy(options.backend, repository / "saved_model" / "1" / "model.py")
    models = resolve_models(options.models_conf, options.models)
    (repository / "saved_model" / "config.pbtxt").write_text(
        text_format.MessageToString(model_config(options, models, folder)), encoding="utf-8"
    )
    return repository


def model_config(
    options: TritonOptions, models: tuple[ModelConfig, ...], folder: Path, keep: tuple[str, ...] = ()
) -> model_config_pb2.ModelConfig:
    """The complete config of `saved_model` for these models, whose models.conf gets a new name below `folder`.

    Where one of those to keep does not load, none is served.
    """
    shipped = resources.files("triton_models") / "saved_model" / "config.pbtxt"
    config = text_format.Parse(shipped.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    config.instance_group[0].count = options.instances
    written = {**parameters(options, _write_models_conf(options, models, folder)), **_warm_up(options, folder)}
    written["keep"] = ",".join(keep)
    for key, value in written.items():
        config.parameters[key].string_value = value
    config.max_batch_size = _requests_at_once(config, options)
    return config


def _requests_at_once(config: model_config_pb2.ModelConfig, options: TritonOptions) -> int:
    """How many requests Triton gives the backend together: no more than one TensorFlow call may hold.

    The rest would only be copied early: each execute() copies all its requests before TensorFlow sees the first.
    """
    items = [each.items for each in options.warm_up]
    cap = int(config.parameters["merge_max_items"].string_value)
    return max(1, min(config.max_batch_size, cap // min(items))) if items else config.max_batch_size


def parameters(options: TritonOptions, models_conf: Path) -> dict[str, str]:
    """The backend's parameters that differ from those of the shipped config.pbtxt."""
    numbers = {"merge_max_items": options.merge_max_items, "pipeline_depth": options.pipeline_depth}
    return {
        "models_conf": utf8(models_conf),
        "models": ",".join(options.models or ()),
        **{key: str(number) for key, number in numbers.items() if number is not None},
    }


def _warm_up(options: TritonOptions, folder: Path) -> dict[str, str]:
    """The parameter that names the calls to make first, whose inputs get a file below `folder`."""
    if not options.warm_up:
        return {}
    file = folder / "warm-up.npz"
    write_batches(file, [each.batch for each in options.warm_up])
    calls = [(each.model, each.signature) for each in options.warm_up]
    return {"warm_up": json.dumps({"calls": calls, "file": utf8(file)})}


def _write_models_conf(options: TritonOptions, models: tuple[ModelConfig, ...], folder: Path) -> Path:
    """A models.conf with absolute base paths, under a name that is new, so that Triton sees a changed config; the
    user's merge rules are copied beside it."""
    path = folder / f"models-{len(list(folder.glob('models-*.conf'))) + 1}.conf"
    path.write_text(format_models_conf(models), encoding="utf-8")
    rules = options.models_conf.with_name(_MERGE_RULES)
    if rules.exists():
        shutil.copy(rules, folder / _MERGE_RULES)
    else:
        (folder / _MERGE_RULES).unlink(missing_ok=True)
    return path

"""The model repository of a Triton that we start: triton_models/, with parameters and a resolved models.conf."""

import json
import shutil
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from raybench.saved_models import ModelConfig, format_models_conf, read_models_conf
from raybench.servers.process import ServerError


@dataclass(frozen=True)
class TritonOptions:
    """What to load and how: models of a models.conf (None: all; none: `echo` alone), instances, shapes to warm, the
    merge cap in images."""

    models_conf: Path
    models: tuple[str, ...] | None = None
    instances: int = 1
    warm_up: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    merge_max_images: int | None = None
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
    models = resolved(options)
    (repository / "saved_model" / "config.pbtxt").write_text(
        text_format.MessageToString(configured(options, models, folder))
    )
    return repository


def configured(options: TritonOptions, models: tuple[ModelConfig, ...], folder: Path) -> model_config_pb2.ModelConfig:
    """The complete config of `saved_model` for these models, whose models.conf gets a new name below `folder`."""
    shipped = resources.files("triton_models") / "saved_model" / "config.pbtxt"
    config = text_format.Parse(shipped.read_text(), model_config_pb2.ModelConfig())
    config.instance_group[0].count = options.instances
    for key, value in parameters(options, _write_models_conf(models, folder)).items():
        config.parameters[key].string_value = value
    return config


def resolved(options: TritonOptions) -> tuple[ModelConfig, ...]:
    """The models to serve, as models.conf and its folders have them now, with the versions that are there.

    Raises ServerError, one sentence, where models.conf is broken, a model is not in it, or has no version to serve.
    """
    try:
        there = {model.name: model for model in read_models_conf(options.models_conf)}
        asked = [there[name] for name in (there if options.models is None else options.models)]
        models = tuple(replace(model, policy="specific", specific=model.versions()) for model in asked)
    except KeyError as error:
        known = ", ".join(there) or "none"
        raise ServerError(f"model is {error.args[0]}; {options.models_conf} has {known}: name those") from error
    except ValueError as error:
        raise ServerError(str(error)) from error
    if not models:
        raise ServerError(f"models is {options.models_conf.parent}; its models.conf has no models: export some")
    return models


def parameters(options: TritonOptions, models_conf: Path) -> dict[str, str]:
    """The backend's parameters that differ from those of the shipped config.pbtxt."""
    shapes: dict[str, dict[str, list[tuple[int, ...]]]] = {}
    for signature, name, shape in options.warm_up:
        shapes.setdefault(signature, {}).setdefault(name, []).append(shape)
    cap = {} if options.merge_max_images is None else {"merge_max_images": str(options.merge_max_images)}
    return {
        "models_conf": str(models_conf),
        "models": ",".join(options.models or ()),
        "warm_up": json.dumps(shapes),
        **cap,
    }


def _write_models_conf(models: tuple[ModelConfig, ...], folder: Path) -> Path:
    """A models.conf with absolute base paths, under a name that is new, so that Triton sees a changed config."""
    path = folder / f"models-{len(list(folder.glob('models-*.conf'))) + 1}.conf"
    path.write_text(format_models_conf(models))
    return path

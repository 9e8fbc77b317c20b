"""The model repository of a Triton that we start: triton_models/, with parameters and a resolved models.conf."""

import json
import shutil
from collections.abc import Iterable
from importlib import resources
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from raybench.config import PER_MODEL
from raybench.models.batch_files import write_batches
from raybench.models.saved_models import ModelConfig, Signature, format_models_conf, read_signatures, utf8
from raybench.servers import echo_models, per_model_repository
from raybench.servers.gpu_placement import place_beside_inputs
from raybench.servers.served_models import resolve_models
from raybench.servers.triton_options import MERGE_RULES, TritonOptions

__all__ = ["TritonOptions", "assemble", "echo_configs", "model_config", "parameters"]


def assemble(options: TritonOptions, folder: Path) -> Path:
    """A copy of triton_models/ below `folder`, configured; raises ServerError where models.conf cannot be served."""
    repository = folder / "repository"
    models = () if options.models == () else resolve_models(options.models_conf, options.models)
    echo_models.write(repository, echo_configs(options, models, folder))
    if options.does_nothing:
        return repository
    if options.layout == PER_MODEL:
        per_model_repository.write(options, models, folder)
    elif models:
        _write_saved_model(options, models, folder, repository / "saved_model")
    return repository


def echo_configs(
    options: TritonOptions, models: tuple[ModelConfig, ...], folder: Path
) -> dict[str, model_config_pb2.ModelConfig]:
    """By name the configs of the models that do nothing, which take what these models take."""
    is_per_model = options.layout == PER_MODEL
    each = per_model_repository.served_signatures(options, models) if is_per_model else _signatures_of(models)
    configs = echo_models.echo_configs(options.layout, each)
    for config in configs.values():
        if is_per_model:
            config.parameters["facts"].string_value = utf8(folder / per_model_repository.FACTS)
        if options.does_nothing:
            echo_models.take_each_alone(config, options.instances)
        elif not models:  # it is what is measured
            config.instance_group[0].count = options.instances
    return configs


def _signatures_of(models: Iterable[ModelConfig]) -> list[Signature]:
    """Every signature of the models that can be read: who serves the others says why they cannot."""
    found: list[Signature] = []
    for model in models:
        for version in model.versions():
            try:
                found += read_signatures(model.version_folder(version)).values()
            except ValueError:
                continue
    return found


def _write_saved_model(options: TritonOptions, models: tuple[ModelConfig, ...], folder: Path, target: Path) -> None:
    with resources.as_file(resources.files("triton_models")) as shipped:
        shutil.copytree(shipped / "saved_model", target, ignore=shutil.ignore_patterns("__pycache__"))
    if options.backend:
        shutil.copy(options.backend, target / "1" / "model.py")
    config = model_config(options, models, folder)
    (target / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")


def model_config(
    options: TritonOptions, models: tuple[ModelConfig, ...], folder: Path, keep: tuple[str, ...] = ()
) -> model_config_pb2.ModelConfig:
    """The complete config of `saved_model` for these models, whose models.conf gets a new name below `folder`.

    Where one of those to keep does not load, none is served.
    """
    shipped = resources.files("triton_models") / "saved_model" / "config.pbtxt"
    config = text_format.Parse(shipped.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    config.instance_group[0].count = options.instances
    if options.settings.merge_delay:
        config.dynamic_batching.max_queue_delay_microseconds = options.settings.merge_delay
    written = {**parameters(options, _write_models_conf(options, models, folder)), **_warm_up(options, folder)}
    written["keep"] = ",".join(keep)
    for key, value in written.items():
        config.parameters[key].string_value = value
    config.max_batch_size = _requests_at_once(config, options)
    if options.keeps_gpu_inputs:
        place_beside_inputs(config)
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
    numbers = {"merge_max_items": options.settings.merge_max, "pipeline_depth": options.settings.pipeline_depth}
    return {
        "models_conf": utf8(models_conf),
        "models": ",".join(options.models or ()),
        **options.gpu_inputs,
        **{key: str(number) for key, number in numbers.items() if number},
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
    rules = options.models_conf.with_name(MERGE_RULES)
    if rules.exists():
        shutil.copy(rules, folder / MERGE_RULES)
    else:
        (folder / MERGE_RULES).unlink(missing_ok=True)
    return path

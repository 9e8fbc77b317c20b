"""The model repository of layout per-model: a Triton model for each SavedModel, as Triton's own backends have it.

NAME/config.pbtxt
NAME/VERSION/model.py, ...        links to the backend's code
NAME/VERSION/model.savedmodel     a link to the SavedModel
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from raybench.config import PER_MODEL
from raybench.models.batch_files import write_batches
from raybench.models.default_signature import default_signature
from raybench.models.saved_models import ModelConfig, Signature, read_signatures, utf8
from raybench.servers.echo_models import is_echo
from raybench.servers.gpu_placement import place_beside_inputs
from raybench.servers.server_process import ServerError
from raybench.servers.triton_options import MERGE_RULES, TritonOptions
from raybench.servers.warm_up import WarmUp

CONFIG, FACTS = "config.pbtxt", "facts"
_CODE, _SAVED_MODEL = "backend-code", "model.savedmodel"
_MAX_BATCH_SIZE = 64


def write(options: TritonOptions, models: Sequence[ModelConfig], folder: Path) -> None:
    """The models' folders below `folder`/repository; raises ServerError for a model that Triton cannot hold."""
    (folder / FACTS).mkdir(exist_ok=True)
    if not (folder / _CODE).exists():
        with resources.as_file(resources.files("triton_models")) as shipped:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(shipped / "saved_model" / "1", folder / _CODE, ignore=ignored)
    for model in models:
        _check_name(model.name)
        _write(options, model, folder)


def served_signatures(options: TritonOptions, models: Sequence[ModelConfig]) -> list[Signature]:
    """Of each model the signature that its Triton model declares; none of one that cannot be read or has none."""
    found = []
    for model in models:
        name = _signature(options, model, _users_config(model))
        try:
            there = read_signatures(model.version_folder(model.versions()[-1]))
        except ValueError:
            continue
        if name in there:
            found.append(there[name])
    return found


def facts_files(folder: Path, name: str) -> list[Path]:
    """What the versions of a model have said of themselves."""
    return [file for file in (folder / FACTS).glob("*.json") if file.name.rpartition(".")[0].rpartition(".")[0] == name]


def model_config(options: TritonOptions, model: ModelConfig, folder: Path) -> model_config_pb2.ModelConfig:
    """The config of one Triton model: the user's own beside its versions, completed; raises ServerError.

    Inputs, outputs and a batch size that it leaves out are the backend's to add.
    """
    config = _users_config(model)
    has_policy = config.HasField("version_policy")
    config.name, config.backend = model.name, "python"
    config.ClearField("platform")
    config.ClearField("default_model_filename")
    if not has_policy:
        config.version_policy.specific.versions.extend(model.specific)
    if options.instances > 1 or not config.instance_group:
        del config.instance_group[:]
        config.instance_group.add(count=options.instances)
    if options.settings.merge_delay:
        config.dynamic_batching.max_queue_delay_microseconds = options.settings.merge_delay
    for key, value in _parameters(options, model, folder, config).items():
        config.parameters[key].string_value = value
    if options.keeps_gpu_inputs:
        place_beside_inputs(config)
    return config


def _check_name(name: str) -> None:
    if "/" in name or name.startswith(".") or is_echo(name):
        raise ServerError(
            f"model is {name}; Triton cannot have a model of this name, or already has one: give it another in "
            "models.conf, or use --layout multi"
        )


def _write(options: TritonOptions, model: ModelConfig, folder: Path) -> None:
    target, config = folder / "repository" / model.name, model_config(options, model, folder)
    target.mkdir(parents=True, exist_ok=True)
    has_own_policy = not config.version_policy.HasField("specific")
    versions = replace(model, policy="all").versions() if has_own_policy else config.version_policy.specific.versions
    for there in (each for each in target.iterdir() if each.is_dir() and each.name not in map(str, versions)):
        shutil.rmtree(there)
    for version in versions:
        place = target / str(version)
        place.mkdir(exist_ok=True)
        for file in (folder / _CODE).glob("*.py"):
            _link(place / file.name, file)
        _link(place / _SAVED_MODEL, model.version_folder(version))
    (target / CONFIG).write_text(text_format.MessageToString(config), encoding="utf-8")


def _link(path: Path, to: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(to)


def _users_config(model: ModelConfig) -> model_config_pb2.ModelConfig:
    file = model.base_path / CONFIG
    config = model_config_pb2.ModelConfig()
    if not file.is_file():
        return config
    try:
        return text_format.Parse(file.read_text(encoding="utf-8"), config)
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise ServerError(f"{file}: cannot be read as a Triton model's config: {error}") from error


def _parameters(
    options: TritonOptions, model: ModelConfig, folder: Path, config: model_config_pb2.ModelConfig
) -> dict[str, str]:
    """The backend's parameters; those of the user's config stay, but for what a run asks for."""
    calls = [each for each in options.warm_up if each.model == model.name]
    items = max((each.items for each in calls), default=0)
    numbers = {"merge_max_items": options.settings.merge_max, "pipeline_depth": options.settings.pipeline_depth}
    asked = {
        "layout": PER_MODEL,
        "facts": utf8(folder / FACTS),
        "max_batch_size": str(max(_MAX_BATCH_SIZE, items)),
        **{key: str(number) for key, number in numbers.items() if number},
        **_warm_up(calls, folder, model.name),
        **options.gpu_inputs,
    }
    if signature := _signature(options, model, config):
        asked["signature"] = signature
    if "merge" not in config.parameters and (rules := _merge_rules(options, model.name)):
        asked["merge"] = rules
    return asked


def _signature(options: TritonOptions, model: ModelConfig, config: model_config_pb2.ModelConfig) -> str | None:
    """What requests call that name no signature: what the run sends, what the user's config says, or the model's
    default; None where the backend is to refuse it."""
    if calls := [each for each in options.warm_up if each.model == model.name]:
        return calls[0].signature
    for name in ("signature", "TF_SIGNATURE_DEF"):
        if name in config.parameters:
            return config.parameters[name].string_value
    try:
        return default_signature(read_signatures(model.version_folder(model.versions()[-1])))
    except ValueError:
        return None


def _warm_up(calls: list[WarmUp], folder: Path, model: str) -> dict[str, str]:
    if not calls:
        return {}
    file = folder / f"warm-up-{model}.npz"
    write_batches(file, [each.batch for each in calls])
    return {"warm_up": json.dumps({"calls": [(each.model, each.signature) for each in calls], "file": utf8(file)})}


def _merge_rules(options: TritonOptions, model: str) -> str:
    """The lines of the user's merge rules that are about a model."""
    file = options.models_conf.with_name(MERGE_RULES)
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    words = [line.partition("#")[0].split() for line in lines]
    return ",".join(" ".join(each) for each in words if each and each[0].partition("/")[0] == model)

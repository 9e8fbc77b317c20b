"""The files that tensorflow_model_server reads, and what it says of those it refuses (server.cc, server_core.cc)."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import grpc
from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

_BATCHING_FIELDS = {
    "max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads", "thread_pool_name",
    "allowed_batch_sizes", "pad_variable_length_inputs",
}  # fmt: skip
_BATCHING = re.compile(r"(\w+)\s*(?::\s*\S+|\{\s*value\s*:\s*\S+\s*\})")


class Refusal(Exception):
    """A status and its sentence."""

    def __str__(self) -> str:
        return f"{self.args[0].name}: {self.args[1]}"


def model_config(path: Path) -> Any:
    """The ModelServerConfig of a file; raises Refusal."""
    try:
        return text_format.Parse(_text(path), model_server_config_pb2.ModelServerConfig())
    except text_format.ParseError as error:
        raise _invalid(path) from error


def check_batching(flags: dict[str, str]) -> None:
    """Raise Refusal for a batching file that cannot be read, or that nothing would read."""
    if "batching_parameters_file" not in flags:
        return
    if flags.get("enable_batching") != "true":
        raise Refusal(
            grpc.StatusCode.INVALID_ARGUMENT,
            "server_options.batching_parameters_file is set without setting server_options.enable_batching to true.",
        )
    path = Path(flags["batching_parameters_file"])
    text = re.sub("#.*", "", _text(path))
    if _BATCHING.sub("", text).strip() or not set(_BATCHING.findall(text)) <= _BATCHING_FIELDS:
        raise _invalid(path)


def check_models(config: Any, before: Any = None) -> None:
    """Raise Refusal for a list of models that cannot be served, or not after what was served before."""
    entries = config.model_config_list.config
    counts = Counter(entry.name for entry in entries)
    if twice := [name for name, count in counts.items() if count > 1]:
        _refuse(f"Illegal to list model {twice[0]} multiple times in config list")
    for entry in entries:
        if not Path(entry.base_path).is_absolute():
            _refuse(
                f"Expected model {entry.name} to have an absolute path or URI; got base_path()={entry.base_path}",
            )
    platforms = {entry.name: _platform(entry) for entry in (before or config).model_config_list.config}
    for entry in entries:
        asked, was = _platform(entry), platforms.get(entry.name)
        if was is not None and asked != was:
            _refuse(
                f"Illegal to change a model's platform. For model {entry.name} platform was {was} and new platform "
                f"requested is {asked}"
            )
        if asked != "tensorflow":
            _refuse(f"Model {entry.name} requests unsupported platform {asked}")


def _platform(entry: Any) -> str:
    if entry.model_type:  # its first choice is TENSORFLOW
        return "tensorflow"
    if not entry.model_platform:
        _refuse(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor "
            f"ModelServerConfig::model_platform, model name is {entry.name}"
        )
    return str(entry.model_platform)


def _text(path: Path) -> str:
    """It maps the file into memory, which an empty one cannot be."""
    try:
        text = path.read_text()
    except OSError as error:
        raise Refusal(grpc.StatusCode.NOT_FOUND, f"{path}; {error.strerror}") from error
    if not text:
        raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"{path}; Invalid argument")
    return text


def _invalid(path: Path) -> Refusal:
    return Refusal(grpc.StatusCode.INVALID_ARGUMENT, f"Invalid protobuf file: '{path}'")


def _refuse(sentence: str) -> None:
    raise Refusal(grpc.StatusCode.INVALID_ARGUMENT, sentence)

"""What models.conf serves and what each SavedModel takes and returns, read without TensorFlow.

Field numbers come from TensorFlow Serving's model_server_config.proto and file_system_storage_path_source.proto
and from TensorFlow's saved_model.proto and meta_graph.proto; the message names are our own and live in a private pool,
so the real classes can be imported beside them. Unknown fields (the graph itself) are skipped while parsing.
"""

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory, text_format

# TensorFlow's DataType -> the name that Triton and numpy-minded people use.
DATATYPES = {
    1: "FP32", 2: "FP64", 3: "INT32", 4: "UINT8", 5: "INT16", 6: "INT8", 7: "BYTES",
    9: "INT64", 10: "BOOL", 14: "BF16", 17: "UINT16", 19: "FP16", 22: "UINT32", 23: "UINT64",
}  # fmt: skip
_LONGEST_REASON = 300  # it quotes a whole line
_VERSION = re.compile(r"[0-9]+", re.ASCII)
_MOST = 2**63 - 1  # of a version, which is an int64
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PLATFORM, _MODEL_TYPE = "tensorflow", 1  # the second is the name that the first had before


@dataclass(frozen=True)
class ModelConfig:
    """One entry of models.conf; `base_path` is absolute, `policy` is latest, all or specific."""

    name: str
    base_path: Path
    policy: str = "latest"
    latest: int = 1
    specific: tuple[int, ...] = ()

    def versions(self) -> tuple[int, ...]:
        """The versions that the policy serves, lowest first; raises ValueError where there is none."""
        there = sorted(self._folders())
        if not there:
            raise ValueError(
                f"model {self.name}: {self.base_path} has no version folder such as 1/saved_model.pb; "
                f"export it, or correct its base_path"
            )
        if missing := sorted(set(self.specific) - set(there)):
            raise ValueError(f"model {self.name}: version {missing[0]} is not in {self.base_path}; it has {there}")
        return {"latest": tuple(there[-self.latest :]), "all": tuple(there), "specific": self.specific}[self.policy]

    def version_folder(self, version: int) -> Path:
        """Where a version is, whose folder may have leading zeros."""
        return self._folders().get(version, self.base_path / str(version))

    def _folders(self) -> dict[int, Path]:
        """By version; raises ValueError where two folders have the same one, of which TensorFlow Serving takes any."""
        found: dict[int, Path] = {}
        for folder in _folders_in(self.base_path):
            if (version := int(folder.name)) in found:
                names = " and ".join(sorted((folder.name, found[version].name)))
                raise ValueError(
                    f"model {self.name}: {self.base_path} has version {version} twice, {names}; remove one"
                )
            found[version] = folder
        return found


@dataclass(frozen=True)
class Accepted:
    """Values that a model was seen to accept: numbers in [low, high), or strings of a form such as digits."""

    low: float | None = None
    high: float | None = None
    form: str | None = None


@dataclass(frozen=True)
class TensorSpec:
    """Datatype by Triton's name and shape with -1 for what is not fixed; None is an unknown rank.

    `accepts` is not declared but found by trial; None where nothing had to be tried.
    """

    datatype: str
    shape: tuple[int, ...] | None
    accepts: Accepted | None = None


@dataclass(frozen=True)
class Signature:
    """One callable of a model: its inputs and outputs by name, which inputs may be left out, and the most items of a
    request (None: no limit is known)."""

    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    optional: frozenset[str] = frozenset()
    most_items: int | None = None

    @property
    def is_batched(self) -> bool:
        """Whether every input and output has a free first dimension, so that requests may share one call."""
        specs = [*self.inputs.values(), *self.outputs.values()]
        return all(spec.shape is not None and spec.shape[:1] == (-1,) for spec in specs)


def read_models_conf(path: Path) -> tuple[ModelConfig, ...]:
    """The models of a TensorFlow Serving models.conf, base paths resolved against its folder.

    Raises ValueError, one sentence naming the file and the culprit, where it does not parse or a name is not usable.
    """
    config = _message("ModelServerConfig")
    try:
        text_format.Parse(path.read_text(encoding="utf-8-sig"), config)
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: cannot be read as a models.conf ({error.reason}); save it as UTF-8") from error
    except (OSError, text_format.ParseError) as error:
        why = str(error) if len(str(error)) < _LONGEST_REASON else f"{str(error)[:20]}...{str(error)[-200:]}"
        raise ValueError(f"{path}: cannot be read as a models.conf: {why}") from error
    models = tuple(_model_config(entry, path) for entry in config.model_config_list.config)
    names = [model.name for model in models]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"{path}: model {twice[0]!r} is named twice; give each model one entry")
    return models


def format_models_conf(models: tuple[ModelConfig, ...], relative_to: Path | None = None) -> str:
    """models.conf as text; with `relative_to`, base paths below that folder are written relative to it."""
    return str(text_format.MessageToString(_models_conf(models, relative_to)))


def serialize_models_conf(models: tuple[ModelConfig, ...]) -> bytes:
    """models.conf as a serialized ModelServerConfig."""
    return bytes(_models_conf(models, None).SerializeToString())


def _models_conf(models: tuple[ModelConfig, ...], relative_to: Path | None) -> Any:
    config = _message("ModelServerConfig")
    for model in models:
        inside = relative_to is not None and model.base_path.is_relative_to(relative_to)
        entry = config.model_config_list.config.add()
        entry.name = model.name
        entry.base_path = utf8(model.base_path.relative_to(relative_to) if inside and relative_to else model.base_path)
        entry.model_platform = _PLATFORM
        if model.policy == "all":
            entry.model_version_policy.all.SetInParent()
        elif model.policy == "specific":
            entry.model_version_policy.specific.versions.extend(model.specific)
        elif model.latest != 1:
            entry.model_version_policy.latest.num_versions = model.latest
    return config


def add_model(text: str, name: str, base_path: str) -> str:
    """models.conf as text with a model added, or its base path replaced; all else that it configures is kept."""
    config = text_format.Parse(text, _message("ModelServerConfig"))
    entries = config.model_config_list.config
    entry = next((each for each in entries if each.name == name), None) or entries.add(name=name)
    entry.base_path = base_path
    if not entry.model_type:  # TensorFlow Serving refuses an entry with both
        entry.model_platform = _PLATFORM
    return str(text_format.MessageToString(config))


def read_signatures(saved_model: Path) -> dict[str, Signature]:
    """The serving signatures of a SavedModel folder by name, TensorFlow's own `__saved_model_init_op` left out.

    Raises ValueError where saved_model.pb does not parse or has no graph tagged `serve`.
    """
    file = saved_model / "saved_model.pb"
    proto = _message("SavedModel")
    try:
        proto.ParseFromString(file.read_bytes())
    except (OSError, message.DecodeError) as error:
        raise ValueError(f"{file}: cannot be read as a SavedModel: {error}") from error
    graphs = [graph for graph in proto.meta_graphs if "serve" in graph.meta_info_def.tags]
    if not graphs:
        raise ValueError(f"{file}: has no graph tagged 'serve'; export the model with tf.saved_model.save")
    entries = [entry for entry in graphs[0].signature_def if entry.key != "__saved_model_init_op"]
    return {
        entry.key: Signature(inputs=_tensors(entry.value.inputs), outputs=_tensors(entry.value.outputs))
        for entry in entries
    }


def utf8(path: Path) -> str:
    """A path as TensorFlow, Triton and protobuf take it; raises ValueError where its bytes are not UTF-8."""
    try:
        return os.fsencode(path).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{os.fsencode(path)!r} has a folder whose name is not UTF-8; rename it") from error


def local_path(text: str) -> Path:
    """The inverse of `utf8`: a Python inside Triton takes the names of files for ASCII, whatever the locale says."""
    return Path(os.fsdecode(text.encode()))


def _folders_in(folder: Path) -> list[Path]:
    try:
        return [p for p in folder.glob("*/") if _is_version(p.name) and (p / "saved_model.pb").is_file()]
    except OSError:  # such as a name that is too long
        return []


def _is_version(name: str) -> bool:
    """As TensorFlow Serving reads the names of folders, leading zeros included."""
    return bool(_VERSION.fullmatch(name)) and len(name.lstrip("0")) < 20 and int(name) <= _MOST


def _model_config(entry: Any, path: Path) -> ModelConfig:
    name = entry.name
    if not name.strip() or not name.isprintable() or "," in name:
        raise ValueError(f"{path}: model name {name!r} is not usable; use printable text without commas")
    if not entry.model_type and entry.model_platform not in ("", _PLATFORM):
        raise ValueError(f"{path}: model {name!r} is of platform {entry.model_platform!r}; name {_PLATFORM!r}")
    if entry.model_type not in (0, _MODEL_TYPE):
        raise ValueError(f"{path}: model {name!r} is of another model_type; name TENSORFLOW")
    policy = entry.model_version_policy
    if policy.WhichOneof("policy") == "specific" and not policy.specific.versions:
        raise ValueError(f"{path}: model {name!r} serves no version; name some in `specific`, or leave the policy out")
    if policy.latest.num_versions < 0:
        raise ValueError(f"{path}: model {name!r} serves the latest {policy.latest.num_versions}; name 1 or more")
    return ModelConfig(
        name=name,
        base_path=_base_path(entry, path),
        policy=policy.WhichOneof("policy") or "latest",
        latest=policy.latest.num_versions or 1,
        specific=tuple(sorted(set(policy.specific.versions))),
    )


def _base_path(entry: Any, path: Path) -> Path:
    """Absolute; raises ValueError where it is not on this host, or cannot be handed on."""
    name, text = entry.name, entry.base_path.removeprefix("file://")
    if scheme := _SCHEME.match(text):
        raise ValueError(
            f"{path}: model {name!r} has a base_path of scheme {scheme[1]}:// ({text[:80]!r}), which raybench does not "
            f"read; copy the model to this host and name its folder"
        )
    if not text.isprintable() or not text:
        raise ValueError(f"{path}: model {name!r} has no base_path to use ({text[:80]!r}); name its folder")
    base_path = (path.parent / local_path(text)).resolve()
    utf8(base_path)
    return base_path


def _tensors(entries: Any) -> dict[str, TensorSpec]:
    return {entry.key: _tensor(entry.value) for entry in sorted(entries, key=lambda entry: entry.key)}


def _tensor(info: Any) -> TensorSpec:
    """A tensor; one that is several, sparse or ragged, has a datatype that no server takes."""
    shape = None if info.tensor_shape.unknown_rank else tuple(dim.size for dim in info.tensor_shape.dim)
    if encoding := next((kind for kind in ("coo_sparse", "composite_tensor") if info.HasField(kind)), None):
        return TensorSpec(datatype="DT_SPARSE" if encoding == "coo_sparse" else "DT_COMPOSITE", shape=shape)
    return TensorSpec(datatype=DATATYPES.get(info.dtype, f"DT_{info.dtype}"), shape=shape)


# message -> field -> (number, type); "*" marks repeated. Maps are written as repeated entries: the bytes are the same.
_MESSAGES = {
    "ModelServerConfig": {"model_config_list": (1, "ModelConfigList")},
    "ModelConfigList": {"config": (1, "*ModelEntry")},
    "ModelEntry": {
        "name": (1, "string"), "base_path": (2, "string"),
        "model_type": (3, "ModelType"), "model_platform": (4, "string"),
        "logging_config": (6, "Logging"), "model_version_policy": (7, "VersionPolicy"), "version_labels": (8, "*Label"),
    },
    "Logging": {"log_collector_config": (1, "LogCollector"), "sampling_config": (2, "LogSampling")},
    "LogCollector": {"type": (1, "string"), "filename_prefix": (2, "string")},
    "LogSampling": {"sampling_rate": (1, "double")},
    "Label": {"key": (1, "string"), "value": (2, "int64")},
    "VersionPolicy": {"latest": (100, "Latest"), "all": (101, "All"), "specific": (102, "Specific")},
    "Latest": {"num_versions": (1, "int64")},
    "All": {},
    "Specific": {"versions": (1, "*int64")},
    "SavedModel": {"meta_graphs": (2, "*MetaGraph")},
    "MetaGraph": {"meta_info_def": (1, "MetaInfo"), "signature_def": (5, "*SignatureEntry")},
    "MetaInfo": {"tags": (4, "*string")},
    "SignatureEntry": {"key": (1, "string"), "value": (2, "SignatureDef")},
    "SignatureDef": {"inputs": (1, "*TensorEntry"), "outputs": (2, "*TensorEntry")},
    "TensorEntry": {"key": (1, "string"), "value": (2, "TensorInfo")},
    "TensorInfo": {
        "dtype": (2, "int32"), "tensor_shape": (3, "Shape"), "coo_sparse": (4, "All"), "composite_tensor": (5, "All"),
    },
    "Shape": {"dim": (2, "*Dim"), "unknown_rank": (3, "bool")},
    "Dim": {"size": (1, "int64")},
}  # fmt: skip


_ENUMS = {"ModelType": ("MODEL_TYPE_UNSPECIFIED", "TENSORFLOW", "OTHER")}


def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"raybench.{name}"))()


@cache
def _pool() -> descriptor_pool.DescriptorPool:
    file = descriptor_pb2.FileDescriptorProto(name="raybench/saved_models.proto", package="raybench", syntax="proto3")
    for name, values in _ENUMS.items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in _MESSAGES.items():
        proto = file.message_type.add(name=name)
        if name == "VersionPolicy":
            proto.oneof_decl.add(name="policy")
        for field, (number, kind) in fields.items():
            _add_field(proto, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


def _add_field(proto: descriptor_pb2.DescriptorProto, name: str, number: int, kind: str) -> None:
    field = proto.field.add(name=name, number=number)
    field.label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
    base = kind.lstrip("*")
    scalars = {name: getattr(field, f"TYPE_{name.upper()}") for name in ("string", "int64", "int32", "double", "bool")}
    field.type = scalars.get(base, field.TYPE_ENUM if base in _ENUMS else field.TYPE_MESSAGE)
    if base not in scalars:
        field.type_name = f".raybench.{base}"
    if proto.name == "VersionPolicy":
        field.oneof_index = 0

"""The Triton models that do nothing: configs for `echo` that take whatever the signatures under test take."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from itertools import count
from pathlib import Path
from shutil import copytree, ignore_patterns

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from raybench.config import ECHO, MULTI, PER_MODEL
from raybench.models.saved_models import DATATYPES, Signature, TensorSpec

_TRITON_TYPES = {"BYTES": "TYPE_STRING"}
_OWN = {"model_name": ("BYTES", 2), "signature": ("BYTES", 2), "known": ("UINT8", 2)}  # of `echo`; the last is checked
_DEMO = {"images": TensorSpec("UINT8", (-1, -1, -1, 3)), "jpeg_images": TensorSpec("BYTES", (-1,))}
_LARGEST_BATCH_SIZE = 2**20  # no batch of a user's is to be refused
Kind = tuple[str, int]  # type, and rank as it travels


@dataclass
class _Group:
    """Inputs that one Triton model can declare together, by name, all with Triton's batch axis or all without."""

    has_batch_axis: bool
    inputs: dict[str, Kind] = field(default_factory=dict)

    def takes(self, inputs: Mapping[str, Kind]) -> bool:
        return all(self.inputs.get(name, kind) == kind for name, kind in inputs.items())


def echo_configs(layout: str, signatures: Iterable[Signature]) -> dict[str, model_config_pb2.ModelConfig]:
    """By name the configs of `echo`, `echo-2`, ...: as many as it takes to declare the inputs of every signature.

    In layout multi a request has a leading element of 1, as for `saved_model`, whose signatures one config can hold.
    """
    configs = {}
    groups = _grouped(layout, signatures)
    for name, group in zip(_names(), groups, strict=False):
        configs[name] = _config(name, layout, group)
    return configs


def write(repository: Path, configs: Mapping[str, model_config_pb2.ModelConfig]) -> None:
    """The models' folders below a model repository."""
    with resources.as_file(resources.files("triton_models")) as shipped:
        for name, config in configs.items():
            if not (repository / name).exists():
                copytree(shipped / ECHO, repository / name, ignore=ignore_patterns("__pycache__"))
            (repository / name / "config.pbtxt").write_text(text_format.MessageToString(config), encoding="utf-8")


def take_each_alone(config: model_config_pb2.ModelConfig, instances: int) -> None:
    """Have so many instances take requests side by side, each by itself: merged ones are copied as one, and fill memory
    that is never given back."""
    config.ClearField("dynamic_batching")
    config.instance_group[0].count = instances


def is_echo(name: str) -> bool:
    return name == ECHO or name.startswith(f"{ECHO}-")


def _names() -> Iterable[str]:
    yield ECHO
    yield from (f"{ECHO}-{number}" for number in count(2))


def _grouped(layout: str, signatures: Iterable[Signature]) -> list[_Group]:
    """Each signature in the first group that can take it; images of the demo's kind in the first of all, where they
    fit: `-m echo` sends them."""
    groups: list[_Group] = []
    for signature in signatures:
        has_axis = layout == MULTI or signature.is_batched
        inputs = {name: _kind(spec, layout, has_axis=has_axis) for name, spec in signature.inputs.items()}
        if not all(
            spec.shape is not None and spec.datatype in DATATYPES.values() for spec in signature.inputs.values()
        ):
            continue
        groups = groups or [_Group(has_axis, {**_OWN})]
        fitting = (group for group in groups if group.has_batch_axis == has_axis and group.takes(inputs))
        if group := next(fitting, None):
            group.inputs.update(inputs)
        elif layout == PER_MODEL:  # else `saved_model` cannot declare it either
            groups.append(_Group(has_axis, inputs))
    groups = groups or [_Group(True, {**_OWN})]
    for name, spec in _DEMO.items():
        groups[0].inputs.setdefault(name, _kind(spec, layout, has_axis=groups[0].has_batch_axis))
    return groups


def _kind(spec: TensorSpec, layout: str, *, has_axis: bool) -> Kind:
    """A scalar travels as one element; an item that is one too; in layout multi after a leading element of 1."""
    rank = len(spec.shape or ())
    if layout == MULTI:
        return spec.datatype, 1 + max(1, rank)
    return spec.datatype, max(2 if has_axis else 1, rank)


def _config(name: str, layout: str, group: _Group) -> model_config_pb2.ModelConfig:
    """Every size is free, every input optional, and requests of different sizes meet in one execute()."""
    shipped = resources.files("triton_models") / ECHO / "config.pbtxt"
    config = text_format.Parse(shipped.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    config.name = name
    config.parameters["layout"].string_value = layout
    if not group.has_batch_axis:
        config.max_batch_size = 0
        config.ClearField("dynamic_batching")
    elif layout == PER_MODEL:
        config.max_batch_size = _LARGEST_BATCH_SIZE
    del config.input[:]
    for input_name, (datatype, rank) in group.inputs.items():
        added = config.input.add(name=input_name, optional=True, allow_ragged_batch=group.has_batch_axis)
        added.data_type = model_config_pb2.DataType.Value(_TRITON_TYPES.get(datatype, f"TYPE_{datatype}"))
        added.dims.extend([-1] * (rank - 1 if group.has_batch_axis else rank))
    return config

"""The inputs and outputs that Triton must know: the union over all signatures of models.conf, or one signature's."""

from collections.abc import Iterable
from typing import Any

from saved_models import Signature, TensorSpec

_TRITON_TYPES = {"BYTES": "TYPE_STRING"}
# Of TensorFlow's DataType, types that Triton lacks.
_FOREIGN_TYPES = {
    "DT_8": "complex64", "DT_11": "qint8", "DT_12": "quint8", "DT_13": "qint32", "DT_15": "qint16", "DT_16": "quint16",
    "DT_18": "complex128", "DT_20": "a resource", "DT_21": "a variant", "DT_SPARSE": "sparse", "DT_COMPOSITE": "ragged",
}  # fmt: skip
_RESERVED = {"model_name", "signature", "about"}
_DEMO = {"images", "jpeg_image", "boxes", "jpeg_images"}  # config.pbtxt declares them for clients of the demo
_REMEDY = "use --layout per-model"


def union(config: dict[str, Any], signatures: Iterable[tuple[str, Signature]]) -> dict[str, str]:
    """Add to a Triton config, in place, what the signatures need beyond what it declares.

    `signatures` are pairs of "model/signature" and Signature. Triton wants one type and one rank per name, so a
    signature that contradicts an earlier declaration is left out; returned is the reason for each such pair. What the
    config declares for the demo's clients gives way to the first signature that has such an input of another kind.
    """
    declared = {side: {entry["name"]: entry for entry in config[side]} for side in ("input", "output")}
    refused: dict[str, str] = {}
    free = _DEMO & set(declared["input"])
    for where, signature in signatures:
        fixed = {name: entry for name, entry in declared["input"].items() if name not in free}
        reason = _contradiction(fixed, signature.inputs) or _contradiction(declared["output"], signature.outputs)
        if reason:
            refused[where] = reason
            continue
        for name in free & set(signature.inputs):
            if _is_unlike(declared["input"][name], signature.inputs[name]):
                del declared["input"][name]
        free -= set(signature.inputs)
        _add(declared["input"], signature.inputs, extra={"optional": True, "allow_ragged_batch": True})
        _add(declared["output"], signature.outputs, extra={})
    for side in ("input", "output"):
        config[side] = list(declared[side].values())
    return refused


def single(config: dict[str, Any], signature: Signature, *, max_batch_size: int) -> None:
    """Add to a Triton config, in place, the tensors of one signature that it does not declare itself.

    As Triton's TensorFlow backend did: where the config names no tensor and no batch size and the signature is batched,
    it gets `max_batch_size` and dynamic batching. Raises ValueError, one sentence, for what Triton cannot hold.
    """
    declared = {side: {entry["name"]: entry for entry in config[side]} for side in ("input", "output")}
    _check_single(declared, signature)
    if signature.is_batched and not int(config["max_batch_size"]) and not any(declared.values()):
        config["max_batch_size"] = max_batch_size
        if not {"dynamic_batching", "sequence_batching"} & set(config):
            config["dynamic_batching"] = {}
    is_batched = int(config["max_batch_size"]) > 0
    if is_batched and not signature.is_batched:
        raise ValueError(
            f"max_batch_size is {config['max_batch_size']}, but not every input and output has a free first dimension: "
            "leave it out"
        )
    for side, specs in (("input", signature.inputs), ("output", signature.outputs)):
        missing = {name: spec for name, spec in specs.items() if name not in declared[side]}
        config[side] = [*config[side], *(_entry(name, spec, is_batched=is_batched) for name, spec in missing.items())]


def _check_single(declared: dict[str, dict[str, Any]], signature: Signature) -> None:
    if not signature.inputs:
        raise ValueError("it takes no input, which every Triton request needs")
    for side, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for name, entry in declared[side].items():
            if name not in specs:
                raise ValueError(f"its config has {side} {name!r}; the signature has {', '.join(sorted(specs))}")
            if entry["data_type"] != _type(specs[name]):
                raise ValueError(f"its config has {name!r} as {entry['data_type']}; it is {_type(specs[name])}")
        for name, spec in specs.items():
            if name not in declared[side] and (reason := _undeclarable(name, spec)):
                raise ValueError(reason)


def _entry(name: str, spec: TensorSpec, *, is_batched: bool) -> dict[str, Any]:
    """Of one tensor without its batch axis; of an item that is a scalar Triton wants one element, as it travels."""
    if is_batched and spec.shape == (-1,):
        return {"name": name, "data_type": _type(spec), "dims": [1], "reshape": {"shape": []}}
    dims = list((spec.shape or ())[1:]) if is_batched else _dims(spec)
    return {"name": name, "data_type": _type(spec), "dims": dims}


def _undeclarable(name: str, spec: TensorSpec) -> str | None:
    """Why Triton cannot hold a tensor, whatever else it holds."""
    if spec.datatype.startswith("DT_"):
        kind = _FOREIGN_TYPES.get(spec.datatype, f"of TensorFlow's type {spec.datatype.removeprefix('DT_')}")
        return f"its tensor {name!r} is {kind}, which Triton does not support"
    if spec.shape is None:
        return f"its tensor {name!r} has no fixed rank, which Triton needs"
    return None


def _contradiction(declared: dict[str, dict[str, Any]], specs: dict[str, TensorSpec]) -> str | None:
    for name, spec in specs.items():
        if name in _RESERVED:
            return f"its tensor {name!r} has a name that the backend reserves: {_REMEDY}"
        if reason := _undeclarable(name, spec):
            return reason
        if name in declared and _is_unlike(there := declared[name], spec):
            return (
                f"its tensor {name!r} is {_type(spec)} {_dims(spec)}, but an earlier signature declared "
                f"{there['data_type']} {list(map(int, there['dims']))}, and Triton allows one type and rank per name: "
                f"serve its model alone, or {_REMEDY}"
            )
    return None


def _is_unlike(entry: dict[str, Any], spec: TensorSpec) -> bool:
    return entry["data_type"] != _type(spec) or len(entry["dims"]) != len(_dims(spec))


def _add(declared: dict[str, dict[str, Any]], specs: dict[str, TensorSpec], *, extra: dict[str, Any]) -> None:
    for name, spec in specs.items():
        dims = _dims(spec)
        if name in declared:
            there = [int(dim) for dim in declared[name]["dims"]]
            dims = [a if a == b else -1 for a, b in zip(there, dims, strict=True)]
            declared[name] = {**declared[name], "dims": dims}
        else:
            declared[name] = {"name": name, "data_type": _type(spec), "dims": dims, **extra}


def _type(spec: TensorSpec) -> str:
    return _TRITON_TYPES.get(spec.datatype, f"TYPE_{spec.datatype}")


def _dims(spec: TensorSpec) -> list[int]:
    """Triton has no scalars: they travel as one element."""
    return list(spec.shape or (1,))

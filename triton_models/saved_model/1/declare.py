"""The inputs and outputs that Triton must know: the union over all signatures of models.conf."""

from collections.abc import Iterable
from typing import Any

from saved_models import Signature, TensorSpec

_TRITON_TYPES = {"BYTES": "TYPE_STRING"}
# Of TensorFlow's DataType, what Triton has no type for.
_FOREIGN_TYPES = {
    "DT_8": "complex64", "DT_11": "qint8", "DT_12": "quint8", "DT_13": "qint32", "DT_15": "qint16", "DT_16": "quint16",
    "DT_18": "complex128", "DT_20": "a resource", "DT_21": "a variant", "DT_SPARSE": "sparse", "DT_COMPOSITE": "ragged",
}  # fmt: skip
_RESERVED = {"model_name", "signature", "about"}
_DEMO = {"images", "jpeg_image", "boxes", "jpeg_images"}  # config.pbtxt declares them for clients of the demo


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


def _contradiction(declared: dict[str, dict[str, Any]], specs: dict[str, TensorSpec]) -> str | None:
    for name, spec in specs.items():
        if name in _RESERVED:
            return f"its tensor {name!r} has a name that the backend itself uses"
        if spec.datatype.startswith("DT_"):
            kind = _FOREIGN_TYPES.get(spec.datatype, f"of TensorFlow's type {spec.datatype.removeprefix('DT_')}")
            return f"its tensor {name!r} is {kind}, and Triton has no such type"
        if spec.shape is None:
            return f"its tensor {name!r} has no fixed rank, and Triton needs one"
        if name not in declared:
            continue
        there = declared[name]
        if _is_unlike(there, spec):
            return (
                f"its tensor {name!r} is {_type(spec)} {_dims(spec)}, but an earlier signature declared "
                f"{there['data_type']} {list(map(int, there['dims']))}, and Triton allows one type and rank per name: "
                f"serve its model alone"
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

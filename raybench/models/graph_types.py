"""In which precision the graph of a SavedModel computes, and whether XLA compiles it; without TensorFlow."""

from dataclasses import dataclass
from pathlib import Path

# Entries of the map `attr` of a NodeDef, as they stand in the file: key "T" of a type (tensorflow/core/framework:
# attr_value.proto and types.proto), and TensorFlow's mark of a function that must be compiled.
_TYPE = b"\x0a\x01T\x12\x02\x30"
_FLOAT, _BFLOAT16, _HALF = b"\x01", b"\x0e", b"\x13"
_MUST_COMPILE = b"_XlaMustCompile\x12\x02\x28\x01"


@dataclass(frozen=True)
class GraphTypes:
    """None is not known."""

    precision: str | None = None
    xla: bool | None = None


def computes_in(folder: Path) -> GraphTypes:
    """By the operations of its saved_model.pb: float32, or what a part of them computes in."""
    try:
        graph = (folder / "saved_model.pb").read_bytes()
    except OSError:
        return GraphTypes()
    names = {_HALF: "mixed_float16", _BFLOAT16: "mixed_bfloat16", _FLOAT: "float32"}
    precision = next((name for kind, name in names.items() if _TYPE + kind in graph), None)
    return GraphTypes(precision, _MUST_COMPILE in graph)

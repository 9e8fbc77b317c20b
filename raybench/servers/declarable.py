"""Whether the Triton model that raybench starts can declare a signature; known before it starts."""

from importlib import resources

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from raybench.inputs.tensors import described
from raybench.models.saved_models import DATATYPES, Signature, TensorSpec

_ROUTING = {"model_name", "signature", "about"}
_TYPES = {"TYPE_STRING": "BYTES"}


def undeclarable(signature: Signature) -> str | None:
    """Why Triton would refuse each request to a signature, as the end of a sentence; None where it would not.

    Triton has one type and one rank for an input of a name, and `saved_model` declares some names for all models.
    """
    declared = _declared()
    for name, spec in (*signature.inputs.items(), *signature.outputs.items()):
        if name in _ROUTING:
            return f"it has a tensor {name!r}, a name that the backend itself uses"
        if spec.datatype not in DATATYPES.values():
            return f"{described(name, spec)} is of a type that Triton does not have"
        if spec.shape is None:
            return f"{described(name, spec)} has no fixed rank, and Triton needs one"
        there = declared.get(name) if name in signature.inputs else None
        if there and (there.datatype, len(there.shape or ())) != (spec.datatype, max(1, len(spec.shape))):
            return f"it has {described(name, spec)}, and Triton declares {described(name, there)} for all models"
    return None


def _declared() -> dict[str, TensorSpec]:
    """The inputs that the shipped configuration declares for every model."""
    shipped = resources.files("triton_models") / "saved_model" / "config.pbtxt"
    config = text_format.Parse(shipped.read_text(), model_config_pb2.ModelConfig())
    return {each.name: _spec(each) for each in config.input}


def _spec(tensor: model_config_pb2.ModelInput) -> TensorSpec:
    name = model_config_pb2.DataType.Name(tensor.data_type)
    return TensorSpec(_TYPES.get(name, name.removeprefix("TYPE_")), tuple(tensor.dims))

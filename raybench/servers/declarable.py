"""Whether the Triton that raybench starts can declare a signature; known before it starts."""

from raybench.config import MULTI
from raybench.inputs.tensors import described
from raybench.models.saved_models import DATATYPES, Signature

_ROUTING = {"model_name", "signature", "about"}


def undeclarable(signature: Signature, layout: str) -> str | None:
    """Why Triton would refuse each request to a signature, and the remedy; None where it would not.

    What another model's signature declares is not known here: the backend says so when it starts.
    """
    for name, spec in (*signature.inputs.items(), *signature.outputs.items()):
        if name in _ROUTING and layout == MULTI:
            return f"it has a tensor {name!r}, a name that the backend reserves: use --layout per-model"
        if spec.datatype not in DATATYPES.values():
            return f"{described(name, spec)} is of a type that Triton does not support: export it with another"
        if spec.shape is None:
            return f"{described(name, spec)} has no fixed rank, which Triton needs: export it with one"
    return None

"""Whether the first axis of a signature's inputs counts items, and how many items a request may have."""

import numpy as np

from raybench.inputs.tensors import Batch
from raybench.models.saved_models import Signature, TensorSpec

_IMAGE_RANK = 4
_CHANNELS = (-1, 1, 3)
_PIXELS = ("UINT8", "FP32", "FP16", "BF16", "FP64")


def has_item_axis(signature: Signature) -> bool:
    """Whether every input has an entry along axis 0 for each item: it is free, or there are so many images.

    A fixed axis of anything else may be a part of the item: then a request is one inference.
    """
    specs = required(signature).values()
    return all(is_free(spec) for spec in specs) or all(is_image(spec) for spec in specs)


def items_of_a_request(signature: Signature) -> int | None:
    """How many items every request has to have; None where a user chooses."""
    if not has_item_axis(signature):
        return 1
    fixed = [spec.shape[0] for spec in required(signature).values() if spec.shape and not is_free(spec)]
    return fixed[0] if fixed else None


def required(signature: Signature) -> dict[str, TensorSpec]:
    """The inputs that every request has to have, by name."""
    return {name: spec for name, spec in signature.inputs.items() if name not in signature.optional}


def is_free(spec: TensorSpec) -> bool:
    return spec.shape is None or spec.shape[:1] == (-1,)


def is_image(spec: TensorSpec) -> bool:
    """Whether an input looks like images: [n, height, width, 1 or 3]."""
    if spec.datatype not in _PIXELS:
        return False
    if spec.shape is None:
        return spec.datatype == "UINT8"
    return len(spec.shape) == _IMAGE_RANK and spec.shape[3] in _CHANNELS


def on_the_wire(batch: Batch, signature: Signature) -> Batch:
    """A batch, which always has items along axis 0, as a signature takes it; a string alone stays an array."""
    if has_item_axis(signature):
        return batch
    return {name: np.asarray(values[0], values.dtype) for name, values in batch.items()}

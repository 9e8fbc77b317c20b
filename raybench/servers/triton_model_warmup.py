"""Triton's own warm-up, as text for the config.pbtxt of a model in layout per-model."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from raybench.inputs.batch_axis import has_item_axis
from raybench.models.default_signature import default_signature
from raybench.models.saved_models import Signature, read_signatures
from raybench.servers.warm_up import WarmUp

MODEL_WARMUP = Path("assets.extra") / "triton_model_warmup.pbtxt"  # TensorFlow Serving ignores what it does not know

_NOTE = """\
# For the config.pbtxt of a model in layout per-model. Triton makes up a batch of requests of one item each. If requests
# for a model do not share calls, as with XLA, this warms up calls of one item alone; then name the batches by the
# backend's parameter warm_up.
"""


def write_model_warmup(version: Path, calls: Sequence[WarmUp]) -> Path | None:
    """Leave the blocks for the calls of a SavedModel's default signature in its folder; None where there are none.

    Raises ValueError for a SavedModel that cannot be read, and OSError.
    """
    signatures, file = read_signatures(version), version / MODEL_WARMUP
    served = default_signature(signatures)
    text = model_warmup([each for each in calls if each.signature == served], signatures)
    if not text:
        return None
    file.parent.mkdir(exist_ok=True)
    file.write_text(_NOTE + text, encoding="utf-8")
    return file


def model_warmup(calls: Sequence[WarmUp], signatures: Mapping[str, Signature]) -> str:
    """A model_warmup block for each call, with zeros of its shapes: Triton makes them when it loads the model.

    Calls with strings are left out: zeros would be empty strings, and Triton does not load a model that refuses them.
    """
    config = model_config_pb2.ModelConfig()
    for call in calls:
        signature = signatures[call.signature]
        if any(signature.inputs[name].datatype == "BYTES" for name in call.batch):
            continue
        is_batched = has_item_axis(signature)
        block = config.model_warmup.add(name=_name(call), batch_size=call.items if is_batched else 1, count=1)
        for name, values in call.batch.items():
            _put(block.inputs[name], signature.inputs[name].datatype, values[0] if is_batched else values)
    return text_format.MessageToString(config)


def _name(call: WarmUp) -> str:
    return f"{call.signature}, batch {call.items}"


def _put(into: model_config_pb2.ModelWarmup.Input, datatype: str, item: np.ndarray) -> None:
    into.data_type = model_config_pb2.DataType.Value(f"TYPE_{datatype}")
    into.dims.extend(np.shape(item) or (1,))  # as the backend declares an input without dimensions
    into.zero_data = True

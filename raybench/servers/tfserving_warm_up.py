"""TensorFlow Serving's warm-up file: requests that it computes when it loads a SavedModel, before it says ready."""

from collections.abc import Sequence
from pathlib import Path

from raybench.clients.proto import tfserving_pb2 as pb
from raybench.clients.tfserving_client import bfloat16_inputs, predict_request
from raybench.config import ConfigError
from raybench.inputs.tfrecords import framed
from raybench.models.saved_models import Signature, read_signatures
from raybench.servers.warm_up import WarmUp

WARM_UP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_MOST_RECORDS = 1000  # TensorFlow Serving does not load a model with more (saved_model_warmup_util.cc)


def write_warm_up_file(version: Path, calls: Sequence[WarmUp]) -> Path:
    """Write these calls of a SavedModel into its folder, in place of those that it had; returns the file.

    A request that fails keeps TensorFlow Serving from loading the model: give calls that the model answers. Raises
    ConfigError for more calls than TensorFlow Serving takes, ValueError for a SavedModel that cannot be read, and
    OSError.
    """
    if len(calls) > _MOST_RECORDS:
        raise ConfigError(
            f"warmup makes {len(calls)} requests of model {calls[0].model}; TF Serving takes {_MOST_RECORDS} at most: "
            "name fewer batch sizes"
        )
    signatures, file = read_signatures(version), version / WARM_UP_FILE
    file.parent.mkdir(exist_ok=True)
    new = file.with_suffix(".new")
    new.write_bytes(b"".join(framed(_record(each, signatures[each.signature])) for each in calls))
    return new.replace(file)


def _record(call: WarmUp, signature: Signature) -> bytes:
    spec = pb.ModelSpec(name=call.model, signature_name=call.signature)
    request = predict_request(spec, call.batch, bfloat16_inputs(signature))
    return pb.PredictionLog(predict_log=pb.PredictLog(request=request)).SerializeToString()

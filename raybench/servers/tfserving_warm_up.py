"""TensorFlow Serving's warm-up file: requests that it computes when it loads a SavedModel, before it says ready."""

from collections.abc import Sequence
from pathlib import Path

from raybench.clients.proto import tfserving_pb2 as pb
from raybench.clients.tfserving_client import bfloat16_inputs, predict_request
from raybench.config import ConfigError
from raybench.models.saved_models import Signature, read_signatures
from raybench.servers.warm_up import WarmUp

WARM_UP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
_MOST_RECORDS = 1000  # TensorFlow Serving does not load a model with more (saved_model_warmup_util.cc)


def warm_up_records(version: Path, calls: Sequence[WarmUp]) -> list[bytes]:
    """The records of the file for these calls of a SavedModel, for models/export.py to write.

    A request that fails keeps TensorFlow Serving from loading the model: give calls that the model answers. Raises
    ConfigError for more calls than TensorFlow Serving takes, and ValueError for a SavedModel that cannot be read.
    """
    if len(calls) > _MOST_RECORDS:
        raise ConfigError(
            f"warmup makes {len(calls)} requests of model {calls[0].model}; TF Serving takes {_MOST_RECORDS} at most: "
            "name fewer batch sizes"
        )
    signatures = read_signatures(version)
    return [_record(each, signatures[each.signature]) for each in calls]


def _record(call: WarmUp, signature: Signature) -> bytes:
    spec = pb.ModelSpec(name=call.model, signature_name=call.signature)
    request = predict_request(spec, call.batch, bfloat16_inputs(signature))
    return pb.PredictionLog(predict_log=pb.PredictLog(request=request)).SerializeToString()

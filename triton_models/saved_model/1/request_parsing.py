"""What a request names and brings, checked; what cannot be served is a RequestError. Knows no Triton, no TensorFlow."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dynamic_batching import ParsedRequest, SignatureKey
from gpu_inputs import GpuInput, Input
from saved_models import Signature, TensorSpec

_LONGEST_LISTING = 1000  # gRPC refuses long error messages
_LONGEST_NAME = 100
_NUMPY_NAMES = {
    "FP32": "float32", "FP64": "float64", "FP16": "float16", "BF16": "bfloat16", "BOOL": "bool", "BYTES": "object",
}  # fmt: skip
_ROUTING = frozenset({"model_name", "signature"})


class RequestError(Exception):
    """A request that cannot be served: the name of Triton's error code and a sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


@dataclass(frozen=True)
class RawRequest:
    """A request as Triton received it: inputs, parameters, and the names of the outputs that it asks for."""

    arrays: Mapping[str, Input]
    parameters: Mapping[str, object]
    outputs: frozenset[str]


@dataclass(frozen=True)
class RequestParser:
    """Checks requests against what is served here; `unservable` says why a "model" or "model/signature" is not.

    Inputs in `routing` name the model and its signature, and are none of the signature's own.
    """

    versions: Mapping[str, tuple[int, ...]]
    signatures: Mapping[SignatureKey, Signature]
    unservable: Mapping[str, str]
    declared_outputs: frozenset[str]
    routing: frozenset[str] = _ROUTING

    def parse(self, position: int, request: RawRequest) -> ParsedRequest:
        """What a request asks for; raises RequestError where it names or brings what cannot be served."""
        key = self.route(request)
        spec = self.signatures[key]
        arrays = {name: array for name, array in request.arrays.items() if name not in self.routing}
        _check_names(key, arrays, spec)
        outputs = self._outputs(key, spec, request.outputs)
        inputs = {name: unwrapped(key, name, arrays[name], spec.inputs[name]) for name in spec.inputs}
        return ParsedRequest(position=position, key=key, inputs=inputs, outputs=outputs)

    def route(self, request: RawRequest) -> SignatureKey:
        """The signature that a request names, by inputs or parameters; raises RequestError where there is none."""
        model = _named(request, "model_name", "model", self.versions)
        if model not in self.versions:
            why = self.unservable.get(model, f"it serves {listing(self.versions)}")
            raise RequestError("NOT_FOUND", f"model {model[:_LONGEST_NAME]!r} is not in this Triton; {why}")
        version = _version(model, request.parameters.get("version"), self.versions[model])
        known_here = [key.signature for key in self.signatures if (key.model, key.version) == (model, version)]
        signature = _named(request, "signature", "signature", known_here)
        if signature not in known_here:
            sentence = f"has no signature {signature[:_LONGEST_NAME]!r}; it has {listing(known_here)}"
            raise RequestError("NOT_FOUND", f"model {model!r} {sentence}")
        key = SignatureKey(model, version, signature)
        if reason := self.unservable.get(str(key)):
            raise RequestError("NOT_FOUND", f"{key} cannot be served; {reason}")
        return key

    def _outputs(self, key: SignatureKey, spec: Signature, asked: frozenset[str]) -> frozenset[str]:
        """The outputs to return; to Triton a request that names none asks for all that are declared."""
        for name in sorted(asked - set(spec.outputs)) if asked != self.declared_outputs else ():
            known = listing(spec.outputs)
            raise RequestError("INVALID_ARG", f"{key} has no output {name!r}; it gives {known}")
        return asked


def unwrapped(key: SignatureKey, name: str, array: Input, spec: TensorSpec) -> Input:
    """An input without Triton's leading element; raises RequestError where it contradicts its declaration."""
    if array.shape[:1] != (1,):
        raise _invalid(key, name, f"has a leading dimension of {array.shape[0]}; send 1")
    if array.dtype.name != numpy_name(spec.datatype):
        raise _invalid(key, name, f"is {array.dtype}; it takes {spec.datatype}")
    inner = array.reshape(() if spec.shape == () and array.size == 1 else array.shape[1:])
    shape = spec.shape if spec.shape is not None else inner.shape
    if len(inner.shape) != len(shape) or any(s not in (-1, d) for s, d in zip(shape, inner.shape, strict=True)):
        raise _invalid(key, name, f"has shape {list(inner.shape)}; it takes {list(shape)}")
    if inner.size == 0:
        raise _invalid(key, name, f"is empty, shape {list(inner.shape)}; send at least one")
    return inner


def numpy_name(datatype: str) -> str:
    """numpy's name of a Triton datatype."""
    return _NUMPY_NAMES.get(datatype, datatype.lower())


def listing(names: Collection[str]) -> str:
    """Names for a sentence, cut where it would grow too long."""
    text = ", ".join(sorted(names)) or "none"
    return text if len(text) < _LONGEST_LISTING else f"{text[:_LONGEST_LISTING]}..."


def _named(request: RawRequest, tensor_name: str, parameter_name: str, known: Collection[str]) -> str:
    """What a request names by a parameter or, without it, by the first element of a tensor."""
    tensor, parameter = request.arrays.get(tensor_name), request.parameters.get(parameter_name)
    if parameter is not None:
        return str(parameter)
    if tensor is None or isinstance(tensor, GpuInput):
        remedy = f"send it as an input or as a parameter; choose from {listing(known)}"
        raise RequestError("INVALID_ARG", f"{tensor_name} is missing: {remedy}")
    value = tensor.reshape(-1)[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def _version(model: str, asked: object, served: tuple[int, ...]) -> int:
    """The version that a request names, or the newest."""
    if asked is None:
        return served[-1]
    by_text = {str(version): version for version in served}
    if str(asked) not in by_text:
        sentence = f"has no version {str(asked)[:_LONGEST_NAME]!r}; it serves {list(served)}"
        raise RequestError("NOT_FOUND", f"model {model!r} {sentence}")
    return by_text[str(asked)]


def _check_names(key: SignatureKey, arrays: Mapping[str, Input], spec: Signature) -> None:
    takes = f"it takes {listing(spec.inputs)}"
    for name in sorted(set(spec.inputs) - set(arrays)):
        raise _invalid(key, name, f"is missing; {takes}")
    for name in sorted(set(arrays) - set(spec.inputs)):
        raise _invalid(key, name, f"is not one of its inputs; {takes}")


def _invalid(key: SignatureKey, name: str, reason: str) -> RequestError:
    return RequestError("INVALID_ARG", f"{key}: input {name!r} {reason}")

"""Triton python backend that serves every SavedModel and signature of a models.conf from one model.

A request names its model and signature, by the inputs `model_name` and `signature` or by request parameters `model`,
`signature` and `version`, and brings that signature's inputs, each with a leading element of 1. Requests of one
execute() that ask for the same thing share one TensorFlow call; each is answered, or refused, alone. One that asks for
output `about` alone, and brings no inputs, is told what computes here, and how, as JSON.

With a pipeline execute() hands full calls, and those that cannot be shared, over and returns: Triton gives it the next
requests while TensorFlow computes these, and each is answered through its response sender when its call is done.
"""

import json
import os
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

if int(np.__version__.split(".")[0]) >= 2:
    raise RuntimeError(
        f"numpy {np.__version__}: with numpy 2 this python backend receives wrong data without any error; "
        f"install 'numpy<2' into the environment that Triton's python finds first on PATH"
    )

from computing import Computer
from declare import union
from merging import Call, Lot, is_full, merged
from pipeline import Pipeline, pipeline_depth
from reading import Refusal, listing, numpy_name, routing, served_version, unwrapped
from saved_models import ModelConfig, Signature, read_models_conf, read_signatures
from tensorflow_facts import tensorflow_facts

_ABOUT = "about"
_LONGEST_ERROR = 2000  # gRPC refuses long error messages


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Declare the union of all signatures; Triton drops what is not declared without a word."""
        config = auto_complete_model_config.as_dict()
        for where, reason in union(config, _signatures_in(_asked_models(config))).items():
            print(f"{where} cannot be served: {reason}", flush=True)  # the logger is not there yet
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        self._tf = _import_tensorflow(args)
        self._max_images = int(_parameter(config, "merge_max_images"))
        self._merges_xla = _parameter(config, "merge_xla") == "true"
        has_gpu = bool(self._tf.config.get_visible_devices("GPU"))
        depth = pipeline_depth(_parameter(config, "pipeline_depth"), has_gpu=has_gpu)
        self._pipeline = Pipeline(depth) if depth > 1 else None
        self._computer = Computer(self._tf, "GPU:0" if has_gpu else None)
        models = _asked_models(config)
        self._declared_outputs = frozenset(entry["name"] for entry in config["output"])
        self._unservable = union({"input": config["input"], "output": []}, _signatures_in(models))
        self._versions = {model.name: model.versions() for model in models}
        self._signatures: dict[tuple[str, int, str], Signature] = {}
        self._functions: dict[tuple[str, int, str], Any] = {}
        self._merges: set[tuple[str, int, str]] = set()
        for model in models:
            self._load(model)
        self._warm_up(json.loads(_parameter(config, "warm_up")))

    def execute(self, requests: list[Any]) -> list[Any]:
        responses: list[Any] = [None] * len(requests)
        handed_over, here = self._divided(self._read_all(requests, responses))
        for lot in handed_over:
            senders = [requests[call.position].get_response_sender() for call in lot]
            self._pipeline.hand_over(partial(self._send, lot, senders))
        for lot in here:
            for call, response in zip(lot, self._answer(lot), strict=True):
                responses[call.position] = response
        return responses  # None stands for one that its sender answers

    def finalize(self) -> None:
        """End the threads; Triton calls this when all that it gave is answered."""
        if self._pipeline:
            self._pipeline.drain()

    def _load(self, model: ModelConfig) -> None:
        for version in self._versions[model.name]:
            folder = model.base_path / str(version)
            loaded = self._tf.saved_model.load(str(folder))
            for name, signature in read_signatures(folder).items():
                key = (model.name, version, name)
                self._signatures[key] = signature
                self._functions[key] = loaded.signatures[name]
                if signature.is_batched and (self._merges_xla or not _is_compiled(loaded.signatures[name])):
                    self._merges.add(key)
        pb_utils.Logger.log_info(f"loaded {model.name}, versions {list(self._versions[model.name])}")

    def _warm_up(self, shapes: dict[str, dict[str, list[list[int]]]]) -> None:
        """Make the first call of each asked shape before Triton says ready; XLA compiles here."""
        for key, function in self._functions.items():
            for name, asked in shapes.get(key[2], {}).items():
                spec = self._signatures[key].inputs.get(name)
                for shape in asked if spec else []:
                    zeros = np.zeros(shape, numpy_name(spec.datatype))
                    self._computer.call(function, {name: [zeros]}, frozenset(self._signatures[key].outputs))

    def _read_all(self, requests: list[Any], responses: list[Any]) -> list[Call]:
        """What requests ask for; those that can be answered, or refused, at once are so in `responses`."""
        calls = []
        for position, request in enumerate(requests):
            try:
                if list(request.requested_output_names()) == [_ABOUT]:
                    responses[position] = self._about(request)
                else:
                    calls.append(self._read(position, request))
            except Refusal as refusal:
                responses[position] = _refused(refusal)
            except Exception as error:  # whatever a request does, it must not reach its neighbours
                sentence = f"the request cannot be read: {type(error).__name__}: {error}"
                responses[position] = _refused(Refusal("INVALID_ARG", sentence))
        return calls

    def _divided(self, calls: list[Call]) -> tuple[list[Lot], list[Lot]]:
        """The calls as lots that one TensorFlow call answers: those for the pipeline, and those to be answered here.

        A call that is not full is answered before Triton may give more: so the next requests wait, and meet.
        """
        mergeable: list[Call] = []
        alone: list[Lot] = []
        for call in calls:  # asked once: other threads take keys out of _merges
            is_shared = call.key in self._merges and call.is_aligned
            mergeable.append(call) if is_shared else alone.append((call,))
        shared = list(merged(mergeable, max_images=self._max_images))
        if self._pipeline is None:
            return [], [*shared, *alone]
        full = [lot for lot in shared if is_full(lot, max_images=self._max_images)]
        return [*full, *alone], [lot for lot in shared if lot not in full]

    def _read(self, position: int, request: Any) -> Call:
        arrays = _arrays(request)
        key = self._route(arrays, _parameters(request))
        spec = self._signatures[key]
        where = f"{key[0]}/{key[2]}"
        for name in sorted(set(spec.inputs) - set(arrays)):
            raise Refusal("INVALID_ARG", f"{where}: input {name!r} is missing; it takes {listing(spec.inputs)}")
        for name in sorted(set(arrays) - set(spec.inputs)):
            raise Refusal(
                "INVALID_ARG", f"{where}: input {name!r} is not one of its own; it takes {listing(spec.inputs)}"
            )
        outputs = self._outputs(where, spec, frozenset(request.requested_output_names()))
        inputs = {name: unwrapped(where, name, arrays[name], spec) for name in spec.inputs}
        return Call(position=position, key=key, inputs=inputs, outputs=outputs)

    def _about(self, request: Any) -> Any:
        key = self._route(_arrays(request), _parameters(request))
        merges = self._max_images > 1 and key in self._merges
        facts = {**tensorflow_facts(self._tf), "merges": merges, "xla": _is_compiled(self._functions[key])}
        facts["pipeline_depth"] = self._pipeline.depth if self._pipeline else 1
        return pb_utils.InferenceResponse([pb_utils.Tensor(_ABOUT, np.array([json.dumps(facts).encode()], object))])

    def _outputs(self, where: str, spec: Signature, asked: frozenset[str]) -> frozenset[str]:
        """The outputs to answer; a request that names none asks, in Triton's words, for all that are declared."""
        for name in sorted(asked - set(spec.outputs)) if asked != self._declared_outputs else ():
            raise Refusal(
                "INVALID_ARG", f"{where}: output {name!r} is not one of its own; it gives {listing(spec.outputs)}"
            )
        return asked

    def _route(self, arrays: dict[str, np.ndarray], parameters: dict[str, Any]) -> tuple[str, int, str]:
        """The callable that a request names; takes the routing inputs out of `arrays`."""
        name = routing(arrays.pop("model_name", None), parameters.get("model"), "model_name", self._versions)
        if name not in self._versions:
            raise Refusal("NOT_FOUND", f"model {name[:100]!r} is not served here; there are {listing(self._versions)}")
        version = served_version(name, parameters.get("version"), self._versions[name])
        here = [s for n, v, s in self._signatures if (n, v) == (name, version)]
        signature = routing(arrays.pop("signature", None), parameters.get("signature"), "signature", here)
        if signature not in here:
            known = listing(here)
            raise Refusal("NOT_FOUND", f"model {name!r} has no signature {signature[:100]!r}; there are {known}")
        if reason := self._unservable.get(f"{name}/{signature}"):
            raise Refusal("INVALID_ARG", f"{name}/{signature} cannot be served: {reason}")
        return name, version, signature

    def _send(self, lot: Lot, senders: list[Any]) -> None:
        for sender, response in zip(senders, self._answer(lot), strict=True):
            try:
                sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            except Exception as error:  # one that cannot be sent must not keep the others from theirs
                pb_utils.Logger.log_error(f"an answer could not be sent: {error}")

    def _answer(self, lot: Lot) -> list[Any]:
        """Answer a lot with one TensorFlow call; where that fails, each request alone, so that one fault stays one."""
        try:
            return self._answer_together(lot)
        except Exception as error:
            if len(lot) > 1:
                return [response for call in lot for response in self._answer((call,))]
            return [_refused(self._fault(lot[0], error))]

    def _answer_together(self, lot: Lot) -> list[Any]:
        wanted = frozenset[str]().union(*(call.outputs for call in lot))
        parts = {name: [call.inputs[name] for call in lot] for name in lot[0].inputs}
        outputs = self._computer.call(self._functions[lot[0].key], parts, wanted)
        if len(lot) == 1:
            return [_response(lot[0], outputs)]
        ends = np.cumsum([call.images for call in lot])
        if any(len(array) != ends[-1] for array in outputs.values()):
            self._merges.discard(lot[0].key)  # its rows are not its images: never merge it again
            raise ValueError("the outputs of a merged call cannot be split")
        split = {name: np.split(array, ends[:-1]) for name, array in outputs.items()}
        return [_response(call, {name: split[name][i] for name in split}) for i, call in enumerate(lot)]

    def _fault(self, call: Call, error: Exception) -> Refusal:
        errors = self._tf.errors
        is_request_fault = isinstance(error, errors.InvalidArgumentError | errors.UnimplementedError | ValueError)
        sentence = _sentence(getattr(error, "message", None) or str(error))
        return Refusal("INVALID_ARG" if is_request_fault else "INTERNAL", f"{call.key[0]}/{call.key[2]}: {sentence}")


def _import_tensorflow(args: dict[str, str]) -> Any:
    """TensorFlow on this instance's device alone, with memory growth, so that instances can share a GPU."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    mine = gpus[int(args["model_instance_device_id"])] if args["model_instance_kind"] == "GPU" and gpus else []
    tf.config.set_visible_devices(mine, "GPU")
    for gpu in tf.config.get_visible_devices("GPU"):
        tf.config.experimental.set_memory_growth(gpu, True)
    return tf


def _asked_models(config: dict[str, Any]) -> list[ModelConfig]:
    models = read_models_conf(Path(_parameter(config, "models_conf")))
    asked = [name for name in _parameter(config, "models").split(",") if name]
    there = {model.name: model for model in models}
    for name in asked:
        if name not in there:
            raise ValueError(f"parameter models: {name!r} is not in models.conf; there are {listing(there)}")
    return [there[name] for name in asked] or list(models)


def _signatures_in(models: list[ModelConfig]) -> list[tuple[str, Signature]]:
    return [
        (f"{model.name}/{name}", signature)
        for model in models
        for version in model.versions()
        for name, signature in read_signatures(model.base_path / str(version)).items()
    ]


def _arrays(request: Any) -> dict[str, np.ndarray]:
    return {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}


def _parameters(request: Any) -> dict[str, Any]:
    return dict(json.loads(request.parameters() or "{}"))


def _parameter(config: dict[str, Any], key: str) -> str:
    return str(config["parameters"][key]["string_value"])


def _is_compiled(function: Any) -> bool:
    """Whether a graph, or a function that it calls, asks XLA to compile it (attribute `_XlaMustCompile`)."""
    graph = function.graph.as_graph_def(add_shapes=False)
    return any(
        "_XlaMustCompile" in node.attr and node.attr["_XlaMustCompile"].b
        for nodes in (graph.node, *(f.node_def for f in graph.library.function))
        for node in nodes
    ) or any("_XlaMustCompile" in f.attr and f.attr["_XlaMustCompile"].b for f in graph.library.function)


def _sentence(message: str) -> str:
    """TensorFlow's own words, without the frame that it puts around them."""
    frame = r"^(Graph execution error:|Detected at .*|<stack traces unavailable>|\s*\[\[.*|\s*)$"
    lines = [line for line in message.splitlines() if not re.match(frame, line)]
    return re.sub(r"\{\{.*?\}\} ?", "", (lines or [message])[0]).strip()


def _refused(refusal: Refusal) -> Any:
    code = getattr(pb_utils.TritonError, refusal.code)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(refusal)[:_LONGEST_ERROR], code))


def _response(call: Call, outputs: dict[str, np.ndarray]) -> Any:
    tensors = [pb_utils.Tensor(n, np.atleast_1d(a)) for n, a in sorted(outputs.items()) if n in call.outputs]
    return pb_utils.InferenceResponse(output_tensors=tensors)

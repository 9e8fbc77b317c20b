"""Triton python backend that serves every SavedModel and signature of a models.conf from one model, or a single one.

In layout multi a request names its model and signature, by the inputs `model_name` and `signature` or by request
parameters `model`, `signature` and `version`, and brings that signature's inputs, each with a leading element of 1. One
that asks for output `about` alone, and brings no inputs, gets a description of how its signature is executed here or,
for an empty model name, of what cannot be served, as JSON. In layout per-model the Triton model is one SavedModel, and
requests bring its inputs as they are (layouts.py).

Requests of one execute() that ask for the same thing share one TensorFlow call; each is answered, or refused, alone.

With a pipeline execute() hands full batches, and requests that cannot share a call, over and returns: Triton gives it
the next requests while TensorFlow executes these, and each is answered through its response sender when it is done.
"""

import atexit
import json
import os
import time
from functools import partial
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

if int(np.__version__.split(".")[0]) >= 2:
    raise RuntimeError(
        f"numpy {np.__version__}: with numpy 2 this python backend receives wrong data without any error; "
        f"install 'numpy<2' into the environment that Triton's python finds first on PATH"
    )

from about import About
from backend_parameters import MULTI, BackendParameters
from batch_execution import BatchExecution, Outputs
from bfloat16 import to_send
from cuda_runtime import CudaError, CudaRuntime, load_cuda_runtime
from dynamic_batching import Batch, ParsedRequest, batches, routed
from gpu_copies import GpuCopies
from layouts import layout_of
from loaded_models import LoadedModels, import_tensorflow
from merging import MergeDecision, MergeRules
from pinned_memory import PinnedMemory
from pipeline import Pipeline, pipeline_depth
from request_parsing import RawRequest, RequestError
from tensorflow_executor import Executor
from warm_up import WarmUpCall, read_warm_up, warm_up

_ABOUT = "about"
_LONGEST_ERROR = 2000  # gRPC refuses long error messages


class TritonPythonModel:
    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """Declare the tensors of every signature that is served; Triton silently drops what is not declared."""
        config = auto_complete_model_config.as_dict()
        layout_of(BackendParameters.from_config(config)).declare(config)
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        parameters = BackendParameters.from_config(config)
        self._has_about = parameters.layout == MULTI
        self._tf = import_tensorflow(args)
        has_gpu = bool(self._tf.config.get_visible_devices("GPU"))
        device, cuda = ("GPU:0", _cuda_runtime(args)) if has_gpu else (None, None)
        pinned = PinnedMemory(cuda, pb_utils.Logger.log_warn) if cuda else None
        executor = self._executor = Executor(self._tf, device, pinned)
        self._layout = layout_of(parameters, args)
        self._models = LoadedModels(self._tf, self._layout.models())
        self._parser = self._layout.parser(config, self._models)
        self._execution = BatchExecution(self._tf, self._models, executor)
        self._max_items = parameters.merge_max_items
        depth = pipeline_depth(parameters.pipeline_depth, has_gpu=has_gpu)
        self._pipeline = Pipeline(depth) if depth > 1 else None
        # One more than are under way: the next batch is copied while it waits for its place.
        self._gpu_copies = GpuCopies(self._tf, device, cuda, pb_utils.Logger.log_warn, most=depth + 1)
        self._check_servable(parameters.keep)
        self._decide_merging(parameters, executor)
        self._about = About(
            self._tf,
            self._models,
            self._parser.unservable,
            self._max_items,
            depth,
            self._warm_up(executor, read_warm_up(parameters.warm_up)),
        )
        if parameters.facts:
            self._about.write(parameters.facts, args["model_name"], int(args["model_version"]))

    def _check_servable(self, keep: tuple[str, ...]) -> None:
        """Name what is served and what is not; raises RuntimeError where that is everything, or one to keep."""
        for name, reason in self._parser.unservable.items():
            pb_utils.Logger.log_error(f"{name} cannot be served: {reason}")
        failed = self._models.failed
        lost = [name for name in failed if name in keep or not self._models.versions]
        if lost:
            raise RuntimeError("; ".join(f"model {name}: {failed[name]}" for name in lost))
        for name, versions in self._models.versions.items():
            pb_utils.Logger.log_info(f"loaded {name}, versions {list(versions)}")

    def _warm_up(self, executor: Executor, calls: list[WarmUpCall]) -> list[list[float]]:
        """Make the calls, and return from when to when; nothing where there are none."""
        began_s = time.monotonic()
        for complaint in warm_up(self._models, executor, calls):
            pb_utils.Logger.log_warn(complaint)
        return [[began_s, time.monotonic()]] if calls else []

    def _decide_merging(self, parameters: BackendParameters, executor: Executor) -> None:
        rules = MergeRules.read(parameters.models_conf, parameters.merge)
        for name in rules.unknown(self._models.signatures):
            pb_utils.Logger.log_warn(f"merge rules: {name!r} names no model or signature that is served")
        MergeDecision(
            self._tf, executor, rules=rules, max_items=self._max_items, merge_xla=parameters.merge_xla
        ).decide(self._models, self._parser.unservable)
        for key, reason in self._models.unmerged.items():
            pb_utils.Logger.log_info(f"requests for {key} do not share calls: {reason}")

    def execute(self, requests: list[Any]) -> list[Any]:
        """A response for each request; None stands for one that its sender answers."""
        responses: list[Any] = [None] * len(requests)
        for_pipeline, for_now = self._batches(self._parse_all(requests, responses))
        for batch in for_pipeline:
            kept = self._gpu_copies.kept(batch)
            if kept is None:
                for_now.append(batch)
                continue
            senders = [requests[request.position].get_response_sender() for request in batch]
            self._pipeline.hand_over(partial(self._send, kept, senders))
        for batch in for_now:
            for request, response in zip(batch, self._respond(batch), strict=True):
                responses[request.position] = response
        return responses

    def finalize(self) -> None:
        """End the threads and give their memory back; Triton calls this when all that it gave is answered."""
        if self._pipeline:
            self._pipeline.drain()
        self._executor.close()
        # TensorFlow would take seconds to go, and Triton waits. Only here: one that failed to load is Triton's to end.
        atexit.register(os._exit, 0)

    def _parse_all(self, requests: list[Any], responses: list[Any]) -> list[ParsedRequest]:
        """What requests ask for; those that need no TensorFlow call get their response in `responses`."""
        parsed = []
        for position, request in enumerate(requests):
            try:
                raw = self._layout.raw(request)
                if self._has_about and raw.outputs == {_ABOUT}:
                    responses[position] = self._describe(raw)
                else:
                    parsed.append(self._parser.parse(position, raw))
            except RequestError as error:
                responses[position] = _error_response(error)
            except Exception as error:  # whatever a request does, it must not reach its neighbours
                sentence = f"the request cannot be read: {type(error).__name__}: {error}"
                responses[position] = _error_response(RequestError("INVALID_ARG", sentence))
        return parsed

    def _batches(self, requests: list[ParsedRequest]) -> tuple[list[Batch], list[Batch]]:
        """The requests as batches: those for the pipeline, and those to be answered before execute() returns."""
        batchable: list[ParsedRequest] = []
        alone: list[Batch] = []
        for request in requests:
            # Each is looked up once: other threads take keys out of `batchable`.
            if request.key in self._models.batchable and request.is_splittable:
                batchable.append(request)
            else:
                alone.append((request,))
        shared = list(batches(batchable, max_items=self._max_items))
        if self._pipeline is None:
            return [], [*shared, *alone]
        return routed(shared, alone, max_items=self._max_items)

    def _send(self, batch: Batch, senders: list[Any]) -> None:
        for sender, response in zip(senders, self._respond(batch), strict=True):
            try:
                sender.send(response, flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            except Exception as error:  # one that cannot be sent must not keep the others from theirs
                pb_utils.Logger.log_error(f"an answer could not be sent: {error}")
        self._gpu_copies.give_back(batch)

    def _respond(self, batch: Batch) -> list[Any]:
        return [self._response(*each) for each in zip(batch, self._execution.run(batch), strict=True)]

    def _response(self, request: ParsedRequest, result: Outputs | RequestError) -> Any:
        if isinstance(result, RequestError):
            return _error_response(result)
        try:
            return _tensor_response({name: array for name, array in result.items() if name in request.outputs})
        except Exception as error:  # such as a dtype that Triton does not know
            return _error_response(self._execution.request_error(request, error))

    def _describe(self, request: RawRequest) -> Any:
        """The answer to a request for `about`: of a signature or, where the model's name is empty, of all models."""
        names = request.arrays.get("model_name", np.array([None])).reshape(-1)
        is_about_all = names[0] == b""  # Triton takes no request without an input
        facts = self._about.overview() if is_about_all else self._about.signature(self._parser.route(request))
        return _tensor_response({_ABOUT: np.array([json.dumps(facts).encode()], object)})


def _cuda_runtime(args: dict[str, str]) -> CudaRuntime | None:
    """CUDA on this instance's GPU; None where it cannot be loaded."""
    try:
        return load_cuda_runtime(int(args["model_instance_device_id"]))
    except CudaError as error:
        slower = "inputs go to the GPU from memory that is not pinned, and calls with inputs there do not overlap"
        pb_utils.Logger.log_warn(f"{slower}: {error}")
        return None


def _error_response(error: RequestError) -> Any:
    code = getattr(pb_utils.TritonError, error.code)
    return pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error)[:_LONGEST_ERROR], code))


def _tensor_response(arrays: Outputs) -> Any:
    tensors = [to_send(pb_utils.Tensor, name, np.atleast_1d(array)) for name, array in sorted(arrays.items())]
    return pb_utils.InferenceResponse(output_tensors=tensors)

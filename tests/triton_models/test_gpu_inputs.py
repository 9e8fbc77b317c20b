"""Inputs that a client has put on a GPU: they go to TensorFlow as they lie, and meet those of other requests there."""

import json
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cuda_parts import CudaStandIn
from helpers import backend_module

cuda_runtime, dynamic_batching = backend_module("cuda_runtime"), backend_module("dynamic_batching")
gpu_inputs, layouts = backend_module("gpu_inputs"), backend_module("layouts")
pinned_memory, request_parsing = backend_module("pinned_memory"), backend_module("request_parsing")
saved_models = backend_module("saved_models")

KEY = dynamic_batching.SignatureKey("scale", 1, "times")


def aligned(values: np.ndarray) -> np.ndarray:
    """The values in memory that is aligned as that of a GPU is."""
    raw = np.empty(values.nbytes + 64, np.uint8)
    there = raw[-raw.ctypes.data % 64 :][: values.nbytes].view(values.dtype).reshape(values.shape)
    there[...] = values
    return there


ROWS = aligned(np.arange(8, dtype=np.float32).reshape(4, 2))


class Tensor:
    """As Triton hands over one on a GPU, from which numpy cannot read; here its memory is the host's."""

    def __init__(self, name: str, values: np.ndarray, *, is_cpu: bool = False) -> None:
        self._name, self._values, self._is_cpu = name, values, is_cpu

    def name(self) -> str:
        return self._name

    def is_cpu(self) -> bool:
        return self._is_cpu

    def as_numpy(self) -> np.ndarray:
        if not self._is_cpu:
            raise RuntimeError("Tensor is stored in GPU and cannot be converted to NumPy.")
        return self._values

    def to_dlpack(self) -> Any:
        assert not self._is_cpu
        return self._values.__dlpack__()


def raw(layout: Any, *tensors: Tensor, **parameters: str) -> Any:
    return layout.raw(
        SimpleNamespace(
            inputs=lambda: tensors,
            parameters=lambda: json.dumps(parameters),
            requested_output_names=lambda: ["y"],
        )
    )


def parsed(shape: tuple[int, ...], *, datatype: str = "FP32", is_cpu: bool = False, rows: np.ndarray = ROWS) -> Any:
    """What a request of layout multi asks for that brings an input of one row of `shape`, with the leading 1."""
    signature = saved_models.Signature({"x": saved_models.TensorSpec(datatype, shape)}, {})
    parser = request_parsing.RequestParser(
        versions={"scale": (1,)}, signatures={KEY: signature}, unservable={}, declared_outputs=frozenset()
    )
    tensor = Tensor("x", rows[np.newaxis], is_cpu=is_cpu)
    request = raw(layouts.Multi(None), tensor, model="scale", signature="times")
    return parser.parse(0, SimpleNamespace(arrays=request.arrays, parameters=request.parameters, outputs=frozenset()))


def executor(pinned: Any = None) -> Any:
    import tensorflow as tf

    return backend_module("tensorflow_executor").Executor(tf, "CPU:0", pinned)


def copies(library: CudaStandIn | None, *, most: int = 4, complain: Any = print) -> Any:
    import tensorflow as tf

    cuda = library and cuda_runtime.CudaRuntime(library, 0)
    return backend_module("gpu_copies").GpuCopies(tf, "CPU:0", cuda, complain, most=most)


def address_of(batch: Any) -> int:
    return int(batch[0].inputs["x"].address)


def test_an_input_on_a_gpu_goes_to_tensorflow_as_it_lies() -> None:
    """It is neither fetched to the host nor staged in pinned memory: what TensorFlow reads is the client's memory."""
    library, seen = CudaStandIn(), []
    pinned = pinned_memory.PinnedMemory(cuda_runtime.CudaRuntime(library, 0), print)
    rows = aligned(np.zeros((64, pinned_memory.WORTH_BYTES // 64), np.float32))
    request = parsed((-1, rows.shape[1]), rows=rows)
    rows[:] = 7  # what lies there now is what counts

    def function(x: Any) -> dict[str, Any]:
        seen.append(x)
        return {"y": x + 1}

    answer = executor(pinned).call(function, {"x": [request.inputs["x"]]}, frozenset({"y"}))
    assert (answer["y"] == 8).all()
    assert seen[0].shape == rows.shape
    assert library.calls == 0


def test_requests_on_a_gpu_are_merged_there() -> None:
    """Requests with inputs on a GPU share a call with each other and with others, each with its own rows in order."""
    requests = [parsed((-1, 2), rows=aligned(ROWS[:1])), parsed((-1, 2), rows=ROWS[1:2], is_cpu=True), parsed((-1, 2))]
    (batch,) = dynamic_batching.batches(requests, max_items=64)
    assert [request.items for request in batch] == [1, 1, 4]
    assert all(request.is_splittable for request in batch)
    parts = {"x": [request.inputs["x"] for request in batch]}
    answer = executor().call(lambda x: {"y": 2 * x}, parts, frozenset({"y"}))
    assert (answer["y"] == 2 * np.concatenate([ROWS[:1], ROWS[1:2], ROWS])).all()


def test_what_triton_lends_is_read_before_it_is_given_back() -> None:
    """When execute() returns, Triton gives the memory to the next requests: a call that goes on has its own copy."""
    rows = aligned(ROWS.copy())
    (request,) = kept = copies(CudaStandIn()).kept((parsed((-1, 2), rows=rows),))
    rows[:] = 7  # the next request's
    answer = executor().call(lambda x: {"y": 2 * x}, {"x": [request.inputs["x"]]}, frozenset({"y"}))
    assert (answer["y"] == 2 * ROWS).all()
    assert (kept[0].key, kept[0].position, kept[0].items) == (KEY, 0, 4)


def test_no_memory_is_used_again_before_its_call_is_answered() -> None:
    """Each call that is under way has memory of its own; what has been given back is used for the next of its kind."""
    own = copies(CudaStandIn(), most=2)
    first, second = (own.kept((parsed((-1, 2)),)) for _ in range(2))
    assert address_of(first) != address_of(second)
    own.give_back(first)
    other = own.kept((parsed((-1, 2), rows=aligned(ROWS[:2].copy())),))
    third, fourth = (own.kept((parsed((-1, 2)),)) for _ in range(2))
    assert address_of(third) == address_of(first)
    assert len({address_of(each) for each in (second, other, third, fourth)}) == 4


def test_little_memory_waits_for_inputs_that_may_not_come() -> None:
    """Of shapes that are seen once the memory of no more than the stated number of batches is kept."""
    own = copies(CudaStandIn(), most=2)
    assert [is_kept() for is_kept in given_back(own, 1, 2, 3)] == [False, True, True]


def test_no_memory_is_kept_for_copies_that_are_not_made() -> None:
    """After a copy that failed neither what was given back nor what is given back later holds memory of the GPU."""
    own = copies(library := CudaStandIn())
    (before,) = given_back(own, 1)
    under_way = own.kept((parsed((-1, 2)),))
    library.faulty_copies = True
    assert own.kept((parsed((-1, 2)),)) is None
    after = weakref.ref(under_way[0].inputs["x"].tensor)
    own.give_back(under_way)
    del under_way
    assert not before()
    assert after() is None


def given_back(own: Any, *lengths: int) -> list[Callable[[], bool]]:
    """Have inputs of so many rows copied, and then give all back: for each whether its memory is kept."""
    batches = [own.kept((parsed((-1, 2), rows=aligned(ROWS[:n].copy())),)) for n in lengths]
    tensors = [weakref.ref(batch[0].inputs["x"].tensor) for batch in batches]
    for batch in batches:
        own.give_back(batch)
    return [lambda tensor=tensor: tensor() is not None for tensor in tensors]


def test_what_the_host_holds_is_not_copied() -> None:
    """A batch without inputs on a GPU is the same one, with CUDA or without."""
    batch, library = (parsed((-1, 2), is_cpu=True),), CudaStandIn()
    assert copies(library).kept(batch) is batch
    assert copies(None).kept(batch) is batch


@pytest.mark.parametrize("library", [CudaStandIn(faulty_copies=True), None])
def test_where_cuda_cannot_copy_calls_do_not_go_on(library: CudaStandIn | None) -> None:
    """What cannot be copied is answered before execute() returns, and the log says so once, where it does not yet."""
    said: list[str] = []
    own = copies(library, complain=said.append)
    assert [own.kept((parsed((-1, 2)),)) for _ in range(3)] == [None] * 3
    what = "inputs on the GPU cannot be copied there, so their calls do not overlap: "
    assert said == ([f"{what}CudaError: cudaMemcpyAsync returned error 1"] if library else [])


@pytest.mark.parametrize(("place", "waits"), [("GPU:0", 0), ("CPU:0", 1)])
def test_a_call_returns_when_its_inputs_on_a_gpu_are_read(
    place: str, waits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An output that is fetched from the GPU comes after all that reads its inputs; else the call waits for the GPU,
    also where it fails."""
    import tensorflow as tf

    waited: list[None] = []
    monkeypatch.setattr(tf.raw_ops, "SyncDevice", lambda: waited.append(None))
    parts, wanted = {"x": [parsed((-1, 2)).inputs["x"]]}, frozenset({"y"})
    output = SimpleNamespace(device="/device:GPU:0", backing_device=f"/device:{place}", numpy=lambda: ROWS)
    executor().call(lambda **_: {"y": output, "other": output}, parts, wanted)
    assert len(waited) == waits

    def failing(**_: Any) -> Any:
        raise ValueError("x")

    with pytest.raises(ValueError, match="x"):
        executor().call(failing, parts, wanted)
    assert len(waited) == waits + 1
    executor().call(lambda **_: {"y": output}, {"x": [ROWS]}, wanted)
    assert len(waited) == waits + 1


def test_a_single_value_may_lie_on_a_gpu() -> None:
    """A scalar travels with one element, and is one again."""
    request = parsed((), rows=aligned(np.array([5], np.float32)))
    answer = executor().call(lambda x: {"y": x}, {"x": [request.inputs["x"]]}, frozenset({"y"}))
    assert answer["y"].shape == ()
    assert answer["y"] == 5


@pytest.mark.parametrize(
    ("shape", "datatype", "words"),
    [
        ((-1, 3), "FP32", r"input 'x' has shape \[4, 2\]; it takes \[-1, 3\]"),
        ((-1, 2), "INT32", r"input 'x' is float32; it takes INT32"),
    ],
)
def test_inputs_on_a_gpu_are_checked(shape: tuple[int, ...], datatype: str, words: str) -> None:
    """What contradicts the declaration is refused, wherever it lies."""
    with pytest.raises(request_parsing.RequestError, match=words):
        parsed(shape, datatype=datatype)


def test_a_name_cannot_lie_on_a_gpu() -> None:
    """Who puts numbers there in place of the model's name is refused as one who names none."""
    request = raw(layouts.Multi(None), Tensor("model_name", ROWS))
    parser = request_parsing.RequestParser(versions={}, signatures={}, unservable={}, declared_outputs=frozenset())
    with pytest.raises(request_parsing.RequestError, match="model_name is missing"):
        parser.parse(0, request)


def test_under_its_own_name_a_model_takes_them_too() -> None:
    """In layout per-model an input gets the leading element that requests have in the other, without a copy."""
    layout = layouts.PerModel(SimpleNamespace(signature="times"), "scale", 1)
    layout.__dict__["_default"] = "times"
    (array,) = raw(layout, Tensor("x", ROWS)).arrays.values()
    assert isinstance(array, gpu_inputs.GpuInput)
    assert (array.shape, array.dtype, array.size, array.ndim) == ((1, 4, 2), np.dtype("float32"), 8, 3)

"""Inputs on a GPU: right bytes at the right place when a request leaves, and nothing left behind, whoever fails."""

import json
import os
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

import grpc
import numpy as np
import pytest
from cuda_parts import CudaStandIn, at
from http_peer import answer, http_peer, read_request
from real_parts import raybench
from tritonclient.grpc import service_pb2

from raybench.clients import device_regions, shared_memory
from raybench.clients.base import ClientError, Reply
from raybench.clients.device_memory import DeviceMemory
from raybench.clients.device_regions import DeviceRegions, lane_names
from raybench.clients.triton_client import TritonClient
from raybench.config import CUDA_SHARED_MEMORY
from raybench.models.cuda_runtime import CudaError, load_cuda_library
from raybench.models.saved_models import Signature, TensorSpec

NAME = "raybench-1-8001-host-0123abcd-0"
MIB = 2**20


class Mapper:
    """A Triton that maps regions, as far as a client can tell; it refuses the region of a number."""

    def __init__(self, refused: int | None = None) -> None:
        self.asked: list[Any] = []
        self.mapped: dict[str, Any] = {}
        self.url = ""
        self._refused = refused

    def register(self, request: Any, context: Any) -> Any:
        self.asked.append(request)
        if len(self.asked) - 1 == self._refused:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "failed to open CUDA IPC handle: invalid device context")
        self.mapped[request.name] = request
        return service_pb2.CudaSharedMemoryRegisterResponse()

    def unregister(self, request: Any, _: Any) -> Any:
        self.mapped.pop(request.name, None)
        return service_pb2.CudaSharedMemoryUnregisterResponse()

    def status(self, *_: Any) -> Any:
        found = service_pb2.CudaSharedMemoryStatusResponse()
        for name in self.mapped:
            found.regions[name].name = name
        return found


@contextmanager
def serving(mapper: Mapper) -> Iterator[str]:
    """The url of a gRPC server that answers for it."""
    calls: dict[str, Callable[..., Any]] = {
        "Register": mapper.register, "Unregister": mapper.unregister, "Status": mapper.status,
    }  # fmt: skip
    methods = {}
    for name, call in calls.items():
        request = getattr(service_pb2, f"CudaSharedMemory{name}Request")
        methods[f"CudaSharedMemory{name}"] = grpc.unary_unary_rpc_method_handler(
            call, request.FromString, lambda said: said.SerializeToString()
        )
    server = grpc.server(ThreadPoolExecutor(2))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("inference.GRPCInferenceService", methods)])
    url = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield url
    finally:
        server.stop(None)


@pytest.fixture
def triton() -> Iterator[Mapper]:
    mapper = Mapper()
    with serving(mapper) as url:
        mapper.url = url
        yield mapper


def regions(url: str, library: CudaStandIn, *, lanes: int = 2) -> DeviceRegions:
    return DeviceRegions(url, NAME, DeviceMemory(library), lanes=lanes)


def test_each_lane_registers_a_region_of_its_own(triton: Any) -> None:
    """Triton gets the IPC handle, GPU and size of a region for each lane, in blocks that nothing else shares."""
    library = CudaStandIn()
    there = regions(triton.url, library)
    for size in (100, 3 * MIB):
        there.add(bytes(size))
        there.staged(b"")
    there.register()
    asked = [service_pb2.CudaSharedMemoryRegisterRequest.FromString(each.SerializeToString()) for each in triton.asked]
    assert [(each.name, each.device_id, each.byte_size) for each in asked] == [
        (f"{NAME}-0000", 0, 3 * MIB),
        (f"{NAME}-0001", 0, 3 * MIB),
    ]
    assert len({each.raw_handle for each in asked}) == 2
    assert {len(each.raw_handle) for each in asked} == {64}
    assert [len(memory) for memory in library.allocated.values()] == [4 * MIB] * 2
    there.close()


def test_over_http_a_handle_is_base64() -> None:
    """A Triton whose HTTP port is named gets the same handle, as its extension of shared memory has it."""
    seen = list[tuple[str, Any]]()

    def serve(connection: Any, _: int) -> None:
        while request := read_request(connection):
            head, _, content = request.partition(b"\r\n\r\n")
            seen.append((head.split()[1].decode(), json.loads(content or b"{}")))
            connection.sendall(answer(b""))

    library = CudaStandIn()
    with http_peer(serve) as address:
        there = regions(f"http://{address}", library, lanes=1)
        there.add(b"abc")
        there.staged(b"")
        there.register()
        there.close()
    (path, said), (last, _) = seen
    assert (path, last) == tuple(
        f"/v2/cudasharedmemory/region/{NAME}-0000/{verb}" for verb in ("register", "unregister")
    )
    assert {name: value for name, value in said.items() if name != "raw_handle"} == {"device_id": 0, "byte_size": 3}
    assert len(b64decode(said["raw_handle"]["b64"])) == 64


def test_inputs_are_there_when_a_request_leaves(triton: Any) -> None:
    """Each input lies, aligned, in the region that its request names, before the request is sent."""
    library, seen = CudaStandIn(), list[dict[str, bytes]]()
    there = regions(triton.url, library)
    spec = Signature({"a": TensorSpec("UINT8", (-1, 3)), "b": TensorSpec("FP32", (-1, 2))}, {})
    client = TritonClient(triton.url, model="m", signature="s", spec=spec, region=there)

    def infer(body: bytes, _: float) -> Reply:
        found = {}
        for tensor in service_pb2.ModelInferRequest.FromString(body).inputs:
            if where := dict(tensor.parameters.items()):
                offset, size = (where[f"shared_memory_{name}"].int64_param for name in ("offset", "byte_size"))
                assert offset % 256 == 0
                region = triton.mapped[where["shared_memory_region"].string_param]
                found[tensor.name] = at(region.raw_handle, offset, size)
        seen.append(found)
        return Reply("OK")

    batches = [
        {"a": np.full((2, 3), number, np.uint8), "b": np.full((2, 2), number, np.float32)} for number in (1, 2, 3)
    ]
    encoded = [client.encode(batch) for batch in batches]
    there.register()
    send = there.sender(infer)
    assert [send(each, 1.0).status for each in encoded] == ["OK"] * 3
    assert seen == [{name: values.tobytes() for name, values in batch.items()} for batch in batches]
    assert there.size == 3 * (6 + 16)
    assert max(map(len, encoded)) < 1000
    client.close()
    there.close()


def test_lanes_never_share_a_region(triton: Any) -> None:
    """Two requests in flight at once lie in regions of their own, and each keeps its bytes until its reply."""
    library, together = CudaStandIn(), Barrier(2, timeout=10)
    there = regions(triton.url, library)
    requests = []
    for payload in (b"first", b"other"):
        there.add(payload)
        requests.append(there.staged(there.name.encode()))
    there.register()

    def infer(body: bytes, _: float) -> Reply:
        together.wait()
        return Reply("OK", body=(body.decode(), at(triton.mapped[body.decode()].raw_handle, 0, 5)))

    send = there.sender(infer)
    with ThreadPoolExecutor(2) as pool:
        replies = [each.body for each in pool.map(lambda request: send(request, 1.0), requests)]
    assert [held for _, held in replies] == [b"first", b"other"]
    assert {name for name, _ in replies} == set(lane_names(NAME, 2))
    there.close()


def test_copies_are_counted(triton: Any) -> None:
    """How many requests were copied, and how long that took, is known apart from the service time."""
    there = regions(triton.url, CudaStandIn(), lanes=1)
    there.add(b"x" * MIB)
    request = there.staged(b"")
    there.register()
    assert there.copied == (0, 0)
    send = there.sender(lambda *_: Reply("OK"))
    send(request, 1.0)
    requests, first_ns = there.copied
    send(request, 1.0)
    assert (requests, there.copied[0]) == (1, 2)
    assert there.copied[1] > first_ns > 0
    there.close()


def test_a_copy_that_fails_is_a_failed_request(triton: Any) -> None:
    """What CUDA refuses on the clock is a reply with its reason, and the lane goes on with its region."""
    there = regions(triton.url, CudaStandIn(faulty_copies=True), lanes=1)
    there.add(b"x")
    request = there.staged(b"")
    there.register()
    send = there.sender(lambda *_: pytest.fail("it was sent"))
    for _ in range(2):
        reply = send(request, 1.0)
        assert (reply.status, reply.error) == (
            "INTERNAL",
            "the inputs could not be copied to the GPU: cudaMemcpyAsync returned error 1",
        )
    there.close()


def test_what_is_closed_is_unregistered_and_freed(triton: Any) -> None:
    """Neither Triton nor the GPU holds a region of a worker that is done."""
    library = CudaStandIn()
    there = regions(triton.url, library)
    there.add(b"x")
    there.staged(b"")
    there.register()
    assert (len(triton.mapped), len(library.allocated)) == (2, 2)
    there.close()
    assert (triton.mapped, library.allocated) == ({}, {})


@pytest.mark.parametrize(
    ("refused", "most", "sentence"),
    [
        (
            1,
            9,
            r"Triton at .* cannot map a region of this host's GPU 0 \(failed to open CUDA IPC .*: it must run on",
        ),
        (None, 1, r"cudaMalloc of 2 MiB returned error 2: send smaller batches, or use --shared-memory system"),
    ],
)
def test_a_region_that_fails_leaves_none(refused: int | None, most: int, sentence: str) -> None:
    """Where the second lane gets no region, the sentence says why, and that of the first is given back."""
    library, mapper = CudaStandIn(most=most), Mapper(refused)
    with serving(mapper) as url:
        there = regions(url, library)
        there.add(b"x")
        there.staged(b"")
        with pytest.raises(ClientError, match=rf"^shared-memory is cuda; {sentence}"):
            there.register()
        there.close()
    assert (mapper.mapped, library.allocated) == ({}, {})


def test_regions_are_freed_though_triton_is_gone() -> None:
    """A Triton that has ended keeps no memory of the GPU."""
    library, mapper = CudaStandIn(), Mapper()
    with serving(mapper) as url:
        there = regions(url, library)
        there.add(b"x")
        there.staged(b"")
        there.register()
    there.close()
    assert library.allocated == {}


def test_regions_of_killed_runs_are_given_back(triton: Any) -> None:
    """The next run has Triton forget each lane's region of a run that was killed, and leaves those of others alone."""
    mine = lane_names(shared_memory.names(triton.url, 1)[0], 2)
    orphans = [name.replace(f"-{os.getpid()}-", f"-{2**22 + 1}-") for name in mine]
    triton.mapped = dict.fromkeys([*mine, *orphans, "somebody-else"])
    shared_memory.unregister_orphans(triton.url, transport=CUDA_SHARED_MEMORY)
    assert set(triton.mapped) == {*mine, "somebody-else"}


def no_runtime() -> Any:
    raise CudaError("none of libcudart.so.12 can be loaded")


@pytest.mark.parametrize(
    ("load", "sentence"),
    [
        (
            no_runtime,
            r"there is no CUDA runtime here \(none of .*\): pip install nvidia-cuda-runtime-cu12, or use",
        ),
        (lambda: CudaStandIn(gpus=0), r"CUDA has no GPU here \(cudaGetDeviceCount returned error 100\): run on a host"),
    ],
)
def test_a_host_without_a_gpu_is_refused(
    load: Callable[[], Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a CUDA runtime, and without a GPU for it, one sentence says what is missing and what to do."""
    monkeypatch.setattr(device_regions, "load_cuda_library", load)
    with pytest.raises(ClientError, match=rf"^shared-memory is cuda; {sentence}"):
        device_regions.device_memory()


def test_a_run_without_a_gpu_ends_before_anything_starts(tmp_path: Path) -> None:
    """It is wrong configuration: exit code 2, the field, and the remedy."""
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    run = raybench("run", "-s", "triton", "--shared-memory", "cuda", "-b", 1, cwd=tmp_path, env=environment)
    assert run.code == 2, run.out
    said = " ".join(run.err.split())
    assert "shared-memory is cuda; " in said
    assert "or use --shared-memory system" in said


def test_the_runtime_is_found_by_name_or_in_a_wheel() -> None:
    """What the loader knows goes first, for TensorFlow has loaded it; then pip's wheels are looked through."""

    def load(name: str) -> str:
        if name not in known:
            raise OSError(name)
        return name

    known = {"libcudart.so.13", "/site/libcudart.so.12"}
    assert load_cuda_library(load, ["/site/libcudart.so.12"]) == "libcudart.so.13"
    known = {"/site/libcudart.so.12"}
    assert load_cuda_library(load, ["/site/libcudart.so.12"]) == "/site/libcudart.so.12"
    with pytest.raises(CudaError, match=r"^none of libcudart\.so\.12, .* can be loaded$"):
        load_cuda_library(load, [])

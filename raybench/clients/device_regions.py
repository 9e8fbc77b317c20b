"""CUDA shared memory: the inputs of a worker's requests on a GPU, where a Triton on its host reads them itself.

Each lane has a region of its own. It copies a request's inputs there and then sends the request, which names the
region: the copy is the client's own, and part of the service time.
"""

import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Lock

from raybench.clients.base import ClientError, Reply
from raybench.clients.device_memory import ALIGNMENT, GPU, DeviceMemory, aligned
from raybench.clients.grpc.channel import CallError
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.shared_memory import unregister
from raybench.clients.triton_service import triton_service
from raybench.config import CUDA_SHARED_MEMORY
from raybench.models.cuda_runtime import CudaError, load_cuda_library

_INSTEAD = "or use --shared-memory system"
_ANY_LANE = 9999  # in an encoded request, for that of the lane which sends it


@dataclass(frozen=True, slots=True)
class StagedRequest:
    """An encoded request that names any lane's region, and its inputs by their offsets there, bytes."""

    body: bytes
    inputs: tuple[tuple[int, bytes], ...]

    def __len__(self) -> int:
        """What goes over the connection, bytes."""
        return len(self.body)


@dataclass(frozen=True, slots=True)
class _LaneRegion:
    name: bytes
    address: int


class DeviceRegions:
    """The regions of one worker's lanes on GPU 0, all as large as the largest request, for one Triton.

    No process but Triton and this one maps them: they go when the worker ends, however it does.
    """

    def __init__(
        self,
        url: str,
        name: str,
        memory: DeviceMemory,
        *,
        lanes: int,
        credentials: ConnectionCredentials = NO_CREDENTIALS,
    ) -> None:
        self._url, self._memory, self._credentials = url, memory, credentials
        self._names, self.name = lane_names(name, lanes), _lane_name(name, _ANY_LANE)
        self._any_name = self.name.encode()
        self._inputs, self._largest, self.size = list[tuple[int, bytes]](), 0, 0
        self._addresses, self._free = list[int](), SimpleQueue[_LaneRegion]()
        self._tally, self._copied = Lock(), (0, 0)

    def add(self, payload: bytes) -> int:
        offset = aligned(self._end, ALIGNMENT)
        self._inputs.append((offset, payload))
        self.size += len(payload)
        return offset

    def staged(self, body: bytes) -> StagedRequest:
        self._largest = max(self._largest, self._end)
        request = StagedRequest(body, tuple(self._inputs))
        self._inputs.clear()
        return request

    def register(self, echo_url: str | None = None) -> None:  # noqa: ARG002
        """The Triton that does nothing has no GPU to map them on. Raises ClientError."""
        with closing(triton_service(self._url, self._credentials)) as service:
            for name in self._names:
                try:
                    address = self._memory.allocate(self._largest)
                    self._addresses.append(address)
                    handle, size = self._memory.handle(address), max(self._largest, 1)
                    service.ask("CudaSharedMemoryRegister", name=name, raw_handle=handle, device_id=GPU, byte_size=size)
                except CudaError as error:
                    raise ClientError(f"shared-memory is cuda; {error}: send smaller batches, {_INSTEAD}") from error
                except CallError as error:
                    raise ClientError(
                        f"shared-memory is cuda; Triton at {self._url} {_refusal(error)}, {_INSTEAD}"
                    ) from error
                self._free.put(_LaneRegion(name.encode(), address))

    def sender(self, infer: Callable[[bytes, float], Reply]) -> Callable[[StagedRequest, float], Reply]:
        def send(request: StagedRequest, timeout_s: float) -> Reply:
            region = self._free.get()
            try:
                self._copy(request, region)
                return infer(request.body.replace(self._any_name, region.name), timeout_s)
            except CudaError as error:
                return Reply("INTERNAL", error=f"the inputs could not be copied to the GPU: {error}")
            finally:
                self._free.put(region)

        return send

    @property
    def copied(self) -> tuple[int, int]:
        return self._copied

    def close(self) -> None:
        """Triton lets go of the regions before they are freed; what CUDA refuses then ends with the process."""
        try:
            unregister(self._url, self._names, self._credentials, transport=CUDA_SHARED_MEMORY)
        finally:
            for address in self._addresses:
                with suppress(CudaError):
                    self._memory.free(address)
            self._addresses.clear()

    @property
    def _end(self) -> int:
        """Of the inputs of the request that is being encoded."""
        offset, payload = self._inputs[-1] if self._inputs else (0, b"")
        return offset + len(payload)

    def _copy(self, request: StagedRequest, region: _LaneRegion) -> None:
        began_ns = time.perf_counter_ns()
        for offset, payload in request.inputs:
            self._memory.write(region.address + offset, payload)
        self._memory.wait()
        took_ns = time.perf_counter_ns() - began_ns
        with self._tally:
            requests, copied_ns = self._copied
            self._copied = requests + 1, copied_ns + took_ns


def lane_names(name: str, lanes: int) -> list[str]:
    """The name of each lane's region, of that of its worker: they are all of one length."""
    return [_lane_name(name, lane) for lane in range(lanes)]


def device_memory() -> DeviceMemory:
    """That of this host's GPU; raises ClientError, with the remedy, where there is none that CUDA can use."""
    try:
        memory = DeviceMemory(load_cuda_library())
    except CudaError as error:
        raise ClientError(
            f"shared-memory is cuda; there is no CUDA runtime here ({error}): pip install nvidia-cuda-runtime-cu12, "
            f"{_INSTEAD}"
        ) from error
    try:
        gpus, why = memory.gpus(), "it sees none"
    except CudaError as error:
        gpus, why = 0, str(error)
    if not gpus:
        raise ClientError(
            f"shared-memory is cuda; CUDA has no GPU here ({why}): run on a host with one, check CUDA_VISIBLE_DEVICES, "
            f"{_INSTEAD}"
        )
    return memory


def _lane_name(name: str, lane: int) -> str:
    return f"{name}-{lane:04d}"


def _refusal(error: CallError) -> str:
    return (
        f"cannot map a region of this host's GPU 0 ({error.said or error.status}): it must run on this host, see the "
        f"same GPU first, and have been built for GPUs"
    )

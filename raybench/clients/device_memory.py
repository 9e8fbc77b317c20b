"""Memory of a GPU that other processes of this host can map, by NVIDIA's CUDA runtime."""

import ctypes
from typing import Any, Protocol

from raybench.models.cuda_runtime import CopyingLibrary, CudaError, begin_copy, check_call, wait_for_copies

GPU = 0  # the first that this process sees, which is the first that a Triton started here sees
ALIGNMENT = 256  # bytes, of every input: cudaMalloc's own
_BLOCK = 2 * 2**20  # bytes: two allocations below it may lie in one block, and a block is what is shared
_HANDLE = 64  # bytes of cudaIpcMemHandle_t
_HOST_TO_DEVICE = 1  # cudaMemcpyHostToDevice


class DeviceLibrary(CopyingLibrary, Protocol):
    """The functions of libcudart that are called; each returns 0, or the number of an error."""

    def cudaGetDeviceCount(self, count: Any, /) -> int: ...

    def cudaMalloc(self, address: Any, n_bytes: ctypes.c_size_t, /) -> int: ...

    def cudaIpcGetMemHandle(self, handle: Any, address: ctypes.c_void_p, /) -> int: ...

    def cudaFree(self, address: ctypes.c_void_p, /) -> int: ...


class DeviceMemory:
    """Allocations on GPU 0, by their addresses there; raises CudaError."""

    def __init__(self, library: DeviceLibrary) -> None:
        self._library = library

    def gpus(self) -> int:
        """How many GPUs this process sees; makes no context on any."""
        count = ctypes.c_int()
        check_call("cudaGetDeviceCount", self._library.cudaGetDeviceCount(ctypes.byref(count)))
        return count.value

    def allocate(self, n_bytes: int) -> int:
        """The address of at least so many bytes, which share their block with no other allocation."""
        address, whole = ctypes.c_void_p(), aligned(max(n_bytes, 1), _BLOCK)
        code = self._library.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(whole))
        check_call(f"cudaMalloc of {whole / 2**20:.0f} MiB", code)
        if not address.value:
            raise CudaError("cudaMalloc returned no address")
        return address.value

    def handle(self, address: int) -> bytes:
        """By which another process of this host maps an allocation."""
        handle = ctypes.create_string_buffer(_HANDLE)
        code = self._library.cudaIpcGetMemHandle(ctypes.byref(handle), ctypes.c_void_p(address))
        check_call("cudaIpcGetMemHandle", code)
        return handle.raw

    def write(self, address: int, payload: bytes) -> None:
        """Begin to copy bytes there."""
        begin_copy(self._library, address, ctypes.c_char_p(payload), len(payload), _HOST_TO_DEVICE)

    def wait(self) -> None:
        """Return when what this thread began to copy is there for every process."""
        wait_for_copies(self._library)

    def free(self, address: int) -> None:
        check_call("cudaFree", self._library.cudaFree(ctypes.c_void_p(address)))


def aligned(n_bytes: int, to: int) -> int:
    """The next multiple."""
    return -(-n_bytes // to) * to

"""A stand-in for libcudart on a host without a GPU: memory of the GPU is memory of this process."""

import ctypes
import struct
from threading import Lock
from typing import Any

OUT_OF_MEMORY, BAD_ADDRESS, NO_DEVICE = 2, 1, 100  # cudaErrorMemoryAllocation, -InvalidValue, -NoDevice
_HANDLE = 64


class CudaStandIn:
    """Keeps what is pinned or allocated by address, and refuses to pin or to allocate after so many times.

    What is copied lies at its target once the copying thread has waited for it, as with a stream. With `faulty_copies`
    none is made.
    """

    def __init__(self, *, most: int = 1000, gpus: int = 1, faulty_copies: bool = False) -> None:
        self.most, self.present, self.faulty_copies = most, gpus, faulty_copies
        self.gpus, self.pinned, self.calls = list[int](), dict[int, int](), 0
        self.allocated: dict[int, Any] = {}
        self._begun, self._lock = list[tuple[int, bytes]](), Lock()

    def cudaGetDeviceCount(self, count: Any) -> int:
        count._obj.value = self.present
        return 0 if self.present else NO_DEVICE

    def cudaSetDevice(self, device: ctypes.c_int) -> int:
        self.gpus.append(device.value)
        return 0

    def cudaHostRegister(self, address: ctypes.c_void_p, n_bytes: ctypes.c_size_t, flags: ctypes.c_uint) -> int:
        assert flags.value == 1
        if not self._counted():
            return OUT_OF_MEMORY
        self.pinned[address.value or 0] = n_bytes.value
        return 0

    def cudaHostUnregister(self, address: ctypes.c_void_p) -> int:
        return 0 if self.pinned.pop(address.value or 0, None) else BAD_ADDRESS

    def cudaMalloc(self, address: Any, n_bytes: ctypes.c_size_t) -> int:
        if not self._counted():
            return OUT_OF_MEMORY
        memory = ctypes.create_string_buffer(n_bytes.value)
        address._obj.value = ctypes.addressof(memory)
        self.allocated[ctypes.addressof(memory)] = memory
        return 0

    def cudaIpcGetMemHandle(self, handle: Any, address: ctypes.c_void_p) -> int:
        if address.value not in self.allocated:
            return BAD_ADDRESS
        ctypes.memmove(handle._obj, struct.pack("<Q", address.value).ljust(_HANDLE, b"h"), _HANDLE)
        return 0

    def cudaMemcpyAsync(
        self,
        target: ctypes.c_void_p,
        source: ctypes.c_char_p | ctypes.c_void_p,
        n_bytes: ctypes.c_size_t,
        kind: ctypes.c_int,
        stream: ctypes.c_void_p,
    ) -> int:
        assert kind.value in (1, 4)  # from the host, or from where the address lies
        assert stream.value == 2  # the calling thread's own
        if self.faulty_copies:
            return BAD_ADDRESS
        with self._lock:
            self._begun.append((target.value or 0, ctypes.string_at(source, n_bytes.value)))
        return 0

    def cudaStreamSynchronize(self, stream: ctypes.c_void_p) -> int:
        assert stream.value == 2
        with self._lock:
            begun, self._begun = self._begun, []
        for target, payload in begun:
            ctypes.memmove(target, payload, len(payload))
        return 0

    def cudaFree(self, address: ctypes.c_void_p) -> int:
        return 0 if self.allocated.pop(address.value or 0, None) else BAD_ADDRESS

    def _counted(self) -> bool:
        self.calls += 1
        return self.calls <= self.most


def at(handle: bytes, offset: int, n_bytes: int) -> bytes:
    """What another process reads that maps an allocation by its handle."""
    (address,) = struct.unpack("<Q", handle[:8])
    return ctypes.string_at(address + offset, n_bytes)

"""The part of NVIDIA's CUDA runtime that pins host memory, by ctypes; each call names the GPU that it is about."""

import ctypes
from typing import Protocol

_LIBRARIES = ("libcudart.so.12", "libcudart.so.13", "libcudart.so")  # TensorFlow has loaded the first
_PORTABLE = 1  # cudaHostRegisterPortable: pinned for every GPU of the process


class CudaError(Exception):
    """A call that CUDA refused: one sentence."""


class CudaLibrary(Protocol):
    """The functions of libcudart that are called; each returns 0, or the number of an error."""

    def cudaSetDevice(self, device: ctypes.c_int, /) -> int: ...

    def cudaHostRegister(self, address: ctypes.c_void_p, n_bytes: ctypes.c_size_t, flags: ctypes.c_uint, /) -> int: ...

    def cudaHostUnregister(self, address: ctypes.c_void_p, /) -> int: ...


class CudaRuntime:
    """Pins memory for one GPU, by its number among those that this process sees; raises CudaError."""

    def __init__(self, library: CudaLibrary, gpu: int) -> None:
        self._library, self._gpu = library, gpu

    def pin(self, address: int, n_bytes: int) -> None:
        """Let the GPU read whole pages of memory directly, until they are unpinned."""
        self._choose_gpu()
        code = self._library.cudaHostRegister(
            ctypes.c_void_p(address), ctypes.c_size_t(n_bytes), ctypes.c_uint(_PORTABLE)
        )
        _check("cudaHostRegister", code)

    def unpin(self, address: int) -> None:
        self._choose_gpu()
        _check("cudaHostUnregister", self._library.cudaHostUnregister(ctypes.c_void_p(address)))

    def _choose_gpu(self) -> None:
        """A thread begins with the first GPU, where a call would make a context of 500 MiB that nobody needs."""
        _check("cudaSetDevice", self._library.cudaSetDevice(ctypes.c_int(self._gpu)))


def load_cuda_runtime(gpu: int) -> CudaRuntime:
    """The runtime that TensorFlow has loaded; raises CudaError where there is none."""
    for name in _LIBRARIES:
        try:
            return CudaRuntime(ctypes.CDLL(name), gpu)
        except OSError:
            continue
    raise CudaError(f"none of {', '.join(_LIBRARIES)} can be loaded")


def _check(function: str, code: int) -> None:
    if code != 0:
        raise CudaError(f"{function} returned error {code}")

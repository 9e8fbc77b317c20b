"""NVIDIA's CUDA runtime by ctypes: how it is loaded, and the parts that pin host memory and copy on a GPU."""

import ctypes
import sysconfig
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Protocol

_NAMES = ("libcudart.so.12", "libcudart.so.13", "libcudart.so")  # TensorFlow has loaded the first
_IN_WHEELS = (  # which need not be on the loader's path; the last is Triton's own
    "nvidia/cuda_runtime/lib/libcudart.so.1?",
    "nvidia/cu13/lib/libcudart.so.1?",
    "nvidia_pytriton.libs/libcudart-*.so.*",
)
_PORTABLE = 1  # cudaHostRegisterPortable: pinned for every GPU of the process
_BY_ADDRESS = 4  # cudaMemcpyDefault: CUDA sees from each address where it lies
_OWN_STREAM = 2  # cudaStreamPerThread: threads do not wait for each other's copies, nor for TensorFlow's streams


class CudaError(Exception):
    """A call that CUDA refused: one sentence."""


class CopyingLibrary(Protocol):
    """The functions of libcudart that copy; each returns 0, or the number of an error."""

    def cudaMemcpyAsync(
        self,
        target: ctypes.c_void_p,
        source: ctypes.c_char_p | ctypes.c_void_p,
        n_bytes: ctypes.c_size_t,
        kind: ctypes.c_int,
        stream: ctypes.c_void_p,
        /,
    ) -> int: ...

    def cudaStreamSynchronize(self, stream: ctypes.c_void_p, /) -> int: ...


class CudaLibrary(CopyingLibrary, Protocol):
    """The functions of libcudart that a CudaRuntime calls."""

    def cudaSetDevice(self, device: ctypes.c_int, /) -> int: ...

    def cudaHostRegister(self, address: ctypes.c_void_p, n_bytes: ctypes.c_size_t, flags: ctypes.c_uint, /) -> int: ...

    def cudaHostUnregister(self, address: ctypes.c_void_p, /) -> int: ...


class CudaRuntime:
    """Pins memory for one GPU and copies there, by its number among those that this process sees; raises CudaError."""

    def __init__(self, library: CudaLibrary, gpu: int) -> None:
        self._library, self._gpu = library, gpu

    def pin(self, address: int, n_bytes: int) -> None:
        """Let the GPU read whole pages of memory directly, until they are unpinned."""
        self._choose_gpu()
        code = self._library.cudaHostRegister(
            ctypes.c_void_p(address), ctypes.c_size_t(n_bytes), ctypes.c_uint(_PORTABLE)
        )
        check_call("cudaHostRegister", code)

    def unpin(self, address: int) -> None:
        self._choose_gpu()
        check_call("cudaHostUnregister", self._library.cudaHostUnregister(ctypes.c_void_p(address)))

    def copy(self, target: int, source: int, n_bytes: int) -> None:
        """Copy between addresses, and return when it is done; it does not wait for TensorFlow's streams."""
        self._choose_gpu()
        begin_copy(self._library, target, ctypes.c_void_p(source), n_bytes, _BY_ADDRESS)
        wait_for_copies(self._library)

    def _choose_gpu(self) -> None:
        """A thread begins with the first GPU, where a call would make a context of 500 MiB that nobody needs."""
        check_call("cudaSetDevice", self._library.cudaSetDevice(ctypes.c_int(self._gpu)))


def load_cuda_runtime(gpu: int) -> CudaRuntime:
    """The runtime that TensorFlow has loaded; raises CudaError where there is none."""
    return CudaRuntime(load_cuda_library(), gpu)


def load_cuda_library(load: Callable[[str], Any] = ctypes.CDLL, wheels: Iterable[str] | None = None) -> Any:
    """libcudart, as the loader finds it by its name, else from a wheel; raises CudaError where there is none."""
    for name in (*_NAMES, *(_in_wheels() if wheels is None else wheels)):
        try:
            return load(name)
        except OSError:
            continue
    raise CudaError(f"none of {', '.join(_NAMES)} can be loaded")


def begin_copy(
    library: CopyingLibrary, target: int, source: ctypes.c_char_p | ctypes.c_void_p, n_bytes: int, kind: int
) -> None:
    """Copy on the calling thread's own stream; `kind` is a cudaMemcpyKind. Raises CudaError."""
    where = ctypes.c_void_p(target), source, ctypes.c_size_t(n_bytes)
    check_call("cudaMemcpyAsync", library.cudaMemcpyAsync(*where, ctypes.c_int(kind), ctypes.c_void_p(_OWN_STREAM)))


def wait_for_copies(library: CopyingLibrary) -> None:
    """Return when what the calling thread began to copy is there for every process; raises CudaError."""
    check_call("cudaStreamSynchronize", library.cudaStreamSynchronize(ctypes.c_void_p(_OWN_STREAM)))


def check_call(function: str, code: int) -> None:
    """Raise CudaError where a function of CUDA returned the number of an error."""
    if code != 0:
        raise CudaError(f"{function} returned error {code}")


def _in_wheels() -> list[str]:
    installed = Path(sysconfig.get_path("purelib"))
    return [str(path) for pattern in _IN_WHEELS for path in sorted(installed.glob(pattern))]

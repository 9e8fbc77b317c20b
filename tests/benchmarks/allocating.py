"""Takes a stated number of MiB of the first GPU and keeps it, through NVIDIA's driver alone: no library rounds it up.

Imported by a python model in tests/benchmarks/gpu_memory.py, whose process then holds a CUDA context and these bytes.
"""

import ctypes
import os

MIB_VARIABLE = "ALLOCATED_MIB"


def allocate(mib: int) -> None:
    """Make the GPU's primary context current and take memory; raises RuntimeError where the driver refuses.

    See cuDevicePrimaryCtxRetain and cuMemAlloc of the CUDA Driver API.
    """
    driver = ctypes.CDLL("libcuda.so.1")
    context, pointer = ctypes.c_void_p(), ctypes.c_uint64()
    _checked(driver.cuInit(0), "cuInit")
    _checked(driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0), "cuDevicePrimaryCtxRetain")
    _checked(driver.cuCtxSetCurrent(context), "cuCtxSetCurrent")
    if mib:
        _checked(driver.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(mib * 2**20)), "cuMemAlloc")


def _checked(code: int, call: str) -> None:
    if code:
        raise RuntimeError(f"{call} answers {code}")


if MIB_VARIABLE in os.environ:
    allocate(int(os.environ[MIB_VARIABLE]))

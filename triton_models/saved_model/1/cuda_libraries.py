"""NVIDIA's libraries from pip's nvidia-* wheels, loaded before TensorFlow looks for them.

TensorFlow asks the loader for each by name, and does without a GPU where it misses one. TensorFlow 2.21 looks in the
wheels of some (RUNPATH of libtensorflow_framework.so.2), and not in those of cuSOLVER and nvJitLink. A library that is
loaded already is found by its name, wherever it lies.
"""

import ctypes
import os
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_DRIVER = "libcuda.so.1"
_LIBRARIES = (  # each after what it needs itself
    "cuda_runtime/lib/libcudart.so.12",
    "nvjitlink/lib/libnvJitLink.so.12",
    "cublas/lib/libcublasLt.so.12",
    "cublas/lib/libcublas.so.12",
    "cufft/lib/libcufft.so.11",
    "cusparse/lib/libcusparse.so.12",
    "cusolver/lib/libcusolver.so.11",
    "cudnn/lib/libcudnn.so.9",
)


def load_cuda_libraries(load: Callable[[str], Any] = ctypes.CDLL, folders: Iterable[Path] | None = None) -> list[str]:
    """Load those that the wheels have, where there is a driver for them; returns the names of the loaded.

    A library on LD_LIBRARY_PATH is left to the loader, which looks there first. One that cannot be loaded is left to
    TensorFlow, which says that it is missing. `folders` are those of the package `nvidia`.
    """
    if not _is_loaded(load, _DRIVER):
        return []
    found = [*(_wheels() if folders is None else folders)]
    there = [path for each in _LIBRARIES for folder in found if (path := folder / each).exists()]
    return [path.name for path in there if not _is_on_path(path.name) and _is_loaded(load, str(path))]


def _wheels() -> list[Path]:
    """The folders of the package `nvidia`, to which each wheel adds one."""
    spec = find_spec("nvidia")
    return [Path(folder) for folder in (spec.submodule_search_locations or ())] if spec else []


def _is_on_path(name: str) -> bool:
    folders = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    return any((Path(folder) / name).exists() for folder in folders if folder)


def _is_loaded(load: Callable[[str], Any], name: str) -> bool:
    try:
        load(name)
    except OSError:
        return False
    return True

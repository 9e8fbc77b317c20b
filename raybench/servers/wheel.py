"""The tritonserver inside the nvidia-pytriton wheel: what it needs of this machine, and how it is run here."""

import os
import platform
import shutil
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from raybench.servers.process import ServerError, ServerUnavailable

_GLIBC = (2, 35)  # its binaries ask for symbols of this version


def is_installed() -> bool:
    return find_spec("pytriton") is not None


def find() -> Path:
    """The tritonserver folder inside the wheel.

    Raises ServerUnavailable where the wheel is not installed, and ServerError where it cannot run on this machine.
    """
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None:
        raise ServerUnavailable(
            "Triton is not installed: pip install 'raybench[triton]', or name one by --url triton=HOST:PORT"
        )
    if reason := unfit():
        raise ServerError(reason)
    return Path(spec.origin).parent / "tritonserver"


def unfit() -> str | None:
    """Why a Triton from the wheel cannot run on this machine, in one sentence with the remedy; None where it can."""
    return _old_glibc(platform.libc_ver()) or _garbling_numpy(_numpy_version()) or _no_libpython(libpython())


def libpython() -> Path | None:
    """Python's shared library, which the python backend's stub loads."""
    name = sysconfig.get_config_var("INSTSONAME") or ""
    folders = [sysconfig.get_config_var("LIBDIR"), f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}", "/usr/lib64"]
    paths = (Path(folder) / name for folder in folders if folder and name.endswith(".so.1.0"))
    return next((path for path in paths if path.exists()), None)


def assemble_backends(tritonserver: Path, folder: Path) -> Path:
    """The python backend beside the stub that belongs to the running Python."""
    python = folder / "python"
    python.mkdir(parents=True)
    for file in (tritonserver / "backends" / "python").iterdir():
        (python / file.name).symlink_to(file)
    stub = tritonserver / "python_backend_stubs" / f"3.{sys.version_info.minor}" / "triton_python_backend_stub"
    shutil.copy(stub, python)  # the wheel's copy is not executable
    (python / stub.name).chmod(0o755)
    return folder


def environment(tritonserver: Path) -> dict[str, str]:
    """What the stub needs: it ignores PYTHONPATH, and the first python3 on PATH decides its packages."""
    python_library = libpython()
    libraries = [str(tritonserver.parent.parent / "nvidia_pytriton.libs")]
    libraries += [str(python_library.parent)] if python_library else []
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return {
        **os.environ,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join([*libraries, *([inherited] if inherited else [])]),
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    }


def _old_glibc(found: tuple[str, str]) -> str | None:
    name, number = found
    known = tuple(int(part) for part in number.split(".")[:2] if part.isdecimal())
    if name == "glibc" and known >= _GLIBC:
        return None
    return (
        f"the C library is {' '.join(filter(None, found)) or 'unknown'}, and Triton's wheel needs glibc "
        f"{_GLIBC[0]}.{_GLIBC[1]} or newer: use a newer system (Debian 12, Ubuntu 22.04), or a Triton elsewhere by "
        f"--url triton=HOST:PORT"
    )


def _garbling_numpy(number: str | None) -> str | None:
    if number is not None and int(number.split(".")[0]) < 2:
        return None
    return (
        f"numpy is {number or 'missing'}, and Triton's python backend garbles data with 2 without an error: "
        f"pip install 'numpy<2'"
    )


def _no_libpython(found: Path | None) -> str | None:
    if found is not None:
        return None
    name = f"libpython3.{sys.version_info.minor}"
    return (
        f"this Python has no shared library ({name}.so.1.0), which Triton's python backend loads: "
        f"install it (Debian: {name}) or use a Python built with --enable-shared"
    )


def _numpy_version() -> str | None:
    try:
        return version("numpy")
    except PackageNotFoundError:
        return None

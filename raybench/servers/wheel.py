"""The tritonserver inside the nvidia-pytriton wheel: what it needs of this machine, and how it is run here."""

import os
import platform
import shutil
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from raybench.servers.server_process import ServerError, ServerUnavailable

_GLIBC = (2, 35)  # its binaries ask for symbols of this version
# Triton's two models, saved_model and echo, have a stub each, with a region of 64 MiB: with 64 MiB Triton does not
# start, with 128 a run succeeds.
SHARED_MEMORY, SHARED_MIB = Path("/dev/shm"), 128
_SCRATCH = "set TMPDIR to a folder"
# glibc gives the buffers of a request (2.4 MB for 16 images) back to the kernel after each one and faults them in again
# for the next: in 5 rounds on 2 cores keeping them served 16 images 1.5 to 1.8 times as often, 1 and 100 images 1.04 to
# 1.4 times (tests/benchmarks/allocator.py). mallopt(3) has them.
_MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(2**30),
    "MALLOC_TRIM_THRESHOLD_": str(2**32),
    "MALLOC_TOP_PAD_": str(2**26),
}


@dataclass(frozen=True)
class UnsupportedReason:
    """Why a Triton from the wheel cannot run on this machine, and the remedy."""

    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.problem}: {self.remedy}"


def find() -> Path:
    """The tritonserver folder inside the wheel.

    Raises ServerUnavailable where the wheel is not installed, and ServerError where it cannot run on this machine.
    """
    folder = installed()
    if folder is None:
        raise ServerUnavailable(
            "Triton is not installed: pip install 'raybench[triton]', or name a running one with --url triton=HOST:PORT"
        )
    if reason := unsupported_reason():
        raise ServerError(str(reason))
    return folder


def unsupported_reason() -> UnsupportedReason | None:
    """Why a Triton from the wheel cannot run on this machine; None where it can."""
    return (
        glibc_problem(platform.libc_ver())
        or numpy_problem(_numpy_version())
        or libpython_problem(libpython())
        or scratch_problem()
        or shared_memory_problem(free_mib(SHARED_MEMORY))
    )


def installed() -> Path | None:
    """The tritonserver folder inside the wheel, whether it can run here or not; None where there is no wheel."""
    spec = find_spec("pytriton")
    return Path(spec.origin).parent / "tritonserver" if spec and spec.origin else None


def stub(tritonserver: Path) -> Path:
    """Where the wheel has the stub that belongs to the running Python, if it has one."""
    return tritonserver / "python_backend_stubs" / f"3.{sys.version_info.minor}" / "triton_python_backend_stub"


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
    copy = shutil.copy(stub(tritonserver), python)
    Path(copy).chmod(0o755)  # the wheel's own is not executable
    return folder


def malloc() -> dict[str, str]:
    """The allocator's settings for Triton; none where the user's environment chooses an allocator or its settings."""
    is_chosen = any(name in ("LD_PRELOAD", "GLIBC_TUNABLES") or name.startswith("MALLOC_") for name in os.environ)
    return {} if is_chosen else _MALLOC


def environment(tritonserver: Path) -> dict[str, str]:
    """What the stub needs: it ignores PYTHONPATH, and the first python3 on PATH decides its packages."""
    python_library = libpython()
    libraries = [str(tritonserver.parent.parent / "nvidia_pytriton.libs")]
    libraries += [str(python_library.parent)] if python_library else []
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return {
        **os.environ,
        **malloc(),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "LD_LIBRARY_PATH": os.pathsep.join([*libraries, *([inherited] if inherited else [])]),
        "TF_CPP_MIN_LOG_LEVEL": os.environ.get("TF_CPP_MIN_LOG_LEVEL", "2"),
    }


def glibc_problem(found: tuple[str, str]) -> UnsupportedReason | None:
    """What is wrong with a C library, as platform.libc_ver() names it; None where it is supported."""
    name, number = found
    known = tuple(int(part) for part in number.split(".")[:2] if part.isdecimal())
    if name == "glibc" and known >= _GLIBC:
        return None
    return UnsupportedReason(
        f"the C library is {' '.join(filter(None, found)) or 'unknown'}, but Triton's wheel needs glibc "
        f"{_GLIBC[0]}.{_GLIBC[1]} or newer",
        "use a newer system (Debian 12, Ubuntu 22.04), or a running Triton elsewhere with --url triton=HOST:PORT",
    )


def numpy_problem(number: str | None) -> UnsupportedReason | None:
    """What is wrong with a version of numpy (None: not installed); None where it is supported."""
    if number is not None and int(number.split(".")[0]) < 2:
        return None
    return UnsupportedReason(
        f"numpy is {number or 'missing'}, but with numpy 2 Triton's python backend corrupts data without an error",
        "pip install 'numpy<2'",
    )


def libpython_problem(found: Path | None) -> UnsupportedReason | None:
    """What is wrong with a Python whose shared library was found there, or nowhere; None where it is supported."""
    if found is not None:
        return None
    name = f"libpython3.{sys.version_info.minor}"
    return UnsupportedReason(
        f"this Python has no shared library ({name}.so.1.0), which Triton's python backend loads",
        f"install it (Debian: {name}) or use a Python built with --enable-shared",
    )


def scratch_problem() -> UnsupportedReason | None:
    """What is wrong with the folder of temporary files, from which the stub is run; None where it is supported."""
    try:
        folder = tempfile.gettempdir()
    except FileNotFoundError:
        return UnsupportedReason("no folder for temporary files is writable", f"{_SCRATCH} that can")
    if os.statvfs(folder).f_flag & os.ST_NOEXEC:
        problem = f"{folder} is mounted noexec, and Triton's python backend runs a program from there"
        return UnsupportedReason(problem, f"{_SCRATCH} where programs may run")
    return None


def shared_memory_problem(found_mib: float | None) -> UnsupportedReason | None:
    """What is wrong with /dev/shm that has so much free (None: not writable); None where it is supported."""
    if found_mib is None:
        return UnsupportedReason(
            f"{SHARED_MEMORY} is missing or not writable", "mount a tmpfs there that everyone may write to"
        )
    if found_mib >= SHARED_MIB:
        return None
    return UnsupportedReason(
        f"{SHARED_MEMORY} has {found_mib:.0f} MiB free, but Triton's python backend takes {SHARED_MIB}",
        "empty or enlarge it (docker run --shm-size=1g)",
    )


def free_mib(folder: Path) -> float | None:
    """The space free there; None where it is not writable."""
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return None
    return shutil.disk_usage(folder).free / 2**20


def _numpy_version() -> str | None:
    try:
        return version("numpy")
    except PackageNotFoundError:
        return None

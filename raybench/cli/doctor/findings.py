"""Facts about a machine -> whether `raybench run --workers 4` can run on it, with the fix where it cannot; pure."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from raybench.cli.doctor.machine import ShmSpace
from raybench.cli.doctor.programs import ProgramOutput
from raybench.cli.exit_codes import WRONG_USAGE
from raybench.servers.wheel import SHARED_MIB, UnsupportedReason, shared_memory_problem

WORKS, FAILS, NOTE = "works", "does not work", "note"
_WORKERS = 4
_MIB = 2**20
# Measured on 2 cores, with efficientnetb0-no-opt, as the PSS of everything that a run consists of: 3.3 GiB, and 4.2 GiB
# where a first run exports the model before.
_MEMORY_MIB, _EXPORT_MIB = 4096, 5120
# Ray 2.60, resolve_object_store_memory: 30 % of what is available, and 10 GB where /dev/shm has less.
_STORE_SHARE, _STORE_MIB = 0.3, 10e9 / _MIB


@dataclass(frozen=True)
class Finding:
    """What was examined, its status, what was found, and the remedy; a FAILS prevents `raybench run --workers 4`."""

    topic: str
    status: str
    detail: str
    remedy: str | None = None


@dataclass(frozen=True)
class Package:
    """A distribution that raybench requires, and the version of it that is installed here."""

    requirement: Requirement
    installed: str | None

    @property
    def unmet(self) -> str | None:
        """What is wrong with it; None where it is as required."""
        name, wanted = self.requirement.name, self.requirement.specifier
        if self.installed is None:
            return f"{name} is missing"
        if not wanted.contains(self.installed, prereleases=True):
            return f"{name} is {self.installed}, not {wanted}"
        return None

    @property
    def for_pip(self) -> str:
        extras = ",".join(sorted(self.requirement.extras))
        return f"'{self.requirement.name}{f'[{extras}]' if extras else ''}{self.requirement.specifier}'"


def system(name: str, machine: str) -> Finding:
    if (name, machine) == ("linux", "x86_64"):
        return _works("system", "Linux on x86-64")
    return _fails("system", f"{name} on {machine}", "use Linux on x86-64: that is what Triton's wheel is built for")


def python(number: str, wanted: SpecifierSet) -> Finding:
    if wanted.contains(number, prereleases=True):
        return _works("Python", number)
    return _fails("Python", f"{number}, but raybench needs {wanted}", "install raybench with Python 3.11 or 3.12")


def supported(topic: str, found: object, reason: UnsupportedReason | None) -> Finding:
    """Whether what was found is supported, which it is without a reason against it."""
    return _unsupported(topic, reason) if reason else _works(topic, str(found))


def packages(required: Sequence[Package]) -> Finding:
    wrong = [package for package in required if package.unmet]
    if not wrong:
        return _works("packages", f"{len(required)} other required packages are installed, in suitable versions")
    detail = ", ".join(str(package.unmet) for package in wrong)
    return _fails("packages", detail, f"pip install {' '.join(package.for_pip for package in wrong)}")


def ray(package: Package, started: ProgramOutput | None) -> Finding:
    """Its last line says what it found; where it does not start, the sentence with which a run would end."""
    if started and started.exit_code == WRONG_USAGE:
        return _refused("Ray", started.last_words)
    words = started.last_words if started else ""
    return _unusable("Ray", package, started) or _works("Ray", f"{package.installed} {words}")


def tensorflow(package: Package, imported: ProgramOutput | None, nvidia_smi: ProgramOutput | None) -> Finding:
    """The last word of its output is the number of GPUs that it sees."""
    if failure := _unusable("TensorFlow", package, imported):
        return failure
    seen = int(imported.stdout.split()[-1]) if imported else 0
    there = len(_gpus(nvidia_smi))
    if seen or not there:
        return _works("TensorFlow", f"{package.installed} imports, and sees {_counted(seen, 'GPU')}")
    return _fails(
        "TensorFlow",
        f"{package.installed} imports, but sees none of {_counted(there, 'GPU')}: models would run on the CPU",
        f"pip install 'tensorflow[and-cuda]=={package.installed}', and check CUDA_VISIBLE_DEVICES and LD_LIBRARY_PATH",
    )


def triton_wheel(package: Package, python_minor: int, *, has_stub: bool) -> Finding:
    if package.unmet:
        return _fails("Triton's wheel", package.unmet, f"pip install {package.for_pip}")
    if not has_stub:
        detail = f"{package.installed} has no python backend stub for Python 3.{python_minor}"
        return _fails("Triton's wheel", detail, "install raybench with Python 3.11 or 3.12")
    return _works("Triton's wheel", f"nvidia-pytriton {package.installed}, with a stub for Python 3.{python_minor}")


def tritonserver(output: ProgramOutput | None, package: Package) -> Finding:
    """Without a model repository it prints its version and ends."""
    found = re.search(r"server_version\s*\|\s*(\S+)", f"{output.stdout}{output.stderr}") if output else None
    return _works("tritonserver", f"{found[1]} starts") if found else _does_not_start("tritonserver", output, package)


def python_stub(output: ProgramOutput | None, package: Package) -> Finding:
    """Without arguments it asks for them, once it has loaded Python's shared library."""
    if output and re.search(r"Expected \d+ arguments", output.stderr):
        return _works("python backend", "its stub starts")
    return _does_not_start("python backend", output, package)


def gpu(nvidia_smi: ProgramOutput | None) -> Finding:
    if nvidia_smi is None:
        return _note("GPU", "none: there is no nvidia-smi here; models run on the CPU")
    if nvidia_smi.exit_code != 0:
        detail = f"nvidia-smi: {nvidia_smi.last_words}"
        return _note("GPU", detail, "repair the NVIDIA driver; until then models run on the CPU")
    if not (gpus := _gpus(nvidia_smi)):
        return _note("GPU", "none: nvidia-smi lists no GPU; models run on the CPU")
    names = ", ".join(f"{name} ({memory})" for name, memory, _ in gpus)
    return _works("GPU", f"{names}, driver {gpus[0][2]}")


def docker(output: ProgramOutput | None) -> Finding:
    """Its output is the version of the client, then that of the daemon."""
    if output is None:
        return _note("Docker", "none; not needed: Triton comes from the wheel")
    if output.exit_code == 0:
        return _works("Docker", f"client and daemon, {' and '.join(output.stdout.split())}")
    detail = f"a client without a running daemon: {output.last_words}"
    return _note("Docker", detail, "start the daemon if you want to use it; `run --workers 4` does not need it")


def tf_serving(binary: ProgramOutput | None, docker: ProgramOutput | None) -> Finding:
    """The binary prints its version and TensorFlow's, and ends."""
    if binary and (version := re.search(r"ModelServer: (\S+)", binary.stdout)) and binary.exit_code == 0:
        return _works("TF Serving", f"tensorflow_model_server {version[1]} on PATH starts")
    if binary:
        detail = f"tensorflow_model_server on PATH does not start: {binary.last_words}"
        return _note(
            "TF Serving", detail, "install what it asks for, or take it off PATH; `run --workers 4` does not need it"
        )
    if docker and docker.exit_code == 0:
        return _works("TF Serving", "Docker's image, which is fetched at first use")
    remedy = "put tensorflow_model_server on PATH, start Docker, or name a running one with --url tfserving=HOST:PORT"
    return _note("TF Serving", "none: its rows are skipped; `run --workers 4` does not need it", remedy)


def cores(usable: float, of_host: int) -> Finding:
    detail = f"{usable:g} of this host's {of_host}"
    if usable >= _WORKERS:
        return _works("cores", detail)
    remedy = f"use at most {_counted(max(1, int(usable)), 'worker')} with more lanes each (--concurrency)"
    return _note("cores", f"{detail}: {_WORKERS} workers and a server compete for them", remedy)


def memory(available_mib: float) -> Finding:
    detail = f"{available_mib / 1024:.1f} GiB available"
    if available_mib < _MEMORY_MIB:
        detail += (
            f", and a run with Ray, {_WORKERS} workers and a server with one model needs {_MEMORY_MIB // 1024} GiB"
        )
        return _fails("memory", detail, "stop other programs, raise the container's limit, or use a larger host")
    if available_mib < _EXPORT_MIB:
        detail += f": a run fits, exporting a model first needs {_EXPORT_MIB // 1024} GiB"
        return _note("memory", detail, "export the model on another host and copy the folder models")
    return _works("memory", detail)


def shared_memory(found: ShmSpace | None, available_mib: float) -> Finding:
    if reason := shared_memory_problem(found.free_mib if found else None):
        return _unsupported("/dev/shm", reason)
    assert found
    store_mib = min(_STORE_SHARE * available_mib, _STORE_MIB)
    detail = f"{found.free_mib:.0f} MiB free of {found.total_mib:.0f}"
    if found.free_mib < store_mib:
        remedy = f"empty or enlarge it (docker run --shm-size={ceil((store_mib + SHARED_MIB) / 1024)}g)"
        return _note(
            "/dev/shm", f"{detail}: Ray keeps its objects in its temporary folder instead, which is slower", remedy
        )
    return _works("/dev/shm", detail)


def dashboard_port(number: int, *, is_free: bool) -> Finding:
    if is_free:
        return _works(f"port {number}", "free for Ray's dashboard")
    return _note(f"port {number}", "in use: Ray's dashboard gets another one, and the run prints its url")


def serve_port(number: int, *, is_free: bool) -> Finding:
    if is_free:
        return _works(f"port {number}", "free for raybench serve triton")
    return _note(f"port {number}", "in use: a run picks another one, raybench serve triton does not", "give it --port")


def folder(path: str, refusal: str | None) -> Finding:
    """Whether results can be written below a folder; `refusal` is the sentence with which a run would end."""
    return _refused("folder", refusal) if refusal else _works("folder", f"{path} can hold models and results")


def _unusable(topic: str, package: Package, imported: ProgramOutput | None) -> Finding | None:
    if package.unmet:
        return _fails(topic, package.unmet, f"pip install {package.for_pip}")
    if imported is None or imported.exit_code != 0:
        detail = f"{package.installed} does not import{f': {imported.last_words}' if imported else ''}"
        return _fails(topic, detail, f"pip install --force-reinstall {package.for_pip}")
    return None


def _does_not_start(topic: str, output: ProgramOutput | None, package: Package) -> Finding:
    detail = f"does not start: {output.last_words}" if output else "missing"
    return _fails(topic, detail, f"install what it asks for, or pip install --force-reinstall {package.for_pip}")


def _gpus(nvidia_smi: ProgramOutput | None) -> list[list[str]]:
    """Name, memory and driver of each GPU."""
    lines = nvidia_smi.stdout.splitlines() if nvidia_smi and nvidia_smi.exit_code == 0 else []
    rows = [[part.strip() for part in line.split(",")] for line in lines]
    return [row for row in rows if len(row) == 3]


def _counted(count: int, noun: str) -> str:
    return f"{count or 'no'} {noun}{'' if count == 1 else 's'}"


def _refused(topic: str, sentence: str) -> Finding:
    """What a run would refuse, in its words."""
    detail, remedy = re.split("[;:] ", sentence, maxsplit=1)
    return _fails(topic, detail, remedy)


def _unsupported(topic: str, reason: UnsupportedReason) -> Finding:
    return _fails(topic, reason.problem, reason.remedy)


def _works(topic: str, detail: str) -> Finding:
    return Finding(topic, WORKS, detail)


def _fails(topic: str, detail: str, remedy: str) -> Finding:
    return Finding(topic, FAILS, detail, remedy)


def _note(topic: str, detail: str, remedy: str | None = None) -> Finding:
    return Finding(topic, NOTE, detail, remedy)

"""raybench doctor: what works on this machine, what does not, and the remedy."""

import os
import platform
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from rich.console import Console
from rich.table import Table
from rich.text import Text

from raybench.cli.doctor import findings, machine, programs
from raybench.cli.doctor.findings import FAILS, NOTE, WORKS, Finding, Package
from raybench.cli.doctor.programs import Question
from raybench.servers import model_server, wheel

_DASHBOARD_PORT = 8265  # Ray's default
_SERVE_PORT = 8001  # raybench serve's
_RUN_PORTS = 3  # gRPC, HTTP and metrics of one Triton
_IMPORT_S = 60.0
_ANSWER_S = 20.0  # nvidia-smi without persistence mode wakes every GPU first
_LOADER = "/lib64/ld-linux-x86-64.so.2"  # runs the wheel's stub, which is not executable
_IMPORT_RAY = "import ray.data, ray.dashboard.optional_deps"
_IMPORT_TENSORFLOW = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
_STYLES = {WORKS: "green", FAILS: "bold red", NOTE: "yellow"}


def examine() -> tuple[Finding, ...]:
    """A finding for everything that the main job rests on, in the order in which one would mend it."""
    system = findings.system(sys.platform, platform.machine())
    if system.status == FAILS:
        return (system,)  # nothing below could be asked there
    required = _required()
    return (system, *_python(required), *_programs(required), *_resources())


def verdict(found: Sequence[Finding]) -> str | None:
    """What prevents the main job; None where it can run."""
    return ", ".join(finding.what for finding in found if finding.status == FAILS) or None


def print_findings(console: Console, found: Sequence[Finding]) -> None:
    """A line for each finding, and one for all of them; only a terminal has its lines wrapped."""
    prevented = verdict(found)
    last = f"the main job cannot run here: {prevented}" if prevented else "the main job can run here"
    if console.is_terminal:
        console.print(_table(found))
        console.print(last, style=_STYLES[FAILS if prevented else WORKS], highlight=False)
    else:
        lines = [f"{each.status:13}  {each.what:14}  {_told(each)}" for each in found]
        console.print("\n".join([*lines, last]), soft_wrap=True, markup=False, highlight=False)


def _table(found: Sequence[Finding]) -> Table:
    table = Table.grid(padding=(0, 2))
    for each in found:
        table.add_row(Text(each.status, _STYLES[each.status]), Text(each.what), Text(_told(each)))
    return table


def _told(finding: Finding) -> str:
    return f"{finding.said}; {finding.remedy}" if finding.remedy else finding.said


def _python(required: Mapping[str, Package]) -> tuple[Finding, ...]:
    libpython, libc, numpy = wheel.libpython(), platform.libc_ver(), required["numpy"].installed
    own_line = {"numpy", "ray", "tensorflow", "nvidia-pytriton"}
    return (
        findings.python(platform.python_version(), SpecifierSet(metadata("raybench")["Requires-Python"])),
        findings.unless(wheel.no_libpython(libpython), "shared library", libpython),
        findings.unless(wheel.old_glibc(libc), "glibc", libc[1]),
        findings.unless(wheel.garbling_numpy(numpy), "numpy", numpy),
        findings.packages([package for name, package in required.items() if name not in own_line]),
    )


def _programs(required: Mapping[str, Package]) -> tuple[Finding, ...]:
    """What answers for itself; TensorFlow is imported in a process of its own."""
    triton, pytriton = wheel.installed(), required["nvidia-pytriton"]
    answers = programs.answers(_questions(triton))
    has_stub = triton is not None and wheel.stub(triton).exists()
    return (
        findings.ray(required["ray"], answers["ray"]),
        findings.tensorflow(required["tensorflow"], answers["tensorflow"], answers["nvidia-smi"]),
        findings.triton_wheel(pytriton, sys.version_info.minor, has_stub=has_stub),
        findings.tritonserver(answers.get("tritonserver"), pytriton),
        findings.python_stub(answers.get("stub"), pytriton),
        findings.gpu(answers["nvidia-smi"]),
        findings.docker(answers["docker"]),
        findings.tf_serving(answers["docker"], is_on_path=model_server.is_on_path()),
    )


def _resources() -> tuple[Finding, ...]:
    available_mib, here = machine.available_mib(), Path.cwd()
    return (
        findings.cores(machine.cores(), os.cpu_count() or 1),
        findings.memory(available_mib),
        findings.shared_memory(machine.shared_memory(), available_mib),
        findings.ports(machine.ports_trouble(_RUN_PORTS)),
        findings.dashboard_port(_DASHBOARD_PORT, is_free=machine.is_free(_DASHBOARD_PORT)),
        findings.serve_port(_SERVE_PORT, is_free=machine.is_free(_SERVE_PORT)),
        findings.folder(str(here), is_writable=os.access(here, os.W_OK | os.X_OK)),
    )


def _required() -> dict[str, Package]:
    """What raybench and its extra [triton] require, by name; pyproject.toml alone says which versions."""
    declared = [Requirement(line) for line in requires("raybench") or ()]
    wanted = [each for each in declared if each.marker is None or each.marker.evaluate({"extra": "triton"})]
    return {each.name: Package(each, _version(each.name)) for each in wanted}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _questions(triton: Path | None) -> dict[str, Question]:
    python = (sys.executable, "-P", "-c")  # without -P a folder named ray would be taken for Ray
    gpus = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    versions = "{{.Client.Version}} {{if .Server}}{{.Server.Version}}{{end}}"
    asked = {
        "tensorflow": Question((*python, _IMPORT_TENSORFLOW), _IMPORT_S),
        "ray": Question((*python, _IMPORT_RAY), _IMPORT_S),
        "nvidia-smi": Question(gpus, _ANSWER_S),
        "docker": Question(("docker", "version", "--format", versions), _ANSWER_S),
    }
    if triton is None:
        return asked
    environment = wheel.environment(triton)
    return asked | {
        "tritonserver": Question((str(triton / "bin" / "tritonserver"),), _ANSWER_S, environment),
        "stub": Question((_LOADER, str(wheel.stub(triton))), _ANSWER_S, environment),
    }

"""Collect a finding for each prerequisite of `raybench run --workers 4`."""

import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from raybench import config
from raybench.cli.doctor import findings, machine, programs
from raybench.cli.doctor.findings import FAILS, Finding, Package
from raybench.cli.doctor.programs import Program
from raybench.config import ConfigError
from raybench.driver import ray_prerequisites
from raybench.models import visible_gpus
from raybench.servers import model_server, wheel
from raybench.telemetry import host_limits

DASHBOARD_PORT = 8265  # Ray's default
SERVE_PORT = 8001  # raybench serve's
ANSWER_S = 20.0  # nvidia-smi without persistence mode wakes every GPU first
_IMPORT_S = 60.0
_START_S = 180.0  # on a busy host
_LOADER = "/lib64/ld-linux-x86-64.so.2"  # runs the wheel's stub, which is not executable


def examine() -> tuple[Finding, ...]:
    """A finding for each prerequisite, in the order in which one would fix them."""
    system = findings.system(sys.platform, platform.machine())
    if system.status == FAILS:
        return (system,)  # the other checks are for Linux alone
    required = required_packages()
    return (system, *_python(required), *_programs(required), *_resources())


def required_packages() -> dict[str, Package]:
    """What raybench and its extra [triton] require, by name; pyproject.toml alone says which versions."""
    declared = [Requirement(line) for line in requires("raybench") or ()]
    wanted = [each for each in declared if each.marker is None or each.marker.evaluate({"extra": "triton"})]
    return {each.name: Package(each, installed_version(each.name)) for each in wanted}


def installed_version(name: str) -> str | None:
    """The version of a distribution that is installed here; None where it is not."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def programs_to_run(tritonserver: Path | None) -> dict[str, Program]:
    """The programs whose output is examined, by name; those of Triton's wheel only where it is installed."""
    gpus = ("nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader")
    versions = "{{.Client.Version}} {{if .Server}}{{.Server.Version}}{{end}}"
    found = {
        "tensorflow": Program(visible_gpus.COMMAND, _IMPORT_S),
        "ray": Program((sys.executable, "-P", "-m", "raybench.driver.rehearsal"), _START_S),
        "nvidia-smi": Program(gpus, ANSWER_S),
        "docker": Program(("docker", "version", "--format", versions), ANSWER_S),
        "tf-serving": Program((model_server.BINARY, "--version"), ANSWER_S),
    }
    return found | (_programs_of_the_wheel(tritonserver) if tritonserver else {})


def _programs_of_the_wheel(tritonserver: Path) -> dict[str, Program]:
    environment = wheel.environment(tritonserver)
    return {
        "tritonserver": Program((str(tritonserver / "bin" / "tritonserver"),), ANSWER_S, environment),
        "stub": Program((_LOADER, str(wheel.stub(tritonserver))), ANSWER_S, environment),
    }


def _python(required: Mapping[str, Package]) -> tuple[Finding, ...]:
    libpython, libc, numpy = wheel.libpython(), platform.libc_ver(), required["numpy"].installed
    own_line = {"numpy", "ray", "tensorflow", "nvidia-pytriton"}
    return (
        findings.python(platform.python_version(), SpecifierSet(metadata("raybench")["Requires-Python"])),
        findings.supported("shared library", libpython, wheel.libpython_problem(libpython)),
        findings.supported("glibc", libc[1], wheel.glibc_problem(libc)),
        findings.supported("numpy", numpy, wheel.numpy_problem(numpy)),
        findings.packages([package for name, package in required.items() if name not in own_line]),
    )


def _programs(required: Mapping[str, Package]) -> tuple[Finding, ...]:
    """What programs print about themselves; TensorFlow is imported in a process of its own."""
    tritonserver, pytriton = wheel.installed(), required["nvidia-pytriton"]
    outputs = programs.run_all(programs_to_run(tritonserver))
    has_stub = tritonserver is not None and wheel.stub(tritonserver).exists()
    return (
        findings.ray(required["ray"], outputs["ray"]),
        findings.tensorflow(required["tensorflow"], outputs["tensorflow"], outputs["nvidia-smi"]),
        findings.triton_wheel(pytriton, sys.version_info.minor, has_stub=has_stub),
        findings.tritonserver(outputs.get("tritonserver"), pytriton),
        findings.python_stub(outputs.get("stub"), pytriton),
        findings.gpu(outputs["nvidia-smi"]),
        findings.docker(outputs["docker"]),
        findings.tf_serving(outputs["tf-serving"], outputs["docker"]),
    )


def _resources() -> tuple[Finding, ...]:
    available_mib, here = host_limits.available_mib(), Path.cwd()
    variable, temporary = ray_prerequisites.temporary_folder()
    unfit = ray_prerequisites.folder_problem() or wheel.scratch_problem()
    return (
        findings.cores(host_limits.cores(), os.cpu_count() or 1),
        findings.memory(available_mib),
        findings.shared_memory(machine.shared_memory(), available_mib),
        findings.supported("ports", "free ports on 127.0.0.1", ray_prerequisites.ports_problem()),
        findings.dashboard_port(DASHBOARD_PORT, is_free=machine.is_free(DASHBOARD_PORT)),
        findings.serve_port(SERVE_PORT, is_free=machine.is_free(SERVE_PORT)),
        findings.folder(str(here), _refusal_of_results()),
        findings.supported("temporary files", f"{temporary} takes Ray's and Triton's ({variable})", unfit),
    )


def _refusal_of_results() -> str | None:
    """The sentence with which a run would end that cannot write its results here."""
    try:
        from raybench.results import results_folder  # with packages that may be missing, which another line says
    except ImportError:
        return None
    try:
        results_folder.check_out(config.load(None, {}))
    except ConfigError as error:
        return str(error)
    return None

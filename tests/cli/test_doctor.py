"""`raybench doctor`: what works on this machine, what does not, and the remedy."""

import io
import os
import platform
import re
import signal
import socket
import subprocess
import tomllib
from collections.abc import Callable
from math import inf
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import psutil
import pytest
from click.testing import CliRunner
from packaging.requirements import Requirement
from real_parts import BIN, eventually, raybench
from rich.console import Console

from raybench.cli import main
from raybench.cli.doctor import examine, findings, findings_table, machine, programs
from raybench.cli.doctor.machine import ShmSpace
from raybench.cli.doctor.programs import Program, ProgramOutput
from raybench.config import ConfigError
from raybench.driver import ray_prerequisites
from raybench.results import results_folder
from raybench.servers import wheel
from raybench.servers.wheel import UnsupportedReason
from raybench.telemetry import host_limits

TOPICS = {
    "system", "Python", "shared library", "glibc", "numpy", "packages", "Ray", "TensorFlow", "Triton's wheel",
    "tritonserver", "python backend", "GPU", "Docker", "TF Serving", "cores", "memory", "/dev/shm", "ports",
    "port 8265", "port 8001", "folder", "temporary files",
}  # fmt: skip
# What these programs said on real machines, the GPU's one an H100.
VERSION_TABLE = (
    "| server_version                   | 2.51.0            |\nerror: --model-repository must be specified\n"
)
STUB = "I1122 19:13:03.511116 7208 pb_stub.cc:2059]  Expected 9 arguments, found 1 arguments.\n"
H100 = ProgramOutput(0, "NVIDIA H100 80GB HBM3, 81559 MiB, 580.159.04\n")
NO_DRIVER = ProgramOutput(9, "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n\n")
NO_DAEMON = ProgramOutput(1, "28.2.2 \n", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock.\n")
NO_LIBRARY = ProgramOutput(127, "", "stub: error while loading shared libraries: libpython3.11.so.1.0: cannot open\n")
NO_LIBSTDCXX = ProgramOutput(127, "", "libstdc++.so.6: cannot open\n")
TF_SERVING = ProgramOutput(0, "TensorFlow ModelServer: 2.18.1\nTensorFlow Library: 2.18.1\n")
NO_MODULE = ProgramOutput(1, "", "Traceback\nNo module named 'aiohttp'\n")
HANGS = ProgramOutput(None, stderr="it hangs: no answer in 20 s")
SOUND: dict[str, ProgramOutput | None] = {
    "tensorflow": ProgramOutput(0, "0\n"),
    "ray": ProgramOutput(0, "starts\n"),
    "nvidia-smi": None,
    "docker": None,
    "tf-serving": None,
    "tritonserver": ProgramOutput(1, "", VERSION_TABLE),
    "stub": ProgramOutput(1, "", STUB),
}

PROC = {**os.environ, "TMPDIR": "/proc/x"}
NOEXEC = UnsupportedReason("/tmp is mounted noexec", "set TMPDIR to a folder where programs may run")
NO_RAY = "Ray does not start on this host (it timed out): free memory and processes\n"

Change = tuple[Any, str, Any]  # of a module, the attribute, and what it is instead


def printing(**changed: ProgramOutput | None) -> Change:
    """Programs that print what they do on a sound machine, but for these."""
    outputs = {**SOUND, **{name.replace("_", "-"): output for name, output in changed.items()}}
    return programs, "run_all", lambda _: outputs


def installed(**changed: str | None) -> Change:
    """Distributions as they are here, but for these versions; None is not installed."""
    versions = {package.requirement.name: package.installed for package in examine.required_packages().values()}
    versions |= {name.replace("_", "-"): number for name, number in changed.items()}
    return examine, "installed_version", versions.get


def here(name: str, value: Any) -> Change:
    """A fact about this machine that is another."""
    return host_limits if hasattr(host_limits, name) else machine, name, lambda *_: value


def exhausted(_: int) -> list[int]:
    raise OSError(98, "Address already in use")


def full(_: object) -> None:
    raise ConfigError("out is results; nothing can be written there (Permission denied): name another folder")


@pytest.fixture
def diagnose(monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, dict[str, tuple[str, str]], str]]:
    """Run the command on a sound machine with some changes: exit code, status and text by topic, last line."""
    sound = (printing(), here("cores", 8), here("available_mib", 16_000.0), here("is_free", True))
    sound += (here("shared_memory", ShmSpace(8_000, 8_000)),)

    def run(*changes: Change) -> tuple[int, dict[str, tuple[str, str]], str]:
        for change in (*sound, *changes):
            monkeypatch.setattr(*change)
        done = CliRunner().invoke(main, ["doctor"])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        *lines, last = done.output.splitlines()
        return done.exit_code, by_topic(lines), last

    return run


def by_topic(lines: list[str]) -> dict[str, tuple[str, str]]:
    cells = [re.split(r"\s{2,}", line, maxsplit=2) for line in lines]
    return {what: (status, said) for status, what, said in cells}


def program(folder: Path, name: str, *lines: str) -> str:
    """A program of that name that does these lines of shell."""
    path = folder / name
    path.write_text("\n".join(["#!/bin/sh", *lines]))
    path.chmod(0o755)
    return str(path)


def hanging(folder: Path, name: str) -> str:
    """A program that notes its pid and its child's, ignores SIGTERM, and never ends."""
    return program(
        folder, name, "trap '' TERM", "sleep 600 &", f"echo $$ $! > {folder}/pids", "while :; do sleep 1; done"
    )


def noted_pids(folder: Path) -> list[int]:
    path = folder / "pids"
    return [int(word) for word in path.read_text().split()] if path.exists() else []


def none_alive(pids: list[int]) -> bool:
    return all(not psutil.pid_exists(pid) or psutil.Process(pid).status() == "zombie" for pid in pids)


def test_this_machine(tmp_path: Path) -> None:
    """Where the tests run, it can run: a line for every topic, no need of a GPU or Docker, no file left."""
    run = raybench("doctor", cwd=tmp_path, env=dict(os.environ))
    assert run.code == 0, run.out + run.err
    *lines, last = run.out.splitlines()
    topics = by_topic(lines)
    assert (set(topics), len(lines)) == (TOPICS, len(TOPICS))
    assert {status for status, _ in topics.values()} <= {"works", "note"}
    assert topics["tritonserver"] == ("works", "2.51.0 starts")
    assert topics["TensorFlow"][1].startswith("2.21.")
    assert topics["Ray"][1].endswith(" starts")
    assert last == "raybench run --workers 4 can run here"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("what", "words", "change"),
    [
        ("Python", ["3.13.1", "3.11 or 3.12"], (platform, "python_version", lambda: "3.13.1")),
        ("Python", ["3.10.4", "3.11 or 3.12"], (platform, "python_version", lambda: "3.10.4")),
        ("shared library", ["libpython3.", "--enable-shared"], (wheel, "libpython", lambda: None)),
        ("glibc", ["2.31", "2.35", "Ubuntu 22.04"], (platform, "libc_ver", lambda: ("glibc", "2.31"))),
        ("glibc", ["unknown", "2.35"], (platform, "libc_ver", lambda: ("", ""))),
        ("numpy", ["2.1.0", "pip install 'numpy<2'"], installed(numpy="2.1.0")),
        ("numpy", ["missing", "pip install 'numpy<2'"], installed(numpy=None)),
        ("packages", ["pyarrow is 26.0.0", "pip install 'pyarrow<26,>=19'"], installed(pyarrow="26.0.0")),
        ("packages", ["scipy is missing", "tritonclient[grpc]"], installed(scipy=None, tritonclient="2.0")),
        ("Ray", ["missing", "pip install 'ray[data,default]<2.61,>=2.60'"], installed(ray=None)),
        ("Ray", ["2.61.0", "pip install"], installed(ray="2.61.0")),
        ("Ray", ["2.59.1", "pip install"], installed(ray="2.59.1")),
        ("Ray", ["No module named 'aiohttp'"], printing(ray=NO_MODULE)),
        ("TensorFlow", ["missing", "pip install 'tensorflow<2.22,>=2.21'"], installed(tensorflow=None)),
        ("TensorFlow", ["hangs"], printing(tensorflow=HANGS)),
        ("TensorFlow", ["none of 1 GPU", "tensorflow[and-cuda]=="], printing(nvidia_smi=H100)),
        ("TensorFlow", ["SIGILL"], printing(tensorflow=ProgramOutput(132, "", "a warning\n"))),
        ("Triton's wheel", ["missing", "pip install 'nvidia-pytriton==0.7.0'"], installed(nvidia_pytriton=None)),
        ("Triton's wheel", ["no python backend stub"], (wheel, "stub", lambda _: Path("/nowhere"))),
        ("tritonserver", ["hangs"], printing(tritonserver=HANGS)),
        ("tritonserver", ["libstdc++.so.6"], printing(tritonserver=NO_LIBSTDCXX)),
        ("python backend", ["libpython3.11.so.1.0"], printing(stub=NO_LIBRARY)),
        ("memory", ["3.9 GiB", "needs 4"], here("available_mib", 3_999.0)),
        ("/dev/shm", ["not writable"], here("shared_memory", None)),
        ("/dev/shm", ["64 MiB free", "takes 128", "--shm-size"], here("shared_memory", ShmSpace(64, 64))),
        ("ports", ["Address already in use"], (ray_prerequisites, "free_ports", exhausted)),
        ("folder", ["out is results", "Permission denied"], (results_folder, "check_out", full)),
        ("temporary files", ["TMPDIR is '/proc/x'", "such as /tmp"], (os, "environ", PROC)),
        ("temporary files", ["noexec", "set TMPDIR"], (wheel, "scratch_problem", lambda: NOEXEC)),
        ("Ray", ["does not start on this host", "free memory"], printing(ray=ProgramOutput(2, NO_RAY))),
    ],
)  # fmt: skip
def test_what_prevents_the_main_job(what: str, words: list[str], change: Change, diagnose: Any) -> None:
    """What `run --workers 4` cannot do without has a line with the fact and the remedy, and the command exits 1."""
    code, topics, last = diagnose(change)
    status, said = topics[what]
    assert status == "does not work"
    assert all(word in said for word in words), said
    assert "; " in said  # and the remedy
    assert (code, last) == (1, f"raybench run --workers 4 cannot run here: {what}")
    assert set(topics) == TOPICS


@pytest.mark.parametrize(
    ("what", "words", "change"),
    [
        ("GPU", ["none", "CPU"], printing(nvidia_smi=None)),
        ("GPU", ["nvidia-smi", "hangs", "driver"], printing(nvidia_smi=HANGS)),
        ("GPU", ["couldn't communicate with the NVIDIA driver"], printing(nvidia_smi=NO_DRIVER)),
        ("GPU", ["lists no GPU"], printing(nvidia_smi=ProgramOutput(0, "No devices were found\n"))),
        ("Docker", ["none", "wheel"], printing(docker=None)),
        ("Docker", ["Cannot connect to the Docker daemon", "start the daemon"], printing(docker=NO_DAEMON)),
        ("Docker", ["hangs"], printing(docker=HANGS)),
        ("TF Serving", ["rows are skipped", "PATH", "Docker", "--url"], printing(docker=NO_DAEMON)),
        ("TF Serving", ["does not start", "libstdc++.so.6"], printing(tf_serving=NO_LIBSTDCXX)),
        ("TF Serving", ["does not start", "hangs"], printing(tf_serving=HANGS)),
        ("cores", ["1.5 of this host's", "at most 1 worker "], here("cores", 1.5)),
        ("memory", ["4.5 GiB", "export", "needs 5"], here("available_mib", 4_600.0)),
        ("/dev/shm", ["4000 MiB free of 5000", "temporary"], here("shared_memory", ShmSpace(5_000, 4_000))),
        ("port 8265", ["in use", "gets another"], here("is_free", False)),
        ("port 8001", ["in use", "--port"], here("is_free", False)),
    ],
)
def test_what_the_main_job_does_without(what: str, words: list[str], change: Change, diagnose: Any) -> None:
    """What a run can do without is a note that says what it means, and the command exits 0."""
    code, topics, last = diagnose(change)
    status, said = topics[what]
    assert status == "note"
    assert all(word in said for word in words), said
    assert (code, last) == (0, "raybench run --workers 4 can run here")


def test_a_machine_with_everything(diagnose: Any) -> None:
    """GPUs are named with memory and driver, Docker with client and daemon, TensorFlow counts the GPUs it sees, and TF
    Serving's binary is tried."""
    docker = ProgramOutput(0, "28.2.2 27.5.1\n")
    _, topics, _ = diagnose(
        printing(nvidia_smi=H100, docker=docker, tensorflow=ProgramOutput(0, "1\n"), tf_serving=TF_SERVING)
    )
    assert {status for status, _ in topics.values()} == {"works"}
    assert topics["GPU"][1] == "NVIDIA H100 80GB HBM3 (81559 MiB), driver 580.159.04"
    assert topics["Docker"][1] == "client and daemon, 28.2.2 and 27.5.1"
    assert topics["TensorFlow"][1].endswith("sees 1 GPU")
    assert topics["TF Serving"][1] == "tensorflow_model_server 2.18.1 on PATH starts"


def test_without_the_wheel_nothing_of_it_is_started(diagnose: Any) -> None:
    """Without Triton's wheel the other lines are still there, and none says that a tritonserver works."""
    outputs = {name: SOUND[name] for name in ("tensorflow", "ray", "nvidia-smi", "docker", "tf-serving")}
    no_wheel = (wheel, "installed", lambda: None)
    code, topics, last = diagnose(no_wheel, installed(nvidia_pytriton=None), (programs, "run_all", lambda _: outputs))
    assert (code, set(topics)) == (1, TOPICS)
    assert last == "raybench run --workers 4 cannot run here: Triton's wheel, tritonserver, python backend"


def test_a_foreign_system_is_the_only_finding(diagnose: Any) -> None:
    """Where raybench cannot run at all, the command says so and asks nothing that only Linux could answer."""
    code, topics, last = diagnose((platform, "machine", lambda: "arm64"), (programs, "run_all", None))
    assert (code, set(topics)) == (1, {"system"})
    assert last == "raybench run --workers 4 cannot run here: system"


def test_versions_are_those_of_pyproject() -> None:
    """Which versions are wanted is said in pyproject.toml alone, and the extra [triton] counts."""
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    declared = [Requirement(line) for line in (*project["dependencies"], *project["optional-dependencies"]["triton"])]
    found = [package.requirement for package in examine.required_packages().values()]
    assert {(each.name, str(each.specifier)) for each in found} == {(d.name, str(d.specifier)) for d in declared}


def test_the_port_of_serve_is_its_default() -> None:
    """The port that is looked at is the one that `raybench serve triton` takes."""
    serve = main.commands["serve"]
    assert isinstance(serve, click.Group)
    (port,) = [option.default for option in serve.commands["triton"].params if option.name == "port"]
    assert port == examine.SERVE_PORT


def test_a_terminal_shows_what_a_pipe_shows() -> None:
    """A narrow terminal has aligned columns that wrap, and loses no word."""
    said, remedy = "3 [brackets] and a long line " * 5 + "here", "pip install 'ray[data]'"
    found = (findings.Finding("GPU", findings.NOTE, "none"), findings.Finding("Ray", findings.FAILS, said, remedy))
    shown = io.StringIO()
    findings_table.print_findings(Console(file=shown, force_terminal=True, color_system=None, width=60), found)
    *lines, last = [line.rstrip() for line in shown.getvalue().splitlines()]
    assert lines[0] == "note           GPU  none"
    assert " ".join(line[20:] for line in lines[1:]) == f"{said}; {remedy}"
    assert last == "raybench run --workers 4 cannot run here: Ray"


def test_a_program_that_hangs_is_ended(tmp_path: Path) -> None:
    """A program that neither answers nor obeys SIGTERM is said to hang, and is gone afterwards with its children."""
    command = hanging(tmp_path, "nvidia-smi")
    output = programs.run_all({"gpu": Program((command,), deadline_s=1)})["gpu"]
    assert output is not None
    assert (output.exit_code, output.last_words) == (None, "it hangs: no answer in 1 s")
    pids = noted_pids(tmp_path)
    assert len(pids) == 2
    assert eventually(lambda: none_alive(pids))


def test_a_hanging_nvidia_smi_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, diagnose: Any) -> None:
    """nvidia-smi is found on PATH and asked with a deadline; when it hangs, the rest of the findings still come."""
    hanging(tmp_path, "nvidia-smi")
    program(tmp_path, "docker", "echo 28.2.2", "echo 'permission denied: docker.sock' >&2", "exit 1")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(examine, "ANSWER_S", 1)
    real = programs.run_all

    def run_some(asked: dict[str, Program]) -> dict[str, ProgramOutput | None]:
        return SOUND | real({name: asked[name] for name in ("nvidia-smi", "docker")})

    code, topics, _ = diagnose((programs, "run_all", run_some))
    assert topics["GPU"] == (
        "note", "nvidia-smi: it hangs: no answer in 1 s; repair the NVIDIA driver; until then models run on the CPU"
    )  # fmt: skip
    assert topics["Docker"][1].startswith("a client without a running daemon: permission denied: docker.sock")
    assert (code, set(topics)) == (0, TOPICS)


@pytest.mark.parametrize(
    "how",
    [signal.SIGTERM, *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGKILL))],
)
def test_an_ended_doctor_leaves_no_program(how: signal.Signals, tmp_path: Path) -> None:
    """Interrupted or killed, the command takes the programs that it asked with it."""
    program(tmp_path, "nvidia-smi", "sleep 600 &", f"echo $$ $! > {tmp_path}/pids", "wait")
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    process = subprocess.Popen([BIN / "raybench", "doctor"], env=environment, stdout=-1, stderr=-1)
    try:
        assert eventually(lambda: len(noted_pids(tmp_path)) == 2, timeout_s=60)
        family = [child.pid for child in psutil.Process(process.pid).children(recursive=True)]
        process.send_signal(how)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode != 0
    assert eventually(lambda: none_alive([*family, *noted_pids(tmp_path)]))


def test_programs_are_asked_at_once(tmp_path: Path) -> None:
    """The slow imports do not wait for each other: two programs that wait for one another both end."""
    commands = {
        name: program(tmp_path, name, f"touch {tmp_path}/{name}-is-here",
                      f"until test -e {tmp_path}/{other}-is-here; do sleep 0.1; done")
        for name, other in (("one", "other"), ("other", "one"))
    }  # fmt: skip
    outputs = programs.run_all({name: Program((command,), 60) for name, command in commands.items()})
    assert [output and output.exit_code for output in outputs.values()] == [0, 0]


def test_a_talkative_program_answers(tmp_path: Path) -> None:
    """A program that prints more than a pipe holds, before anybody reads it, still ends."""
    command = program(tmp_path, "loud", "head -c 1000000 /dev/zero | tr '\\0' x", "echo; echo last")
    output = programs.run_all({"loud": Program((command,), 60)})["loud"]
    assert output is not None
    assert (output.exit_code, output.last_words) == (0, "last")


def test_a_program_that_is_not_there() -> None:
    """A program that is not on PATH has no output, which is not an error."""
    assert programs.run_all({"gpu": Program(("no-such-program",), 60)}) == {"gpu": None}


@pytest.mark.slow
def test_a_folder_named_ray_is_not_ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Libraries are imported from where they are installed, not from the folder in which the command is typed."""
    (tmp_path / "ray.py").write_text("raise SystemExit(3)")
    monkeypatch.chdir(tmp_path)
    output = programs.run_all({"ray": examine.programs_to_run(None)["ray"]})["ray"]
    assert output is not None
    assert output.exit_code == 0, output.stderr


def limited(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)
    return folder


@pytest.mark.parametrize(
    ("files", "left"),
    [
        ({"memory__max": "1000\n", "memory__current": "900\n", "memory__stat": "anon 1\ninactive_file 300\n"}, 400),
        ({"memory__max": "max\n", "memory__current": "900\n", "memory__stat": "inactive_file 300\n"}, inf),
        ({"memory__limit_in_bytes": "1000\n", "memory__usage_in_bytes": "900\n",
          "memory__stat": "total_inactive_file 50\n"}, 150),
        ({}, inf),
    ],
)  # fmt: skip
def test_memory_of_a_container(files: dict[str, str], left: float, tmp_path: Path) -> None:
    """A container's memory is its limit less what it uses, but for the page cache, which it would give back."""
    assert host_limits.memory_left(limited(tmp_path, **files)) == left


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu__max": "150000 100000\n"}, 1.5),
        ({"cpu__max": "max 100000\n"}, inf),
        ({"cpu__cfs_quota_us": "200000\n", "cpu__cfs_period_us": "100000\n"}, 2),
        ({"cpu__cfs_quota_us": "-1\n", "cpu__cfs_period_us": "100000\n"}, inf),
        ({}, inf),
    ],
)
def test_cores_of_a_container(files: dict[str, str], cores: float, tmp_path: Path) -> None:
    """A container's cores are its quota, of cgroup v2 or v1."""
    assert host_limits.cpu_quota(limited(tmp_path, **files)) == cores


@pytest.mark.parametrize(
    ("membership", "folders"),
    [
        ("0::/pod/box\n", ["pod/box", "pod", "."]),
        ("4:memory:/pod\n2:cpu,cpuacct:/pod\n0::/\n", ["memory/pod", "memory", "."]),
        ("2:cpu,cpuacct:/\n", []),
    ],
)
def test_every_cgroup_above_counts(membership: str, folders: list[str], tmp_path: Path) -> None:
    """A limit holds wherever it is set: on this process's own cgroup or on one above, in v2 or v1."""
    assert list(host_limits.cgroups("memory", membership, tmp_path)) == [tmp_path / name for name in folders]


def test_the_smallest_limit_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cores and memory are the least that host, affinity and cgroups leave, whatever the host has in all."""
    files = {"cpu__max": "50000 100000", "memory__max": str(2**30), "memory__current": "0", "memory__stat": ""}
    box = limited(tmp_path / "box", **files)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5, 7})
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=3 * 2**30))
    monkeypatch.setattr(host_limits, "cgroups", lambda _: iter([tmp_path]))
    assert (host_limits.cores(), host_limits.available_mib()) == (3, 3 * 1024)
    monkeypatch.setattr(host_limits, "cgroups", lambda _: iter([box, tmp_path]))
    assert (host_limits.cores(), host_limits.available_mib()) == (0.5, 1024)


def test_a_port_with_a_listener_is_taken() -> None:
    """A port on which somebody listens, on any address, is not free; once it is closed, it is."""
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        assert not machine.is_free(port)
    assert machine.is_free(port)


def test_ports_that_cannot_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where loopback gives no port, the finding has the system's own reason; here it gives some."""
    assert ray_prerequisites.ports_problem() is None
    monkeypatch.setattr(ray_prerequisites, "free_ports", exhausted)
    assert "Address already in use" in str(ray_prerequisites.ports_problem())


def test_shared_memory_that_nobody_can_use(tmp_path: Path) -> None:
    """A missing /dev/shm has no size; one that is there has what its file system says."""
    assert machine.shared_memory(tmp_path / "shm") is None
    found = machine.shared_memory(tmp_path)
    assert found
    assert 0 < found.free_mib <= found.total_mib

"""What we start ends when we do, however we end."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from real_parts import eventually

from raybench.processes import _end, process_tree, stop_supervised, supervised, sweeping_processes

STUBBORN = "trap '' TERM; echo up; while true; do sleep 0.1; done"
STARTS_IT = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"


def supervised_by_another(command: list[str]) -> "subprocess.Popen[str]":
    """A process that runs a command under a supervisor, after the command has printed that it is up."""
    starts_it = STARTS_IT.replace("sys.argv[1:]", "supervised(sys.argv[1:])")
    code = f"from raybench.processes import supervised; {starts_it}"
    parent = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    assert parent.stdout.readline() == "up\n"
    return parent


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("script", [STUBBORN, STUBBORN.replace("trap '' TERM; ", "")], ids=["stubborn", "obedient"])
def test_a_supervised_command_ends_with_its_parent(how: signal.Signals, script: str) -> None:
    """However its parent ends, a supervised command is gone soon after, also one that ignores SIGTERM."""
    parent = supervised_by_another(["sh", "-c", script])
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) >= 2
    parent.send_signal(how)
    parent.wait(timeout=5)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_orphans_of_a_command_end_with_it(tmp_path: Path) -> None:
    """Processes that a command leaves, as a killed Triton leaves its stubs, end; files that it leaves are removed."""
    left = tmp_path / "left-1"
    left.write_text("")
    script = "sleep 600 & echo $!"
    done = subprocess.run(
        supervised(["sh", "-c", script], sweep=(str(tmp_path / "left-*"),)), capture_output=True, text=True, timeout=30,
        check=True,
    )  # fmt: skip
    assert eventually(lambda: not psutil.pid_exists(int(done.stdout)))
    assert not left.exists()


def test_a_killed_supervisor_has_a_fallback_reaper(tmp_path: Path) -> None:
    """Where the supervisor is killed too, as Ray does it, its server still ends and its files are removed."""
    left, scratch = tmp_path / "left-1", tmp_path / "scratch"
    left.write_text("")
    scratch.mkdir()
    command = supervised(["sh", "-c", STUBBORN], sweep=(str(tmp_path / "left-*"),), sweep_if_alone=(str(scratch),))
    supervisor = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE)
    assert supervisor.stdout
    assert supervisor.stdout.readline() == b"up\n"
    family = psutil.Process(supervisor.pid).children(recursive=True)
    supervisor.kill()
    supervisor.wait(timeout=5)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert eventually(lambda: not left.exists())
    assert scratch.exists()  # this process is alive, and removes it itself


@pytest.mark.parametrize("wait_s", [0, 0.02, 0.05, 0.1, 0.2])
def test_a_parent_that_is_killed_at_once_leaves_no_folder(wait_s: float, tmp_path: Path) -> None:
    """However early the one who starts a supervised command is killed, its scratch folder goes."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    command = supervised(["sleep", "600"], sweep_if_alone=(str(scratch),))
    command[command.index(str(os.getpid()))] = "$$"
    words = shlex.join(command).replace("'$$'", "$$")  # the shell is the parent
    starts_it = f"{words} & sleep {wait_s}; kill -KILL $$"
    subprocess.run(["sh", "-c", starts_it], check=False, timeout=30)
    assert eventually(lambda: not scratch.exists())


KILL = "os.kill(os.getpid(), 9)"


@pytest.mark.parametrize(("at_once", "end"), [("0", "pass"), ("0", KILL), (KILL, "pass")])
def test_a_scratch_folder_goes_with_who_made_it(at_once: str, end: str, tmp_path: Path) -> None:
    """A folder that a run needs is gone after it, also where the run was killed, be it at once."""
    code = (
        "import os, pathlib; from raybench.processes import scratch_folder\n"
        f"make = pathlib.Path.mkdir\n"
        f"pathlib.Path.mkdir = lambda *a, **k: (make(*a, **k), print(a[0], flush=True), {at_once})\n"
        f"with scratch_folder('raybench-test-') as made:\n    assert made.is_dir(); {end}"
    )
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60, check=False, env=environment
    )
    assert Path(done.stdout.strip()).name.startswith("raybench-test-")
    assert done.returncode == (-9 if KILL in (at_once, end) else 0)
    assert eventually(lambda: list(tmp_path.iterdir()) == [])


@pytest.mark.parametrize("end", ["pass", KILL])
def test_what_came_during_the_block_is_removed(end: str, tmp_path: Path) -> None:
    """Folders that a library makes under names of its own are removed, be we killed; those from before stay."""
    (tmp_path / "session_1").mkdir()
    code = (
        "import os, pathlib; from raybench.processes import sweeping_processes\n"
        f"with sweeping_processes('', new_files='{tmp_path}/session_*'):\n"
        f"    pathlib.Path('{tmp_path}/session_2').mkdir(); print('made', flush=True); {end}"
    )
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.stdout == "made\n"
    assert eventually(lambda: [each.name for each in tmp_path.iterdir()] == ["session_1"])


def test_what_holds_a_swept_file_open_ends_with_the_block(tmp_path: Path) -> None:
    """A process that a library started for us is found by the log that it keeps open, and ends; another stays."""
    with (tmp_path / "log").open("w") as log, (tmp_path / "other").open("w") as other:
        with sweeping_processes(f"{tmp_path}/lo*"):
            ours = subprocess.Popen(["sleep", "600"], stdout=log)
            another = subprocess.Popen(["sleep", "600"], stdout=other)
        assert ours.wait(timeout=5) == -signal.SIGTERM
        assert another.poll() is None
        another.kill()


def test_the_dead_are_not_waited_for() -> None:
    """A process that has ended is not waited for, also where its parent never asks: so are those of a Ray that ends."""
    with subprocess.Popen(["sh", "-c", "sleep 600 & exec sleep 600"]) as parent:
        assert eventually(lambda: bool(process_tree(parent.pid)[1:]))
        (orphan,) = process_tree(parent.pid)[1:]
        began_s = time.monotonic()
        _end([orphan], patience_s=60)
        took_s, status = time.monotonic() - began_s, orphan.status()
        parent.kill()
    assert status == psutil.STATUS_ZOMBIE
    assert took_s < 30


@pytest.mark.parametrize("script", [STUBBORN, STUBBORN.replace("trap '' TERM; ", "")], ids=["stubborn", "obedient"])
def test_a_stopped_command_is_gone_when_the_call_returns(script: str) -> None:
    """Stopping a supervised command ends its whole process tree, also where it ignores SIGTERM, the supervisor last."""
    process = subprocess.Popen(supervised(["sh", "-c", script]), stdout=subprocess.PIPE, text=True)
    assert process.stdout
    assert process.stdout.readline() == "up\n"
    family = process_tree(process.pid)
    assert len(family) >= 2
    stop_supervised(process, 0.5)
    assert process.returncode is not None
    assert [each for each in family if each.is_running()] == []
    assert process_tree(process.pid) == []

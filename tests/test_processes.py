"""What we start ends when we do, however we end."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from real_parts import eventually

from raybench.processes import guarded, watched

STUBBORN = "trap '' TERM; echo up; while true; do sleep 0.1; done"
STARTS_IT = "import subprocess, sys, time; subprocess.Popen(sys.argv[1:]); time.sleep(600)"


def guarded_by_another(command: list[str]) -> "subprocess.Popen[str]":
    """A process that runs a command under a guardian, and has heard it say that it is up."""
    code = f"from raybench.processes import guarded; {STARTS_IT.replace('sys.argv[1:]', 'guarded(sys.argv[1:])')}"
    parent = subprocess.Popen([sys.executable, "-c", code, *command], stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    assert parent.stdout.readline() == "up\n"
    return parent


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
@pytest.mark.parametrize("script", [STUBBORN, STUBBORN.replace("trap '' TERM; ", "")], ids=["stubborn", "obedient"])
def test_a_guarded_command_ends_with_its_parent(how: signal.Signals, script: str) -> None:
    """However its parent ends, a guarded command is gone soon after, also one that ignores SIGTERM."""
    parent = guarded_by_another(["sh", "-c", script])
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) >= 2
    parent.send_signal(how)
    parent.wait(timeout=5)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []


def test_orphans_of_a_command_end_with_it(tmp_path: Path) -> None:
    """What a command leaves behind, as Triton leaves its stubs when it is killed, ends; what it names is swept up."""
    left = tmp_path / "left-1"
    left.write_text("")
    script = "sleep 600 & echo $!"
    done = subprocess.run(
        guarded(["sh", "-c", script], sweep=(str(tmp_path / "left-*"),)), capture_output=True, text=True, timeout=30,
        check=True,
    )  # fmt: skip
    assert eventually(lambda: not psutil.pid_exists(int(done.stdout)))
    assert not left.exists()


def test_a_killed_guardian_has_an_heir(tmp_path: Path) -> None:
    """Where the guardian is killed too, as Ray does it, its server ends and is swept up behind as ever."""
    left, scratch = tmp_path / "left-1", tmp_path / "scratch"
    left.write_text("")
    scratch.mkdir()
    command = guarded(["sh", "-c", STUBBORN], sweep=(str(tmp_path / "left-*"),), sweep_if_alone=(str(scratch),))
    guardian = subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE)
    assert guardian.stdout
    assert guardian.stdout.readline() == b"up\n"
    family = psutil.Process(guardian.pid).children(recursive=True)
    guardian.kill()
    guardian.wait(timeout=5)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert alive == []
    assert eventually(lambda: not left.exists())
    assert scratch.exists()  # this process is alive, and removes it itself


def test_what_holds_a_file_of_ours_open_ends_with_the_block(tmp_path: Path) -> None:
    """A process that a library started for us is found by the log that it keeps open, and ends; another stays."""
    with (tmp_path / "log").open("w") as log, (tmp_path / "other").open("w") as other:
        with watched(f"{tmp_path}/lo*"):
            ours = subprocess.Popen(["sleep", "600"], stdout=log)
            another = subprocess.Popen(["sleep", "600"], stdout=other)
        assert ours.wait(timeout=5) == -signal.SIGTERM
        assert another.poll() is None
        another.kill()

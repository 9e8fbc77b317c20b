"""The process that measures, and the one that watches it: however the first ends, the second says so in a sentence."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from real_parts import eventually, is_alive, wait_for_line

# What is measured here is a few lines, in place of a run; what the watching process makes of it, it prints.
WATCHED = """
import ctypes, os, signal, subprocess, sys, threading, time
from pathlib import Path
from raybench.cli.measuring_process import Outcome, Reached, measure_watched
from raybench.cli.signals import install_signal_handlers

def orderly(end_s=0.0):
    try:
        print("up", os.getpid(), flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        time.sleep(end_s)
        return Outcome(130)

def threads():
    for _ in range(50):
        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
    time.sleep(0.2)

def work(tell):
    tell(Reached("warming up"))
    {work}

install_signal_handlers()
outcome, reached = measure_watched(work, in_flight_s=0, prepare=lambda: print("prepared", flush=True))
print("said:", outcome.code, outcome.sentence, "lost" if outcome.is_lost else "", flush=True)
sys.exit(outcome.code)
"""
UP = """
import os, time
def up():
    print("up", os.getpid(), flush=True)
    time.sleep(60)
"""
STARTS_ANOTHER = (
    'part = subprocess.Popen(["sleep", "60"], preexec_fn=lambda: ctypes.CDLL(None).prctl(1, signal.SIGKILL)); '
    'tell(Reached("warming up", None, {part.pid: "the part"}))'
)  # it dies with the measuring process, as the parts of Ray do


@contextmanager
def watched(work: str, setup: str = "", words: Sequence[str] = ()) -> "Iterator[subprocess.Popen[str]]":
    """A process that has `work` done by a measuring process, in a process group of its own."""
    command = [*words, sys.executable, "-c", setup + WATCHED.format(work=work)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def measuring(process: "subprocess.Popen[str]") -> psutil.Process:
    """The measuring process, when it is up."""
    return psutil.Process(int(wait_for_line(process, "up")[-1].split()[1]))


@pytest.mark.parametrize(
    ("work", "code", "said"),
    [
        ('return Outcome(2, "no such model")', 2, "no such model"),
        ("os.kill(os.getpid(), signal.SIGKILL)", 1, "the measuring process was ended by SIGKILL"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", 1, "the measuring process was ended by SIGSEGV"),
        ("os._exit(7)", 1, "the measuring process ended with exit code 7"),
        ("os._exit(0)", 1, "the measuring process ended with exit code 0"),
        ("return dict()['x']", 1, "raybench itself failed: KeyError: 'x'"),
        (f"{STARTS_ANOTHER}; part.kill(); return orderly()", 1, "the part (pid "),
        (f"{STARTS_ANOTHER}; threads(); os.kill(os.getpid(), signal.SIGKILL)", 1, "process was ended by SIGKILL"),
        (f"{STARTS_ANOTHER}; tell(Reached()); part.kill(); return Outcome(5, 'as said')", 5, "as said"),
    ],
)
def test_every_end_is_a_sentence(work: str, code: int, said: str) -> None:
    """Whatever becomes of the measuring process there is an exit code and a sentence: what was lost, and when."""
    with watched(work) as process:
        out, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert said in out
    assert ("lost" in out) == ("during the step “warming up”" in out)


@pytest.mark.parametrize(
    ("work", "is_prepared"),
    [(f"{STARTS_ANOTHER}; tell(Reached('the end')); return Outcome()", True), ("return Outcome()", False)],
)
def test_what_follows_is_prepared_while_ray_ends(work: str, is_prepared: bool) -> None:
    """The report's imports happen once, when nothing is measured any more and Ray ends."""
    with watched(work) as process:
        out, err = process.communicate(timeout=60)
    assert out.splitlines() == ["prepared"] * is_prepared + ["said: 0 None "], err


def test_what_the_measuring_process_leaves_is_ended() -> None:
    """What a lost measuring process had started, and does not end by itself, has ended when the sentence is printed."""
    leaves = "print(subprocess.Popen(['sleep', '600'], stdout=-3, start_new_session=True).pid, flush=True); os._exit(7)"
    with watched(leaves, "import raybench.cli.measuring_process as m; m._LEFT_S = 0.5") as process:
        out, err = process.communicate(timeout=60)
    assert "exit code 7" in out, err
    assert not psutil.pid_exists(int(out.split()[0]))


def test_what_a_shell_gave_us_before_is_neither_waited_for_nor_ended() -> None:
    """The `tee` of `raybench run 2> >(tee log)` is a child of raybench, and ends after it."""
    setup = 'import subprocess; print("other", subprocess.Popen(["sleep", "60"]).pid, flush=True)\n'
    with watched("return Outcome(0)", setup) as process:
        said = wait_for_line(process, "said:")
        other = psutil.Process(int(next(line for line in said if line.startswith("other")).split()[1]))
        assert other.status() != psutil.STATUS_ZOMBIE
        other.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_that_come_together_are_one(number: signal.Signals) -> None:
    """`timeout` sends its signal to the command and to its group: that is one interrupt, and an orderly end."""
    with watched("return orderly(1.0)") as process:
        child = measuring(process)
        assert os.getsid(child.pid) != os.getsid(process.pid)
        os.killpg(process.pid, number)
        os.kill(process.pid, number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert out.startswith("said: 130 interrupted during the step “")


@pytest.mark.parametrize(
    ("work", "setup", "is_lost"),
    [
        ("sys.last = type('Last', (), {'__del__': lambda _: up()})(); del sys.last; return orderly()", UP, False),
        ("signal.signal(signal.SIGINT, lambda *_: os._exit(1)); return orderly()", "", True),
        ("threads(); signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT}); return orderly()", "", False),
    ],
    ids=["Python drops it in a destructor", "Ray ends the process", "it does not end a wait, as one just before it"],
)
def test_an_interrupt_is_an_interrupt_wherever_it_arrives(work: str, setup: str, is_lost: bool) -> None:
    """One that Python or Ray takes for itself still ends the run with 130 and its sentence, and without a traceback."""
    with watched(work, setup) as process:
        measuring(process)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert out.strip().endswith("said: 130 interrupted during the step “warming up”" + " lost" * is_lost)


def test_the_step_of_an_interrupt_is_the_last_one_before_it() -> None:
    """A step that the watching process, on a busy host, had not heard of yet is still the one that was interrupted."""
    stopped = "os.kill(os.getppid(), signal.SIGSTOP); {}; os.kill(os.getppid(), signal.SIGCONT); ended = orderly()"
    interrupted = 'tell(Reached("measuring")); os.kill(os.getppid(), signal.SIGINT)'
    work = f'{stopped.format(interrupted)}; tell(Reached("writing")); return ended'
    with watched(work) as process:
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (130, "")
    assert "said: 130 interrupted during the step “measuring”" in out


def test_a_second_signal_ends_at_once() -> None:
    """A second signal ends at once what an orderly end would take too long for, and leaves nothing."""
    with watched("return orderly(600)") as process:
        child = measuring(process)
        process.send_signal(signal.SIGINT)
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        assert process.returncode == 130, err
        assert (out, err) == ("", "Error: ended at once; nothing was measured\n")
        assert eventually(lambda: not is_alive(child))


def test_an_end_that_hangs_has_a_deadline() -> None:
    """A measuring process that does not end after an interrupt is killed, and the sentence says so."""
    with watched(
        "return orderly(600)", "import raybench.cli.measuring_process as m; m._ORDERLY_END_S = 1.0"
    ) as process:
        measuring(process)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "the run had not ended 1 s after the interrupt, and was killed" in out


def test_nobody_measures_alone() -> None:
    """Where the watching process is killed, the measuring one ends too."""
    with watched("return orderly(600)") as process:
        child = measuring(process)
        process.kill()
        assert eventually(lambda: not is_alive(child))


@pytest.mark.parametrize(
    "words",
    [
        ["run", "-s", "fake", "--workers", "1"],
        ["search", "-s", "fake", "--latency-threshold", "p99<1s", "--request-rate-range", "5:20"],
    ],
)
def test_the_fork_comes_before_threads(words: list[str], tmp_path: Path) -> None:
    """Nothing that starts threads is imported when the measuring process is forked: a lock of theirs could be held."""
    code = (
        "import os, sys\n"
        "def fork():\n"
        "    print(*{name.partition('.')[0] for name in sys.modules}, flush=True)\n"
        "    os._exit(0)\n"
        "os.fork = fork\n"
        f"sys.argv = ['raybench', *{words}, '--out', {str(tmp_path)!r}]\n"
        "from raybench.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    held = set(done.stdout.split())
    assert "raybench" in held, done.stderr
    assert held & {"ray", "grpc", "pyarrow", "pandas", "tensorflow", "tritonclient", "matplotlib"} == set()


def test_nohup_is_kept() -> None:
    """A run under nohup goes on when the terminal closes."""
    with watched("return orderly()", words=["nohup"]) as process:
        measuring(process)
        process.send_signal(signal.SIGHUP)
        time.sleep(0.3)
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 130


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_output_that_nobody_takes_ends_nothing(unbuffered: str) -> None:
    """A closed terminal, or a reader that has left such as head, costs the output and not the measurement."""
    code = (
        "import os, sys; from raybench.cli.console import keep_printing; keep_printing(); "
        "sys.stdin.read(); print('lost', flush=True); print('lost too', flush=True); os.write(2, b'measured')"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment, stdin=-1, stdout=-1, stderr=-1)
    assert process.stdout
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, b"measured")

"""End each process of a run in each phase, and write down what a user sees: python tests/faults/end_each_process.py OUT

Every case is a run of the real command in a folder of its own, one process of which is sent a signal in one phase. What
came of it is a line of OUT/cases.jsonl: exit code, sentence, table, whether the report can be made again, and what was
left. Cases that are there are not run again, and one whose run never reached its phase is not written; `--table` writes
them as Markdown. A case takes half a minute.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))

from tiny_models import write_tiny_models

RAYBENCH = Path(sys.executable).with_name("raybench")
MARK = "RAYBENCH_CASE"
PHASE_S, END_S, GONE_S = 240.0, 240.0, 15.0
SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "HUP": signal.SIGHUP, "INT": signal.SIGINT}

FAKE = ("-s", "fake", "--url", "fake=service_ms=5", "--workers", "2", "--duration", "15", "--no-verify")
TRITON = ("-s", "triton", "-m", "mobilenet-no-opt", "-b", "1", "--workers", "2", "--duration", "15")
EXPORT = ("-s", "local", "-m", "mobilenet-no-opt", "--workers", "1", "--request-count", "20", "--models", "exported")
LONG_WARM_UP = ("--warmup-request-count", "4000")

# By phase: the arguments of the run, the line of its output with which the phase begins, and how long after it to wait.
PHASES: dict[str, tuple[tuple[str, ...], str, float]] = {
    "exporting": (EXPORT, "exporting", 4),
    "starting Ray": (FAKE, "starting Ray", 3),
    "making inputs": (FAKE, "reading inputs", 1),
    "starting the server": (TRITON, "starting triton", 2),
    "warming up": ((*FAKE, *LONG_WARM_UP), "trial 1/1", 4),
    "measuring": (FAKE, "running.json", 4),
    "measuring a server": (TRITON, "running.json", 4),
    "verifying": (TRITON, "checking the answers", 0.5),
    "reporting": (FAKE, "images per request", 0),
}

COMMAND = ("raybench", "the measuring process", "the process group")
RAY = ("gcs_server", "raylet", "dashboard agent", "dashboard")
SERVER = ("tritonserver", "a stub of Triton")
VICTIMS: dict[str, tuple[str, ...]] = {
    "exporting": (*COMMAND, "the exporter"),
    "measuring": (*COMMAND, *RAY, "a worker"),
    "verifying": (*COMMAND, "raylet", "gcs_server", "tritonserver"),
    "measuring a server": SERVER,
    "starting Ray": (*COMMAND, "gcs_server"),
    "starting the server": (*COMMAND, "raylet", *SERVER),
    "warming up": (*COMMAND, "raylet", "gcs_server", "a worker"),
    "reporting": ("raybench", "the process group"),
    "making inputs": (*COMMAND, "raylet", "gcs_server"),
}

# How a process is known: by a part of its command line or its name.
TITLES = {
    "the exporter": "raybench export",
    "gcs_server": "gcs/gcs_server",
    "raylet": "raylet/raylet --",
    "dashboard agent": "ray::DashboardAgent",
    "dashboard": "dashboard/dashboard.py",
    "a worker": "ray::_Worker",
    "tritonserver": "tritonserver",
    "a stub of Triton": "triton_python_backend_stub",
}


@dataclass(frozen=True)
class Case:
    """A process that is sent a signal in a phase."""

    phase: str
    victim: str
    signal: str

    @property
    def name(self) -> str:
        return f"{self.phase} {self.victim} {self.signal}"


@dataclass(frozen=True)
class Found:
    """What came of a case."""

    case: Case
    code: int | None
    ended_s: float
    sentence: str
    has_table: bool
    way_on: str
    samples: int | None
    report_code: int
    left: tuple[str, ...]
    wrong: tuple[str, ...]


def cases() -> Iterator[Case]:
    """All cases, the most telling ones first."""
    every = [(phase, victim) for phase, victims in VICTIMS.items() for victim in victims]
    yield from (Case(*each, "KILL") for each in every if each[1] != COMMAND[2])
    yield from (Case(phase, COMMAND[2], name) for name in ("TERM", "HUP", "INT") for phase in VICTIMS)
    yield from (Case(*each, name) for name in ("TERM", "HUP") for each in every if each[1] != COMMAND[2])


def tried(case: Case, models: Path) -> Found:
    """Run a case in a folder of its own, with a TMPDIR of its own."""
    arguments, begins, wait_s = PHASES[case.phase]
    with tempfile.TemporaryDirectory(prefix="case-", dir="/tmp") as name:
        folder = Path(name)
        (folder / "tmp").mkdir()
        environment = {**os.environ, MARK: name, "TMPDIR": str(folder / "tmp"), "HOME": name}
        of_models = () if "--models" in arguments else ("--models", str(models))
        command = [str(RAYBENCH), "run", *arguments, *of_models, "--ui", "plain"]
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            run = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=err, start_new_session=True)
        await_phase(run, folder, begins)
        time.sleep(wait_s)
        began_s = time.monotonic()
        is_hit = hit(case, run)
        code = ended(run)
        took_s = time.monotonic() - began_s
        return found(case, folder, environment, code, took_s, () if is_hit else (f"no {case.victim}",))


def await_phase(run: "subprocess.Popen[bytes]", folder: Path, begins: str) -> None:
    until_s = time.monotonic() + PHASE_S
    while time.monotonic() < until_s and run.poll() is None:
        if begins == "running.json" and list(folder.glob("results/*/running.json")):
            return
        if any(begins.encode() in (folder / name).read_bytes() for name in ("out", "err")):
            return
        time.sleep(0.05)


def hit(case: Case, run: "subprocess.Popen[bytes]") -> bool:
    """Send the signal; whether there was somebody to send it to."""
    number = SIGNALS[case.signal]
    if run.poll() is not None:
        return False
    if case.victim == "the process group":
        os.killpg(run.pid, number)
        return True
    tree = psutil.Process(run.pid).children(recursive=True)
    if case.victim == "raybench":
        victims = [psutil.Process(run.pid)]
    elif case.victim == "the measuring process":
        victims = psutil.Process(run.pid).children()[:1]
    else:
        victims = [each for each in tree if TITLES[case.victim] in titled(each)][:1]
    for victim in victims:
        victim.send_signal(number)
    return bool(victims)


def titled(process: psutil.Process) -> str:
    """What a process is called; nothing for a supervisor, which has the words of what it runs."""
    try:
        words = process.cmdline()
        return "" if any("processes.py" in word for word in words) else f"{' '.join(words)} {process.name()}"
    except psutil.Error:
        return ""


def ended(run: "subprocess.Popen[bytes]") -> int | None:
    """The exit code as a shell has it; None where the run did not end."""
    try:
        code = run.wait(timeout=END_S)
    except subprocess.TimeoutExpired:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait()
        return None
    return code if code >= 0 else 128 - code


def found(
    case: Case, folder: Path, environment: dict[str, str], code: int | None, took_s: float, wrong: tuple[str, ...]
) -> Found:
    """What a user sees, and what is left."""
    out, err = ((folder / name).read_text(errors="replace") for name in ("out", "err"))
    left = what_is_left(folder)
    results = next(iter(folder.glob("results/*")), None)
    report_code, samples = 0, None
    if results:
        report = [str(RAYBENCH), "report", str(results), "--format", "json"]
        done = subprocess.run(report, env=environment, capture_output=True, text=True, check=False)
        report_code = done.returncode
        trials = json.loads(done.stdout)["trials"] if report_code == 0 else []
        samples = trials[0]["requests"]["attempted"] if trials else None
    trouble = [*wrong, *(["a traceback"] if "Traceback" in out + err else []), *(["it hangs"] if code is None else [])]
    if code == 0 and case.victim in COMMAND and case.phase != "reporting":
        trouble.append("exit 0")
    return Found(
        case=case,
        code=code,
        ended_s=round(took_s, 1),
        sentence=sentence(out, err),
        has_table="images per request" in out and "server " in out.rpartition("images per request")[2],
        way_on=next((line for line in out.splitlines() if "measure the rest with" in line), ""),
        samples=samples,
        report_code=report_code,
        left=left,
        wrong=tuple(trouble),
    )


def sentence(out: str, err: str) -> str:
    """The sentence that says what was lost: an error, or the reason in the table's notes."""
    errors = [line for line in err.splitlines() if line.startswith("Error: ")]
    reasons = [line for line in out.splitlines() if ": interrupted: " in line or ": failed: " in line]
    reasons += [line for line in out.splitlines() if ": degraded: " in line]
    return next(iter([*errors, *reasons]), "")


def what_is_left(folder: Path) -> tuple[str, ...]:
    """Processes and files that the run has left behind, some seconds after its end."""
    until_s = time.monotonic() + GONE_S
    while (there := processes(str(folder))) and time.monotonic() < until_s:
        time.sleep(0.5)
    shared = [path.name for path in Path("/dev/shm").glob("raybench-*") if owner_is_gone(path)]
    files = [path for path in (folder / "tmp").glob("*") if path.name != "ray"]  # Ray's own folder, shared by all runs
    files += list((folder / "tmp" / "ray").glob("session_2*"))
    parts = [path.name for path in (folder / "exported").glob(".*")]  # of a model that was being written
    return (*there, *shared, *parts, *(f"TMPDIR/{path.relative_to(folder / 'tmp')}" for path in files))


def processes(mark: str) -> list[str]:
    """The living processes that were started with the mark in their environment."""
    names = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get(MARK) == mark:
                names.append(process.name())
        except psutil.Error:
            continue
    return names


def owner_is_gone(path: Path) -> bool:
    owner = path.name.split("-")[1]
    return owner.isdecimal() and not psutil.pid_exists(int(owner))


def table(lines: list[dict[str, Any]]) -> str:
    """What came of each process in each phase as Markdown, a column for each signal."""
    names = ("phase", "what was ended", *SIGNALS, "what was said", "requests kept")
    rows = [f"| {' | '.join(names)} |", "|---|---|" + "---:|" * len(SIGNALS) + "---|---:|"]
    for phase, victims in VICTIMS.items():
        for victim in victims:
            found = [line for line in lines if (line["case"]["phase"], line["case"]["victim"]) == (phase, victim)]
            codes = {line["case"]["signal"]: f"{line['code']} ({line['ended_s']:.0f} s)" for line in found}
            said = "; ".join(dict.fromkeys(_brief(line["sentence"]) for line in found if line["sentence"]))
            kept = [line["samples"] for line in found if line["samples"]]
            count = "" if not kept else f"{min(kept)}" if len(kept) == 1 else f"{min(kept)}-{max(kept)}"
            cells = (phase, victim, *(codes.get(name, "") for name in SIGNALS), said or "nothing", count)
            rows.append("| " + " | ".join(cells) + " |")
    wrong = [line for line in lines if line["wrong"] or line["left"]]
    return "\n".join([*rows, *(f"WRONG {json.dumps(line)}" for line in wrong)]) + "\n"


def _brief(sentence: str) -> str:
    """Without what is another in each run."""
    sentence = re.sub(r"^Error: |(?<=pid )\d+", lambda found: "" if found[0].startswith("E") else "N", sentence)
    sentence = re.sub(r"during the step “trial 1/1: [^”]*”", "during the step “trial 1/1 ...”", sentence)
    sentence = re.sub(r"^.*?: (failed|degraded|interrupted): ", r"\1: ", sentence)
    return sentence.replace("|", "/")[:160]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--only", action="append", help="cases whose phase, victim and signal hold these words")
    parser.add_argument("--table", action="store_true", help="write what was found, and run nothing")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "cases.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    if asked.table:
        sys.stdout.write(table(lines))
        return
    models = asked.out.resolve() / "models"
    if not (models / "models.conf").exists():
        write_tiny_models(models)
    done = {Case(**line["case"]) for line in lines}
    wanted = dict.fromkeys(case for words in asked.only or [""] for case in cases() if words in case.name)
    for case in (case for case in wanted if case not in done):
        result = tried(case, models)
        if any(each.startswith("no ") for each in result.wrong):
            sys.stdout.write(f"{case.name}: not run, {result.wrong[0]}: exit {result.code} {result.sentence}\n")
            continue
        with file.open("a") as growing:
            growing.write(json.dumps(asdict(result)) + "\n")
        sys.stdout.write(
            f"{case.name}: exit {result.code} {'; '.join(result.wrong) or 'as it should be'} {result.left}\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""What telemetry costs, and whether it finds what is known: a model that sleeps 20 ms.

    python tests/benchmarks/telemetry.py [--seconds 30] [--only-sleep]

1. CPU seconds of this process while it does nothing but record, at the default intervals: a Triton under load, 4 worker
   processes, the host, Triton's statistics, and the output of an nvidia-smi that prints what one with a GPU and three
   processes on it prints. The real one's own CPU seconds come on top.
2. Where the time of a request of one image goes whose model sleeps 20 ms.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from raybench.clients.triton_client import TritonClient
from raybench.config import ECHO
from raybench.inputs.photo_source import IMAGE_PX
from raybench.servers import repository
from raybench.servers.triton_server import TritonOptions, running_triton
from raybench.telemetry import gpu
from raybench.telemetry.recorder import recording
from raybench.telemetry.server_statistics import counting
from raybench.telemetry.telemetry_schema import IDLE, LOAD, WARM
from raybench.telemetry.triton_statistics import StatisticsReader

RAYBENCH = Path(sys.executable).parent / "raybench"
SLEEP_S = 0.02
UUID = "GPU-00000000-0000-0000-0000-000000000000"
PRINTS = """#!{python}
import sys, time
from datetime import datetime
flag = sys.argv[1]
is_gpus = flag.startswith("--query-gpu")
print("{gpus}" if is_gpus else "{apps}", flush=True)
while True:
    now = datetime.utcnow().strftime("%Y/%m/%d %H:%M:%S.%f")[:-3]
    if is_gpus:
        print(f"{{now}}, {uuid}, 3420, 143771, 64, 413.55, 1980, 51", flush=True)
    for pid in () if is_gpus else (1, 2, 3):
        print(f"{{now}}, {uuid}, {{pid}}, /opt/tritonserver/bin/tritonserver, 584", flush=True)
    time.sleep(0.2 if is_gpus else 1.0)
"""


@contextmanager
def nvidia_smi() -> Iterator[None]:
    """A program on PATH that prints at the real one's pace."""
    heads = {name: ", ".join(head for _, head, _ in query.columns) for name, query in QUERIES.items()}
    before = os.environ["PATH"]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "nvidia-smi"
        path.write_text(PRINTS.format(python=sys.executable, uuid=UUID, **heads))
        path.chmod(0o755)
        os.environ["PATH"] = f"{folder}{os.pathsep}{before}"
        try:
            yield
        finally:
            os.environ["PATH"] = before


QUERIES = {"gpus": gpu.GPUS, "apps": gpu.PROCESSES}


def load(url: str, seconds: float) -> "subprocess.Popen[bytes]":
    """A process that sends images to Triton one after the other."""
    return subprocess.Popen([sys.executable, __file__, "--load", url, str(seconds)])


def send(url: str, seconds: float) -> None:
    with closing(TritonClient(url, model=ECHO, signature="predict_images")) as client:
        request = client.encode({"images": np.zeros((1, IMAGE_PX, IMAGE_PX, 3), np.uint8)})
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            client.send(request, 10)


def cpu_share(seconds: float, *, parts: set[str]) -> float:
    """CPU seconds per second of this process while it records these parts of a Triton under load."""
    with ExitStack() as stack:
        triton = stack.enter_context(running_triton(TritonOptions(models_conf=Path(), models=())))
        if "GPUs" in parts:
            stack.enter_context(nvidia_smi())
        sending = [load(triton.grpc_url, seconds + 10) for _ in range(4)]
        recorder = stack.enter_context(recording())
        time.sleep(5)
        if "statistics" in parts:
            read = stack.enter_context(closing(StatisticsReader(triton.grpc_url, ECHO)))
            stack.enter_context(counting(read))
        recorder.start(LOAD)
        if "processes" in parts:
            recorder.watch(triton.pid, [each.pid for each in sending])
        began, cpu_s = time.monotonic(), time.process_time()
        threading.Event().wait(seconds)
        cpu_s, elapsed_s = time.process_time() - cpu_s, time.monotonic() - began
        rows = len(recorder.snapshot().rows)
        began_s = time.process_time()
        for phase in (IDLE, WARM, LOAD, None):
            recorder.set_phase(phase)
        ends_ms = (time.process_time() - began_s) / 4 * 1e3
        for each in sending:
            each.kill()
            each.wait()
    named = " + ".join(sorted(parts)) or "host alone"
    print(f"{named:35} {cpu_s:6.3f} CPU s in {elapsed_s:.0f} s = {cpu_s / elapsed_s:.2%} of a core; ", end="")
    print(f"{rows} rows; the end of a phase {ends_ms:.1f} ms CPU", flush=True)
    return cpu_s / elapsed_s


def sleeping(*given: Any) -> Path:
    """The repository with an `echo` that sleeps before it answers."""
    folder = ASSEMBLE(*given)
    model = folder / "echo" / "1" / "model.py"
    answers = "return [_answer(request) for request in requests]"
    model.write_text(model.read_text().replace(answers, f"__import__('time').sleep({SLEEP_S}); {answers}"))
    return folder


ASSEMBLE = repository.assemble


def where_time_goes() -> None:
    """One worker, one image a request, through `raybench run`; beside what sleeping so long really takes here."""
    began = time.perf_counter()
    for _ in range(100):
        time.sleep(SLEEP_S)
    print(f"time.sleep({SLEEP_S}) takes {(time.perf_counter() - began) * 10:.2f} ms")
    repository.assemble = sleeping
    with running_triton(TritonOptions(models_conf=Path(), models=())) as triton, tempfile.TemporaryDirectory() as out:
        command = [RAYBENCH, "run", "-s", "triton", "--url", f"triton={triton.grpc_url}", "-m", ECHO, "-b", "1"]
        command += ["--workers", "1", "--request-count", "300", "--rounds", "5", "--out", out, "--ui", "none"]
        subprocess.run(command, check=True, timeout=200, capture_output=True)
        (folder,) = Path(out).iterdir()
        trials = json.loads((folder / "summary.json").read_text())["trials"]
    for trial in trials:
        found = trial["server_time_ms"]
        print(json.dumps({name: value if value is None else round(value, 3) for name, value in found.items()}))
        compute, overhead = found["compute_infer"], found["overhead"] / found["service"]
        print(f"compute {compute:.2f} ms: {compute / SLEEP_S / 1e3 - 1:+.1%}; overhead {overhead:.1%} of service")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--only-sleep", action="store_true", help="the second part alone")
    parser.add_argument("--load", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        send(options.load[0], float(options.load[1]))
        return
    if options.only_sleep:
        where_time_goes()
        return
    every = {"processes", "GPUs", "statistics"}
    for parts in (set(), {"processes"}, {"GPUs"}, {"statistics"}):
        cpu_share(options.seconds, parts=parts)
    whole = cpu_share(options.seconds, parts=every)
    print(f"all telemetry: {whole:.2%} of a core (limit 2 %)\n")
    where_time_goes()


if __name__ == "__main__":
    main()

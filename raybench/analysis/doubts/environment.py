"""The conditions of a trial on its host: doubts about what disturbed it, or was not seen; pure."""

from raybench.analysis.doubt import Doubt
from raybench.analysis.plain_numbers import plain
from raybench.analysis.trial_summary import TrialSummary
from raybench.results.records import WorkerRecord

_CLOCK_DROP = 0.05
_IDLE_PCT = 50.0
_HEADROOM = 1.5
_SWAPPED_MIB = 1.0
_STRANGERS = 0.1  # of a host's CPUs
_BUSY = 0.85  # of them, where the kernel does not say that processes waited
_WAITED = 0.05  # of the time
_STOLEN = 0.02
_MOST_NAMED = 3
_NO_GPU = "there is no GPU"  # of a host that has an nvidia-smi without one


def telemetry_incomplete(trial: TrialSummary) -> Doubt | None:
    seen = trial.telemetry
    problems = [problem for problem in (seen.problems if seen else ()) if not problem.text.startswith(_NO_GPU)]
    if not problems:
        return None
    first = problems[0]
    more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
    return Doubt(
        code="telemetry_incomplete",
        sentence=f"telemetry is incomplete: {first.source} {_when(first.at_s)}: {first.text}{more}",
        remedy="read memory and utilization as incomplete, or fix the cause and run again",
        value=first.at_s,
    )


def _when(at_s: float | None) -> str:
    if at_s is None or at_s < 0:
        return "before the first request"
    return f"{at_s:.1f} s after the first request"


def clocks_dropped(trial: TrialSummary) -> Doubt | None:
    seen = trial.telemetry
    if seen is None or seen.sm_clock_drop is None or seen.sm_clock_drop <= _CLOCK_DROP:
        return None
    return Doubt(
        code="clocks_dropped",
        sentence=f"a GPU slowed down: its SM clock fell by {seen.sm_clock_drop:.0%} in the window "
        f"({_CLOCK_DROP:.0%} allowed)",
        remedy="cool it, lock its clocks (nvidia-smi --lock-gpu-clocks), or compare the rounds",
        value=seen.sm_clock_drop,
        limit=_CLOCK_DROP,
    )


def gpu_idle(trial: TrialSummary) -> Doubt | None:
    """The server's work on the CPU was the limit, though the client could have sent more."""
    busy = trial.telemetry.gpu_utilization_pct if trial.telemetry else None
    if busy is None or busy >= _IDLE_PCT or trial.headroom is None or trial.headroom < _HEADROOM:
        return None
    return Doubt(
        code="gpu_idle",
        sentence=f"the GPU was not the limit: it was busy {busy:.0f}% of the window, and the client could have sent "
        f"{plain(trial.headroom, 2)} times as much",
        remedy="use more in flight (--concurrency), more instances (--instances), or larger batches",
        value=busy,
        limit=_IDLE_PCT,
    )


def gpu_unused(trial: TrialSummary) -> Doubt | None:
    """A GPU host that computes on its CPU: the rows of TensorFlow in process, and of our backend, say so."""
    source = trial.telemetry.gpu_source if trial.telemetry else None
    if source is None or trial.server.uses_gpu is not False:
        return None
    return Doubt(
        code="gpu_unused",
        sentence=f"the server's host has a GPU, as {source} says, but its TensorFlow computes on the CPU",
        remedy="pip install 'tensorflow[and-cuda]', check CUDA_VISIBLE_DEVICES and raybench doctor; "
        "--require-gpu ends such a run",
    )


def swapping(trial: TrialSummary) -> Doubt | None:
    seen = trial.telemetry
    if seen is None or seen.swapped_mib is None or seen.swapped_mib <= _SWAPPED_MIB:
        return None
    return Doubt(
        code="swapping",
        sentence=f"the server's host swapped {seen.swapped_mib:.0f} MiB under load: latency includes its disk",
        remedy="free memory on it, or use smaller batches, fewer models or fewer instances",
        value=seen.swapped_mib,
        limit=_SWAPPED_MIB,
    )


def cpu_contended(trial: TrialSummary) -> Doubt | None:
    """Processes outside the run took CPUs that were short, on the host where they took most."""
    found = [(share, each.node) for each in trial.workers if (share := _strangers(trial, each)) is not None]
    if not found or max(found)[0] <= _STRANGERS:
        return None
    share, node = max(found)
    return Doubt(
        code="cpu_contended",
        sentence=f"other processes took {share:.0%} of the CPUs of {node} while CPUs were short "
        f"({_STRANGERS:.0%} allowed)",
        remedy="stop them, or measure on a dedicated host",
        value=share,
        limit=_STRANGERS,
    )


def _strangers(trial: TrialSummary, worker: WorkerRecord) -> float | None:
    """Their share of a host's CPUs where these were short; None where it is not known.

    The processes of a server that raybench did not start, or that is in a container, are not known: there what was busy
    before the start counts, when the server had nothing to do.
    """
    load = worker.host_load
    if load is None or load.seconds <= 0:
        return None
    there_s, known = load.seconds * load.cores, not _has_unknown_server(trial, worker)
    strangers = max(0.0, load.busy_s - load.own_s) / there_s if known else load.busy_before
    waited = None if load.waited_s is None else load.waited_s / load.seconds
    is_short = load.busy_s / there_s >= _BUSY if waited is None else waited >= _WAITED
    return strangers if is_short else 0.0


def _has_unknown_server(trial: TrialSummary, worker: WorkerRecord) -> bool:
    launcher = trial.server.launcher or ""
    is_here = trial.placement is None or trial.placement.server_node_id == worker.node_id
    return is_here and (launcher == "url" or launcher.startswith("docker"))


def cpu_stolen(trial: TrialSummary) -> Doubt | None:
    """A hypervisor ran others on the CPUs of a worker's host."""
    found = [
        (load.stolen_s / load.seconds / load.cores, each.node)
        for each in trial.workers
        if (load := each.host_load) and load.stolen_s is not None and load.seconds > 0
    ]
    if not found or max(found)[0] <= _STOLEN:
        return None
    share, node = max(found)
    return Doubt(
        code="cpu_stolen",
        sentence=f"the hypervisor gave {share:.0%} of the CPU time of {node} to other machines ({_STOLEN:.0%} allowed)",
        remedy="use a host with dedicated CPUs, or more rounds",
        value=share,
        limit=_STOLEN,
    )


def software_float16(trial: TrialSummary) -> Doubt | None:
    """XLA computes float16 in software on the CPU of a TensorFlow Serving: 1 s an image with EfficientNetB0, 9 s with
    ResNet50 (2.18.1 on two cores)."""
    has_gpu = trial.memory.idle.gpu_mib is not None or trial.memory.gpu_peak_mib is not None
    is_float16 = trial.model.precision == "mixed_float16" and trial.model.xla
    if trial.server.kind != "tfserving" or has_gpu or not is_float16:
        return None
    return Doubt(
        code="software_float16",
        sentence="no GPU was seen, and TF Serving computes float16 with XLA in software on a CPU: seconds per image",
        remedy="export the model with --amp bfloat16 for CPUs, or serve it on a GPU",
    )


def gpu_shared(trial: TrialSummary) -> Doubt | None:
    others = trial.telemetry.gpu_shared_with if trial.telemetry else None
    if not others:
        return None
    more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    return Doubt(
        code="gpu_shared",
        sentence=f"other processes used the same GPUs: {', '.join(others[:_MOST_NAMED])}{more}",
        remedy="stop them, or read the GPU memory of the server's own processes",
        value=len(others),
        limit=0,
    )

"""The conditions of a trial on its host: doubts about what disturbed it, or was not seen; pure."""

from raybench.analysis.doubt import Doubt
from raybench.analysis.trial_summary import TrialSummary

_CLOCK_DROP = 0.05
_IDLE_PCT = 50.0
_HEADROOM = 1.5
_SWAPPED_MIB = 1.0
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
        remedy="read memory and utilization as of what was seen until then, or mend it and run again",
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
        sentence=f"a GPU's SM clock fell by {seen.sm_clock_drop:.0%} in the window: it was not the same GPU throughout",
        remedy="cool it, lock its clocks (nvidia-smi --lock-gpu-clocks), or read the rounds against each other",
        value=seen.sm_clock_drop,
        limit=_CLOCK_DROP,
    )


def gpu_idle(trial: TrialSummary) -> Doubt | None:
    """The server's own host work is what was measured, where the client could have sent more."""
    busy = trial.telemetry.gpu_utilization_pct if trial.telemetry else None
    if busy is None or busy >= _IDLE_PCT or trial.headroom is None or trial.headroom < _HEADROOM:
        return None
    return Doubt(
        code="gpu_idle",
        sentence=f"the GPU worked {busy:.0f} % of the window, and the client could have sent {trial.headroom:.2g} "
        "times as much: the server's work on the host was measured",
        remedy="use more in flight (--concurrency), more instances (--instances), or larger batches",
        value=busy,
        limit=_IDLE_PCT,
    )


def swapping(trial: TrialSummary) -> Doubt | None:
    seen = trial.telemetry
    if seen is None or seen.swapped_mib is None or seen.swapped_mib <= _SWAPPED_MIB:
        return None
    return Doubt(
        code="swapping",
        sentence=f"the server's host swapped {seen.swapped_mib:.0f} MiB under load: latency is that of its disk",
        remedy="free memory on it, or use smaller batches, fewer models or fewer instances",
        value=seen.swapped_mib,
        limit=_SWAPPED_MIB,
    )


def gpu_shared(trial: TrialSummary) -> Doubt | None:
    others = trial.telemetry.gpu_shared_with if trial.telemetry else None
    if not others:
        return None
    more = f" and {len(others) - _MOST_NAMED} more" if len(others) > _MOST_NAMED else ""
    return Doubt(
        code="gpu_shared",
        sentence=f"the GPUs were shared with {', '.join(others[:_MOST_NAMED])}{more}",
        remedy="end them, or read the GPU memory of the server's own processes",
        value=len(others),
        limit=0,
    )

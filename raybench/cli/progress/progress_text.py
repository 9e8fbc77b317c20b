"""How progress reads: the same words on a terminal and in a log."""

from collections.abc import Sequence

from raybench.analysis.plain_numbers import plain
from raybench.analysis.trial_summary import TrialSummary
from raybench.cli.progress.trial_progress import TrialProgress
from raybench.config.plan import Load, Trial

_SILENT_S = 3.0
# How long steps of `make demo` took on two cores, by how they begin; the longest that fits counts.
_USUAL_S = {
    "exporting": 40,
    "starting Ray": 7,
    "reading inputs": 6,
    "starting": 13,
    "checking the answers": 5,
}
_DASH = "–"


def trial_facts(progress: TrialProgress, now_s: float) -> tuple[str, ...]:
    """Rate, latency so far, errors and memory; a dash is not known, or not yet supported by the sample."""
    silent_s = progress.silent_s(now_s)
    return (
        *_rates(progress.load, progress.unit, progress.requests_per_s(now_s), progress.items_per_s(now_s)),
        *(f"{name} {_number(progress.histogram.percentile_ms(name))} ms" for name in ("p50", "p99")),
        *_costs(progress.failed, progress.server_mib),
        *([f"no reply for {silent_s:.0f} s"] if silent_s > _SILENT_S else []),
    )


def summary_facts(trial: TrialSummary) -> tuple[str, ...]:
    """The same of a trial that has ended, as the table has them."""
    rate, latency = trial.throughput, trial.latency_ms
    return (
        *_rates(trial.load, trial.unit, rate.requests_per_s if rate else None, rate.inferences_per_s if rate else None),
        *(f"{name} {_number(getattr(latency, name) if latency else None)} ms" for name in ("p50", "p99")),
        *_costs(trial.requests.failed, trial.memory.peak_mib),
    )


def _rates(load: Load, unit: str, requests_per_s: float | None, items_per_s: float | None) -> tuple[str, ...]:
    """That of requests where one was asked for."""
    items = f"{_number(items_per_s)} {unit}/s"
    return (f"{_number(requests_per_s)} of {load.offered_rps:g} requests/s", items) if load.offered_rps else (items,)


def _costs(failed: int, server_mib: float | None) -> tuple[str, ...]:
    return f"{failed} failed", *([f"{server_mib:.0f} MiB"] if server_mib is not None else [])


def planned(trials: Sequence[Trial]) -> str:
    """What a run measures, with what it chose where nothing was said.

    TensorFlow in process may have another number in flight than the servers beside it.
    """
    cells = [trial.cell for trial in trials]
    servers, models = (", ".join(sorted(each)) for each in ({c.label for c in cells}, {c.model for c in cells}))
    loads = {_load(cell.load) for cell in cells if cell.server.kind != "local"} or {_load(c.load) for c in cells}
    load = f"{len(loads)} loads" if len(loads) > 1 else loads.pop()
    return f"measuring {servers} on {models}: {load}; {len(trials)} trial{'s' if len(trials) > 1 else ''}"


def _load(load: Load) -> str:
    sent = f"{load.offered_rps:g} requests/s" if load.offered_rps else f"{load.in_flight} in flight"
    length = f"{load.request_count} requests" if load.request_count else f"{load.duration_s:g} s"
    return f"{sent}, batch {load.batch_size}, {length} each"


def usually(step: str) -> str:
    """How long such a step usually takes, in words; nothing where that is not known."""
    begins = max((each for each in _USUAL_S if step.startswith(each)), key=len, default=None)
    return f" (usually about {_USUAL_S[begins]} s)" if begins else ""


def request_count(progress: TrialProgress) -> str:
    """Such as "12/100 requests", or without the total where a duration ends the trial."""
    of = f"/{progress.load.request_count}" if progress.load.request_count else ""
    return f"{progress.done}{of} requests"


def times(elapsed_s: float, left_s: float | None) -> str:
    """Such as "0:07, about 0:30 left"; None is not known."""
    return clock(elapsed_s) + ("" if left_s is None else f", about {clock(left_s)} left")


def left(trial_s: float | None, run_s: float | None) -> str:
    """Such as "trial 0:04, run 1:30 left", as far as that is known."""
    known = [
        f"{what} {clock(seconds)}" for what, seconds in (("trial", trial_s), ("run", run_s)) if seconds is not None
    ]
    return f"{', '.join(known)} left" if known else "time left unknown"


def clock(seconds: float) -> str:
    """Such as 0:07, 12:30 or 1:02:03."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


def _number(value: float | None) -> str:
    return _DASH if value is None else plain(value)

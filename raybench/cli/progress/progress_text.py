"""How progress reads: the same words on a terminal and in a log."""

from raybench.cli.progress.trial_progress import TrialProgress

_SILENT_S = 3.0
_DASH = "–"


def trial_facts(progress: TrialProgress, now_s: float) -> tuple[str, ...]:
    """Rate, latency so far, errors and memory; a dash is not known, or not yet supported by the sample."""
    offered = f" of {progress.load.offered_rps:g}" if progress.load.offered_rps else ""
    latency = tuple(f"{name} {_number(progress.histogram.percentile_ms(name))} ms" for name in ("p50", "p99"))
    silent_s = progress.silent_s(now_s)
    return (
        f"{_number(progress.requests_per_s(now_s))}{offered} requests/s",
        f"{_number(progress.items_per_s(now_s))} {progress.unit}/s",
        *latency,
        f"{progress.failed} failed",
        f"server {_DASH if progress.server_mib is None else f'{progress.server_mib:.0f}'} MiB",
        *([f"no reply for {silent_s:.0f} s"] if silent_s > _SILENT_S else []),
    )


def request_count(progress: TrialProgress) -> str:
    """Such as "12/100 requests", or without the total where a duration ends the trial."""
    of = f"/{progress.load.request_count}" if progress.load.request_count else ""
    return f"{progress.done}{of} requests"


def times(elapsed_s: float, left_s: float | None) -> str:
    """Such as "0:07, about 0:30 left"; None is not known."""
    return clock(elapsed_s) + ("" if left_s is None else f", about {clock(left_s)} left")


def clock(seconds: float) -> str:
    """Such as 0:07, 12:30 or 1:02:03."""
    minutes, s = divmod(round(seconds), 60)
    hours, m = divmod(minutes, 60)
    return f"{hours}:{m:02d}:{s:02d}" if hours else f"{m}:{s:02d}"


def _number(value: float | None) -> str:
    return _DASH if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"

"""A benchmark -> whether its trials are long enough for its thresholds; pure, and checked before any load."""

from raybench import config
from raybench.analysis.latency import PERCENTILES, samples_needed, seconds_needed
from raybench.config import Benchmark, ConfigError, plan
from raybench.config.plan import Load


def check_supported(benchmark: Benchmark) -> None:
    """Raise ConfigError for the first threshold that a load has too few requests for, with how many it needs."""
    for trial in plan.trials(benchmark):
        load, count = trial.cell.load, _requests(trial.cell.load)
        for asked in filter(None, map(config.threshold, benchmark.threshold)):
            if count is None or asked.metric not in PERCENTILES:
                continue
            needed = samples_needed(PERCENTILES[asked.metric]) + _outside(load)
            if count < needed:
                raise ConfigError(
                    f"threshold is {asked.text}; it needs {needed} requests per trial, and {trial.cell.id} has "
                    f"{count:.0f}: {_longer(load, needed)}"
                )


def _requests(load: Load) -> float | None:
    """How many requests a trial sends; None where the server's speed decides."""
    if load.request_count is not None:
        return load.request_count
    return load.offered_rps * load.duration_s if load.offered_rps and load.duration_s else None


def _outside(load: Load) -> int:
    """About how many requests begin outside the window: in a closed loop the first two of each lane."""
    return load.workers if load.offered_rps else 2 * load.in_flight


def _longer(load: Load, needed: int) -> str:
    if load.offered_rps and load.duration_s:
        return f"use --duration {seconds_needed(needed, load.offered_rps)}"
    return f"use --request-count {needed}"

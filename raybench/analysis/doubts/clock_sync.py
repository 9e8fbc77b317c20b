"""The workers' clocks and their common start: doubts about time stamps of several hosts; pure."""

from raybench.analysis.doubt import Doubt
from raybench.analysis.plain_numbers import plain
from raybench.analysis.trial_summary import TrialSummary

_UNCERTAIN_SHARE = 0.01  # of the window
_SKEW_SHARE = 0.05


def uncertain_clocks(trial: TrialSummary) -> Doubt | None:
    """The window's edges come from the workers' time stamps: they are as exact as the worst of the clocks."""
    window_s = _compared_window_s(trial)
    if window_s is None:
        return None
    worst = max(trial.workers, key=lambda worker: worker.clock_uncertainty_ns)
    uncertain_s, drift_ns = worst.clock_uncertainty_ns / 1e9, worst.clock_drift_ns
    if uncertain_s <= _UNCERTAIN_SHARE * window_s:
        return None
    drifted = f", drifted by {plain(drift_ns / 1e6)} ms" if drift_ns else ""
    return Doubt(
        code="uncertain_clocks",
        sentence=f"a clock is uncertain: worker {worst.worker}'s by {plain(uncertain_s * 1e3)} ms{drifted}; that is "
        f"{uncertain_s / window_s:.1%} of the window ({_UNCERTAIN_SHARE:.0%} allowed)",
        remedy="synchronize the hosts with NTP or PTP, use a quieter network, or a longer --duration",
        value=uncertain_s / window_s,
        limit=_UNCERTAIN_SHARE,
    )


def uneven_start(trial: TrialSummary) -> Doubt | None:
    """Closed loop: until the last worker has begun, the first ones load the server alone."""
    skew_ms, window_s = trial.gate_skew_ms, _compared_window_s(trial)
    if skew_ms is None or window_s is None or skew_ms / 1e3 <= _SKEW_SHARE * window_s:
        return None
    return Doubt(
        code="gate_skew",
        sentence=f"workers did not start together: the last began {plain(skew_ms)} ms after the first, "
        f"{skew_ms / 1e3 / window_s:.1%} of the window ({_SKEW_SHARE:.0%} allowed)",
        remedy="give the workers cores of their own, or use a longer --duration",
        value=skew_ms / 1e3 / window_s,
        limit=_SKEW_SHARE,
    )


def _compared_window_s(trial: TrialSummary) -> float | None:
    """The window, where several clocks make it up: a single worker's is compared with no other's."""
    return trial.window_s if len(trial.workers) > 1 else None

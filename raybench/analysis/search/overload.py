"""Open-loop trial of a search -> whether the server was overloaded, or the client was late; pure."""

import numpy as np

from raybench.analysis.doubts.client_limit import backlog, late_client, under_rate
from raybench.analysis.plain_numbers import plain
from raybench.analysis.steady_state import is_rising
from raybench.analysis.trial_summary import TrialSummary

_LATE_SHARE = 0.1  # of the limit: a client that is later than that may be what missed it
_GROWTH_SHARE = 0.01  # of the time: response grows by as much a second as the load is above what the server does
_PARTS = 15


def overload(trial: TrialSummary, due_s: np.ndarray, response_ms: np.ndarray) -> str | None:
    """Why a rate is more than the server sustains, however good the percentile; None where nothing shows that.

    Response that grows through the trial would miss any limit if the load went on: due times and responses, float [n].
    """
    if trial.cap_hits:
        return (
            f"overloaded: {trial.cap_hits} of {trial.requests.attempted} requests were due while all "
            f"{trial.load.in_flight} in flight waited"
        )
    if left_over := backlog(trial):
        return f"overloaded: {left_over.sentence}"
    means = _means(due_s, response_ms)
    growth_ms = _mean_of(means[-(_PARTS // 3) :]) - _mean_of(means[: _PARTS // 3])
    between_ms = np.ptp(due_s) * 1e3 * 2 / 3 if len(due_s) else 0.0
    if growth_ms <= _GROWTH_SHARE * between_ms or not is_rising(means):
        return None
    return f"overloaded: response grew by {plain(growth_ms)} ms from the first third of the trial to the last"


def lateness(trial: TrialSummary, limit_ms: float) -> str | None:
    """Why a missed limit says nothing about the server: the client itself sent late, or less than was due."""
    late = trial.pacing_error_ms
    if late_client(trial) and late and late.p99 is not None and late.p99 > _LATE_SHARE * limit_ms:
        return late_sentence(late.p99)
    return too_few_sent(trial)


def too_few_sent(trial: TrialSummary) -> str | None:
    """Why the trial says nothing about the rate: the client sent less than was due."""
    if not under_rate(trial) or trial.cap_hits:
        return None
    sent = f"{plain(trial.achieved_rps or 0, 4)} of the {plain(trial.scheduled_rps or 0, 4)} requests/s that were due"
    return f"the client sent only {sent}; {_GO_ON}"


def late_sentence(late_ms: float) -> str:
    return f"the client sent late, by {plain(late_ms)} ms at p99, so this says nothing about the server; {_GO_ON}"


_GO_ON = "free cores for the workers, use more workers or hosts, and search again"


def _means(at_s: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The mean of each part of a trial in which there are values."""
    counts, edges = np.histogram(at_s, bins=_PARTS)
    sums = np.histogram(at_s, bins=edges, weights=values)[0]
    return np.asarray(sums[counts > 0] / counts[counts > 0])


def _mean_of(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0

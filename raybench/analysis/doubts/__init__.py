"""Doubts: why a number may not be trusted, and what to do about it; pure."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from raybench.analysis.doubt import Doubt
from raybench.analysis.doubts import (
    answers,
    client_limit,
    clock_sync,
    comparability,
    environment,
    lost_files,
    made_inputs,
    sampling,
    sharing,
    skipped_input_rows,
)
from raybench.analysis.trial_summary import TrialSummary
from raybench.results.damage import DamagedFile

# In the order in which a report lists them.
_CHECKS: tuple[Callable[[TrialSummary], Doubt | None], ...] = (
    sampling.few_samples,
    sampling.stalled,
    sampling.unsteady,
    sampling.steadiness_unknown,
    sampling.errors,
    sampling.uneven_workers,
    sampling.few_payloads,
    sampling.payloads_unknown,
    sampling.jpeg_noise,
    skipped_input_rows.skipped_rows,
    made_inputs.assumed_range,
    sampling.empty_window,
    sharing.workers_over_cores,
    sharing.server_beside_workers,
    sharing.several_models,
    sharing.breakdown_unknown,
    answers.answers_differ,
    answers.answers_alike,
    answers.not_verified,
    client_limit.late_client,
    client_limit.under_rate,
    client_limit.cap_hit,
    client_limit.backlog,
    client_limit.near_ceiling,
    client_limit.no_ceiling,
    client_limit.feed_starved,
    clock_sync.uncertain_clocks,
    clock_sync.uneven_start,
    environment.telemetry_incomplete,
    environment.clocks_dropped,
    environment.gpu_unused,
    environment.gpu_idle,
    environment.cpu_contended,
    environment.cpu_stolen,
    environment.swapping,
    environment.gpu_shared,
    environment.software_float16,
)


def with_doubts(
    trials: Sequence[TrialSummary],
    *,
    baseline: str | None = None,
    leave_out: frozenset[str] = frozenset(),
    is_own_ray: bool = False,
    damaged: Sequence[DamagedFile] = (),
    unsealed: frozenset[str] = frozenset(),
) -> tuple[TrialSummary, ...]:
    """The trials with their doubts, without the codes in `leave_out`; `is_own_ray`: raybench started their Ray.

    `damaged` are files of the run that cannot be trusted, `unsealed` the ids of trials whose files have no checksums.
    """
    rounds, bases = Counter(trial.cell for trial in trials), comparability.bases(trials, baseline)
    found = (
        (
            *doubts_about(trial, rounds=rounds[trial.cell], base=bases.get(trial.id), is_own_ray=is_own_ray),
            *_about_files(trial, damaged, unsealed),
        )
        for trial in trials
    )
    kept = (tuple(doubt for doubt in each if doubt.code not in leave_out) for each in found)
    return tuple(replace(trial, doubts=each) for trial, each in zip(trials, kept, strict=True))


def doubts_about(
    trial: TrialSummary, *, rounds: int, base: TrialSummary | None = None, is_own_ray: bool = False
) -> tuple[Doubt, ...]:
    """Every doubt about one trial; a trial that failed, or in which nothing succeeded, has no number to doubt.

    `rounds` is how often its cell was measured, `base` the trial that it is compared with.
    """
    if not _has_numbers(trial):
        return ()
    alone = [check(trial) for check in _CHECKS]
    among = (
        sharing.niced_workers(trial, is_own_ray=is_own_ray),
        sampling.one_round(rounds),
        comparability.unequal_servers(trial, base) if base else None,
    )
    return tuple(doubt for doubt in (*alone, *among) if doubt)


def _has_numbers(trial: TrialSummary) -> bool:
    return trial.status != "failed" and trial.requests.succeeded > 0


def _about_files(trial: TrialSummary, damaged: Sequence[DamagedFile], unsealed: frozenset[str]) -> tuple[Doubt, ...]:
    if not _has_numbers(trial):
        return ()
    found = (lost_files.damaged_files(trial, damaged), lost_files.unverified_files(trial, unsealed))
    return tuple(doubt for doubt in found if doubt)

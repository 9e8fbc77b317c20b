"""A Summary as the rows and columns of its main table, in words and digits."""

from collections import Counter
from collections.abc import Sequence
from string import ascii_lowercase

from raybench.analysis import units
from raybench.analysis.cells import CellSummary, Interval
from raybench.analysis.plain_numbers import plain
from raybench.analysis.summary import Summary
from raybench.analysis.trial_summary import TrialSummary
from raybench.config.plan import Load

_SERVER, _REST = ("server", "in flight"), ("p50 ms", "p90 ms", "p99 ms", "ok", "failed", "time s", "MiB", "doubts")
_DASH = "–"
_PIXELS = "uint8 NHWC"
DROPPED_FIRST = ("headroom", "time s", "ok", "p90 ms", "MiB")  # in this order, where there is no room for all columns


def title(summary: Summary) -> str:
    """What was sent, in which loop, and in how many rounds."""
    rounds = len({trial.round for trial in summary.trials})
    batches, items = ", ".join(map(str, _batches(summary))), units.items(_unit(summary))
    return (
        f"{batches} {items} per request{_files(summary)}, {_loops(summary)}, {rounds} round{'s' if rounds != 1 else ''}"
    )


def _files(summary: Summary) -> str:
    """What stands for an image where it is not its pixels."""
    sent = (trial for trial in summary.trials if trial.payload and trial.unit == units.IMAGES)
    found = {trial.payload.encoding: trial.payload.item_bytes for trial in sent if trial.payload}
    return "".join(f" ({name}, {plain(size / 1e3)} kB an image)" for name, size in found.items() if name != _PIXELS)


def _unit(summary: Summary) -> str:
    return units.common(trial.unit for trial in summary.trials)


def _loops(summary: Summary) -> str:
    """What the percentiles are of: service in a closed loop, response in an open one."""
    arrivals = sorted({trial.load.arrivals for trial in summary.trials} - {"closed"})
    if not arrivals:
        return "closed loop"
    mixed = len(arrivals) < len({trial.load.arrivals for trial in summary.trials})
    closed = " and closed loop (service times)" if mixed else ""
    return f"open loop ({', '.join(arrivals)} arrivals: response times){closed}"


def measure_words(summary: Summary) -> str:
    """What the percentiles are of, in a sentence's end, where there are rows of both loops of each."""
    response = "response, from the time a request was due"
    service = "service, in a closed loop: they describe that loop, not users who arrive on their own"
    loops = {trial.load.offered_rps is not None for trial in summary.trials}
    if loops == {True, False}:
        return f"{response}, in the rows with an offered rate; in the others of {service}"
    return response if loops == {True} else service


def _is_open(summary: Summary) -> bool:
    return any(cell.offered_rps for cell in summary.cells)


def _has_headroom(summary: Summary) -> bool:
    return any(cell.headroom for cell in summary.cells)


def _headroom(cell: CellSummary) -> str:
    """Two significant digits say whether it is enough."""
    return _DASH if cell.headroom is None else f"{float(f'{cell.headroom:.2g}'):.12g}x"


def _batches(summary: Summary) -> list[int]:
    return sorted({trial.load.batch_size for trial in summary.trials})


def columns(summary: Summary) -> tuple[str, ...]:
    """The batch size has a column where it is not the same everywhere, the rates where there is an open loop, and how
    many times as much the client could do where that was measured."""
    batch = ("batch",) if len(_batches(summary)) > 1 else ()
    rates = ("offered/s", "achieved/s") if _is_open(summary) else ()
    headroom = ("headroom",) if _has_headroom(summary) else ()
    return (_SERVER[0], *batch, *_SERVER[1:], *rates, f"{_unit(summary)}/s", *headroom, *_REST)


def row(cell: CellSummary, summary: Summary) -> tuple[str, ...]:
    """The cells of a row, under `columns`; a dash for what is not known."""
    trials = [trial for trial in summary.trials if trial.id in cell.trials]
    letter_of, load = letters(summary), trials[0].load
    return (
        cell.label if cell.status == "ok" else f"{cell.label}: {cell.status}",
        *([str(load.batch_size)] if len(_batches(summary)) > 1 else []),
        _in_flight(load, summary),
        *([_rate(cell.offered_rps), _over(cell.achieved_rps, trials)] if _is_open(summary) else []),
        _over(cell.inferences_per_s, trials),
        *([_headroom(cell)] if _has_headroom(summary) else []),
        ms(cell.p50_ms),
        ms(cell.p90_ms),
        ms(cell.p99_ms),
        str(sum(trial.requests.succeeded for trial in trials)),
        str(sum(trial.requests.failed for trial in trials)),
        _over(cell.job_s, trials),
        _memory(cell),
        " ".join(sorted({letter_of[doubt.code] for trial in trials for doubt in trial.doubts})),
    )


def _in_flight(load: Load, summary: Summary) -> str:
    """Workers and lanes too, where they make up the same number in several ways."""
    alike = {each.load.workers for each in summary.trials if each.load.in_flight == load.in_flight}
    each = f" ({load.workers} x {load.concurrency})" if load.concurrency and len(alike) > 1 else ""
    return f"≤ {load.in_flight}" if load.offered_rps else f"{load.in_flight}{each}"


def _memory(cell: CellSummary) -> str:
    if cell.gpu_peak_mib is not None:
        return f"{_number(cell.memory_peak_mib, digits=0)} + {cell.gpu_peak_mib:.0f} GPU"
    return _number(cell.memory_peak_mib, digits=0)


def letters(summary: Summary) -> dict[str, str]:
    """A letter for each kind of doubt, in order of first appearance."""
    codes = dict.fromkeys(doubt.code for trial in summary.trials for doubt in trial.doubts)
    return dict(zip(codes, ascii_lowercase, strict=False))


def row_names(summary: Summary) -> dict[str, str]:
    """What to call each cell: its server, its model where there are several, and as much of its load as is needed."""
    trials = {trial.cell: trial for trial in summary.trials}
    is_one_model = len({trial.model.name for trial in trials.values()}) == 1
    names = {c: trial.label if is_one_model else f"{trial.label} {trial.model.name}" for c, trial in trials.items()}
    plain = dict(names)
    for more in (_load, _lanes, lambda trial: trial.signature, lambda trial: trial.cell):
        counts = Counter(names.values())
        names |= {cell: f"{plain[cell]} ({more(trials[cell])})" for cell, name in names.items() if counts[name] > 1}
    return names


def _load(trial: TrialSummary) -> str:
    load = trial.load
    return f"{_sent(load)} x {load.batch_size}"


def _lanes(trial: TrialSummary) -> str:
    load = trial.load
    each = f"{load.workers} workers, {_sent(load)}" if load.offered_rps else f"{load.workers} x {load.concurrency}"
    return f"{each} x {load.batch_size}"


def _sent(load: Load) -> str:
    return f"{plain(load.offered_rps, 6)}/s" if load.offered_rps else str(load.in_flight)


def interval(value: Interval | None, *, digits: int) -> str:
    if value is None:
        return _DASH
    if value.low is None or value.high is None:
        return f"{value.mean:.{digits}f}"
    return f"{value.mean:.{digits}f} ± {(value.high - value.low) / 2:.{digits}f}"


def _over(value: Interval | None, trials: Sequence[TrialSummary]) -> str:
    """A mean, and over how many rounds where it leaves some out."""
    shown = interval(value, digits=1)
    return f"{shown} ({value.rounds} of {len(trials)} rounds)" if value and value.rounds < len(trials) else shown


def _rate(value: float | None) -> str:
    return _DASH if value is None else plain(value, 6)


def ms(value: float | None) -> str:
    """Three significant digits, and all digits of more than 999 ms."""
    return _DASH if value is None else plain(value)


def _number(value: float | None, *, digits: int) -> str:
    return _DASH if value is None else f"{value:.{digits}f}"

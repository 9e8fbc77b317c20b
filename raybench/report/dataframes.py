"""A results folder as pandas frames, for whoever computes with it; every number is the one that the report has."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, is_dataclass
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_type_hints

import numpy as np
import pandas as pd
import pyarrow as pa

from raybench.analysis.cells import CellSummary
from raybench.analysis.comparisons import Comparison
from raybench.analysis.summary import Summary, summarize
from raybench.analysis.trial_summary import TrialSummary, clock_offsets_ns, windowed
from raybench.results import results_folder, samples
from raybench.results.results_folder import ObservedTrial, StoredTrial


@dataclass(frozen=True)
class Frames:
    """What a run measured. Each part is made when it is asked for, and then kept.

    Columns of `trials`, `cells` and `comparisons` are the fields of summary.json by their path, as in
    `trials["service_ms.p99"]`; summary.schema.json has what each is, with its unit. What is not known is NaN or None.
    """

    folder: Path
    results: results_folder.Results = field(repr=False)

    @cached_property
    def summary(self) -> Summary:
        """What the report is made of."""
        return summarize(self.results)

    @cached_property
    def trials(self) -> pd.DataFrame:
        """A row for each trial, by its id, in the order in which they ran."""
        return _frame(self.summary.trials, TrialSummary).set_index("id")

    @cached_property
    def cells(self) -> pd.DataFrame:
        """A row for each row of the table, by its cell: means and 95 % intervals over its rounds."""
        return _frame(self.summary.cells, CellSummary).set_index("cell")

    @cached_property
    def comparisons(self) -> pd.DataFrame:
        """A row for each server and the baseline that it is compared with: the ratio, its interval and the verdict."""
        return _frame(self.summary.comparisons, Comparison)

    @cached_property
    def doubts(self) -> pd.DataFrame:
        """A row for each reason not to trust a trial."""
        found = [(trial.id, doubt) for trial in self.summary.trials for doubt in trial.doubts]
        columns = ("code", "sentence", "remedy", "value", "limit")
        rows = [(trial, *(getattr(doubt, name) for name in columns)) for trial, doubt in found]
        return pd.DataFrame(rows, columns=["trial", *columns])

    @cached_property
    def damaged(self) -> pd.DataFrame:
        """A row for each file that cannot be trusted: nothing in the other frames is from it."""
        return pd.DataFrame([vars(each) for each in self.summary.damaged], columns=["path", "reason"])

    @cached_property
    def samples(self) -> pd.DataFrame:
        """A row for each request of all trials; `samples_of` takes less memory where there are many."""
        return self._of_each(_requests)

    @cached_property
    def telemetry(self) -> pd.DataFrame:
        """A row for each reading of all trials: time_ns on the clock of the samples, MiB, CPU seconds."""
        return self._of_each(lambda trial: trial.telemetry)

    def samples_of(self, trial: str) -> pd.DataFrame:
        """A row for each request of one trial; raises KeyError for an id that is not there."""
        return _pandas(_requests(self._by_id[trial]))

    def telemetry_of(self, trial: str) -> pd.DataFrame:
        """A row for each reading of one trial; raises KeyError for an id that is not there."""
        return _pandas(self._by_id[trial].telemetry)

    @cached_property
    def _by_id(self) -> dict[str, ObservedTrial | StoredTrial]:
        return {trial.record.id: trial for trial in self.results.trials}

    def _of_each(self, read: Callable[[ObservedTrial | StoredTrial], pa.Table]) -> pd.DataFrame:
        """The rows of every trial, one trial after the other, with its id in column `trial`."""
        tables = [_named(read(trial), name) for name, trial in self._by_id.items()]
        return _pandas(pa.concat_tables(tables)) if tables else pd.DataFrame()


def load(folder: str | Path) -> Frames:
    """The frames of a results folder, finished or not; raises ResultsError where it is none."""
    return Frames(folder=Path(folder), results=results_folder.load(Path(folder)))


def _requests(trial: ObservedTrial | StoredTrial) -> pa.Table:
    """Every request of a trial on the driver's clock, with its latencies in ms and whether it began in the window."""
    rows, offsets_ns = trial.samples, clock_offsets_ns(trial.record)
    measured, _, begun = windowed(trial.record, rows)
    warmup, ceiling = (samples.on_one_clock(of(rows), offsets_ns) for of in (samples.warmup, samples.ceiling))
    return pa.concat_tables(
        [
            _timed(warmup, np.zeros(len(warmup), bool)),
            _timed(measured.select(samples.SCHEMA.names), begun),
            _timed(ceiling, np.zeros(len(ceiling), bool)),
        ]
    )


def _timed(rows: pa.Table, in_window: np.ndarray) -> pa.Table:
    taken_ns = {"service_ms": samples.service_ns, "response_ms": samples.response_ns, "lag_ms": samples.lag_ns}
    for name, of in taken_ns.items():
        found = of(rows)
        rows = rows.append_column(name, pa.nulls(len(rows), pa.float64()) if found is None else pa.array(found / 1e6))
    return rows.append_column("in_window", pa.array(in_window))


def _named(rows: pa.Table, trial: str) -> pa.Table:
    column = pa.DictionaryArray.from_arrays(np.zeros(len(rows), np.int32), pa.array([trial]))
    return rows.add_column(0, "trial", column)


def _pandas(rows: pa.Table) -> pd.DataFrame:
    """Labels become categories; stamps stay whole numbers where some are missing: a float would round them."""
    frame = rows.unify_dictionaries().to_pandas()
    for name in (name for name in rows.column_names if name.endswith("_ns") and rows[name].null_count):
        frame[name] = rows[name].to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
    return frame


def _frame(rows: Sequence[Any], kind: type) -> pd.DataFrame:
    """A row for each value of a kind; the columns are there without any, too."""
    return pd.DataFrame(
        [dict(_fields(row, kind)) for row in rows], columns=None if rows else [*dict(_fields(None, kind))]
    )


def _fields(value: Any, kind: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """The fields of a value by their path, with those of its parts; where a part is None, all of its fields are."""
    part, *_ = get_args(kind) if NoneType in get_args(kind) else (kind,)
    if is_dataclass(part):
        for name, of in get_type_hints(part).items():
            yield from _fields(getattr(value, name, None), of, f"{path}.{name}" if path else name)
    else:
        yield path, np.nan if value is None and part is float else value

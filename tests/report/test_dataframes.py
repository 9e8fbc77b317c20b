"""A results folder as pandas frames."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import MS, OPEN, lanes, observed, results, sample, telemetry
from record_builders import load, worker_facts

import raybench
from raybench import report
from raybench.report.dataframes import Frames
from raybench.results import samples
from raybench.results.results_folder import ResultsError

AHEAD_NS = 5 * MS  # of the driver's clock, the worker's
EPOCH_MS = 1.7e12  # stamps are of the epoch: in a float they would lose nanoseconds


OPEN_LOOP = "r1-triton-x2-resnet50-no-opt"


@pytest.fixture
def frames(tmp_path: Path) -> Frames:
    """Two rounds of local and triton, and an open-loop trial with a warm-up and a failed request."""
    closed = [  # the second lane ends first, and the window with it
        observed(lanes(*([(i * ms, i * ms + ms) for i in range(n)] for n in (99, 60))), label=label, round=number)
        for number in (1, 2)
        for label, ms in (("local", 20), ("triton x1", 10 + number))
    ]
    due = [sample(EPOCH_MS + i * 10, EPOCH_MS + i * 10 + 8, seq=i, due_ns=due_ns(i)) for i in range(99)]
    failed = sample(EPOCH_MS + 990, EPOCH_MS + 999, due_ms=EPOCH_MS + 990, status="UNAVAILABLE", error="gone")
    warm = sample(EPOCH_MS - 900, EPOCH_MS - 600, phase=samples.WARMUP)
    open_loop = observed(
        samples.table([warm, *due, failed]),
        telemetry({"kind": "process", "id": "7", "rss_mib": 512.0, "phase": "load"}),
        label="triton x2",
        load=load(**OPEN),
        workers=[worker_facts(clock_offset_ns=AHEAD_NS)],
    )
    folder = results(tmp_path, *closed, open_loop)
    report.save(folder, report.report(folder))
    return raybench.load(folder)


def due_ns(i: int) -> int:
    """When request i of the open loop is due, 1 ms before it is sent: a time that no float has."""
    return (int(EPOCH_MS) + i * 10 - 1) * MS + 1


def at(value: Any, path: str) -> Any:
    """What summary.json has at a path; None below what is null."""
    for name in path.split("."):
        value = None if value is None else value[name]
    return value


def same(found: Any, expected: Any) -> bool:
    """Whether a cell of a frame is what JSON has: what is null there may be NaN, and a tuple is a list."""
    if expected is None:
        return found is None or bool(np.isnan(found))
    return json.loads(json.dumps(found, default=vars)) == expected


@pytest.mark.parametrize("part", ["trials", "cells", "comparisons"])
def test_frames_are_the_summary(frames: Frames, part: str) -> None:
    """Every value of a frame is the one that stands in summary.json at the path that its column names."""
    frame = getattr(frames, part).reset_index(names={"trials": "id", "cells": "cell"}.get(part))
    told = json.loads((frames.folder / "summary.json").read_text())[part]
    assert len(frame) == len(told) > 0
    columns = [name for name in frame.columns if name != "index"]
    assert {name.split(".")[0] for name in columns} == set(told[0])
    for row, expected in zip(frame.to_dict("records"), told, strict=True):
        assert [name for name in columns if not same(row[name], at(expected, name))] == []


def test_columns_are_there_without_values(tmp_path: Path) -> None:
    """A notebook that was written for one run works with another: no column hangs on what was measured."""
    nothing = observed(lanes(), status="failed", reason="it was a test")
    frames = raybench.load(results(tmp_path, nothing))
    assert np.isnan(frames.trials["throughput.inferences_per_s"].iloc[0])
    assert np.isnan(frames.cells["inferences_per_s.mean"].iloc[0])
    assert "ratio" in frames.comparisons.columns
    assert len(frames.samples) == 0
    assert "in_window" in frames.samples.columns


def test_samples_give_the_percentiles_of_the_report(frames: Frames) -> None:
    """What is computed with the samples of the window is what the report says."""
    counted = frames.samples.query("in_window and status == 'OK'")
    for trial in frames.trials.index:
        kind = "response_ms" if trial == OPEN_LOOP else "service_ms"
        taken = counted.loc[counted.trial == trial, kind]
        assert np.quantile(taken, 0.9, method="inverted_cdf") == frames.trials.loc[trial, f"{kind}.p90"]
        assert len(taken) == frames.trials.loc[trial, f"{kind}.n"] > 36


def test_samples_are_whole(frames: Frames) -> None:
    """Every request is there with its phase and what went wrong, by the clock of the driver, to the nanosecond."""
    assert frames.samples.groupby("trial", observed=True).size().tolist() == [159, 159, 101, 159, 159]
    rows = frames.samples_of(OPEN_LOOP)
    assert rows.equals(frames.samples.query("trial == @OPEN_LOOP")[rows.columns].reset_index(drop=True))
    assert rows.loc[rows.status != "OK", "error"].tolist() == ["gone"]
    assert rows[rows.in_window].phase.unique().tolist() == ["measured"]
    assert rows.due_ns.isna().tolist() == [True, *[False] * 100]
    assert int(rows.due_ns[2]) == due_ns(1) - AHEAD_NS
    assert rows.sent_ns[0] == int(EPOCH_MS - 900) * MS - AHEAD_NS
    assert rows.lag_ms[2] == pytest.approx(1.0, abs=1e-3)


def test_telemetry_is_there(frames: Frames) -> None:
    """Readings come with the trial in which they were taken."""
    assert frames.telemetry[["trial", "kind", "rss_mib"]].to_numpy().tolist() == [[OPEN_LOOP, "process", 512.0]]
    assert frames.telemetry_of("r1-local-resnet50-no-opt").empty


def test_doubts_name_their_trial(frames: Frames) -> None:
    """No frame hides that a number is doubted."""
    found = set(map(tuple, frames.doubts[["trial", "code"]].to_numpy()))
    assert found == {(trial.id, doubt.code) for trial in frames.summary.trials for doubt in trial.doubts}
    assert (OPEN_LOOP, "errors") in found


def test_large_parts_are_read_when_they_are_asked_for(frames: Frames) -> None:
    """A folder of many requests opens at once: samples are not read before they are asked for."""
    for path in (frames.folder / "samples").glob("*.parquet"):
        path.rename(path.with_suffix(".away"))
    assert list(frames.results.trials)
    with pytest.raises(ResultsError, match="cannot be read"):
        frames.samples  # noqa: B018


def test_what_is_no_results_folder(tmp_path: Path) -> None:
    """A folder without results is refused with a sentence."""
    with pytest.raises(ResultsError, match="is not a results folder"):
        raybench.load(str(tmp_path))

"""What a GPU took in a window, on readings by hand and on those that nvidia-smi printed on an H200."""

from itertools import pairwise
from statistics import fmean
from typing import Any

import pyarrow.parquet as pq
import pytest
from gpu_parts import DATA, HEAD, UUID
from helpers import MS, lanes, telemetry, trial

from raybench.analysis.host_conditions import HostConditions
from raybench.analysis.trial_summary import TrialSummary
from raybench.results.records import TelemetryRecord
from raybench.telemetry.gpu import GPUS, SmiParser

SAW = TelemetryRecord(node="host-1", gpu_source="nvidia-smi")
SPAN = lanes([(-1, 0), (0, 5_000), (5_000, 10_000)], items=8)  # the window: 0 to 10 s, two requests


def watts(power_w: dict[float, float | None], uuid: str = "a") -> list[dict[str, Any]]:
    """Readings of one GPU, by seconds."""
    plain = {"kind": "gpu", "id": uuid, "phase": "load"}
    return [{**plain, "time_ns": round(at_s * 1e9), "gpu_power_w": power} for at_s, power in power_w.items()]


def steadily(power_w: float, uuid: str = "a") -> list[dict[str, Any]]:
    return watts(dict.fromkeys(range(-2, 13), power_w), uuid)


def seen(*rows: dict[str, Any]) -> TrialSummary:
    return trial(SPAN, telemetry(*rows), telemetry=SAW)


def conditions(*rows: dict[str, Any]) -> HostConditions:
    found = seen(*rows).telemetry
    assert found
    return found


def test_energy_is_power_over_the_window() -> None:
    """300 W over 10 s are 3 kJ, whatever was read before and after them; two GPUs take what each takes."""
    around = watts({-3: 900.0, -2.5: 900.0, 12.5: 900.0, 13: 900.0})
    assert conditions(*around, *steadily(300.0)).gpu_energy_j == pytest.approx(3_000)
    assert conditions(*steadily(300.0), *steadily(50.0, "b")).gpu_energy_j == pytest.approx(3_500)


def test_between_readings_power_is_a_straight_line() -> None:
    """Power that rises from 100 to 200 W over the window is 150 W on average, also by readings of uneven distance, and
    by those around the window's edges."""
    risen = {at: 100.0 + 10 * at for at in (-1, 0.5, 1, 3.9, 5, 7, 9.5, 11)}
    assert conditions(*watts(risen)).gpu_energy_j == pytest.approx(1_500)


@pytest.mark.parametrize(
    "rows",
    [
        [],
        watts(dict.fromkeys([0, 1, 2, 3, 6.5, 7, 8, 9, 10], 300.0)),
        watts(dict.fromkeys([3.5, 5, 7, 9], 300.0)),
        watts(dict.fromkeys(range(11))),
        [*steadily(300.0), *watts(dict.fromkeys(range(11)), "b")],
        [{**row, "phase": "warm"} for row in steadily(300.0)],
    ],
    ids=["no readings", "a gap", "a late begin", "no power", "one GPU without", "before the load"],
)
def test_energy_without_evidence_is_not_known(rows: list[dict[str, Any]]) -> None:
    """Where power was not read all the while there is no energy, nor anything by it: null, and not 0."""
    found = seen(*rows)
    assert found.telemetry
    assert (found.telemetry.gpu_energy_j, found.inferences_per_joule) == (None, None)


def test_items_per_joule_are_those_of_the_window() -> None:
    """Two requests of 8 items in 10 s at 300 W are 16 items by 3 kJ; without items there are none by a joule."""
    assert seen(*steadily(300.0)).inferences_per_joule == pytest.approx(16 / 3_000)
    failed = lanes([(-1, 0), (0, 5_000), (5_000, 10_000)], status="INTERNAL", error="x")
    none = trial(failed, telemetry(*steadily(300.0)), telemetry=SAW)
    assert none.inferences_per_joule == 0
    assert trial(SPAN, telemetry(*steadily(300.0)), telemetry=None).inferences_per_joule is None  # nobody read it


def recorded() -> list[dict[str, Any]]:
    """What nvidia-smi printed of an H200 while a Triton was loaded, and then worked; it was asked for no clock."""
    head, *lines = (DATA / "nvidia-smi-query-gpu.csv").read_text().splitlines()
    parser, rows = SmiParser(GPUS), []
    parser.parse(head.replace("timestamp,", "timestamp, uuid,"))
    for line in lines:
        at, _, rest = line.partition(", ")
        row, problem = parser.parse(f"{at}, {UUID}, {rest}")
        assert problem is None
        assert row
        rows.append({"kind": "gpu", "phase": "load", **row})
    return rows


def test_the_energy_that_an_h200_took() -> None:
    """On its own readings five times a second the energy is the sum of power times distance, and utilization and power
    are their means; of a clock that was not read nothing is said."""
    rows = recorded()
    inside = rows[10:110]
    start_ns, end_ns = int(inside[0]["time_ns"]), int(inside[-1]["time_ns"])
    half = (end_ns - start_ns) / 2 / MS
    span = lanes([(-1, 0), (0, half), (half, 2 * half)])
    shifted = [{**row, "time_ns": int(row["time_ns"]) - start_ns} for row in rows]
    found = trial(span, telemetry(*shifted), telemetry=SAW)
    assert found.telemetry
    by_hand_j = sum(
        (after["gpu_power_w"] + before["gpu_power_w"]) / 2 * (after["time_ns"] - before["time_ns"]) / 1e9
        for before, after in pairwise(inside)
    )
    assert 100 * 19 < by_hand_j < 700 * 21
    assert found.telemetry.gpu_energy_j == pytest.approx(by_hand_j, rel=1e-3)
    assert found.telemetry.gpu_sm_clock_mhz is None
    assert found.inferences_per_joule == pytest.approx(2 / by_hand_j, rel=1e-3)


def test_the_recorder_reads_the_clock_of_an_h200() -> None:
    """Telemetry as raybench records it has all that the columns need: power, clock and utilization of each reading."""
    rows = pq.read_table(DATA / "gpu-2048-mib.parquet").to_pylist()
    gpu = [row for row in rows if row["kind"] == "gpu"]
    start_ns, end_ns = gpu[0]["time_ns"], gpu[-1]["time_ns"]
    half = (end_ns - start_ns) / 2 / MS
    shifted = [{**row, "phase": "load", "time_ns": row["time_ns"] - start_ns} for row in gpu]
    found = trial(lanes([(-1, 0), (0, half), (half, 2 * half)]), telemetry(*shifted), telemetry=SAW).telemetry
    assert found
    clocks_mhz = [row["gpu_sm_clock_mhz"] for row in gpu[:-1]]
    assert found.gpu_sm_clock_mhz == pytest.approx(fmean(clocks_mhz))
    assert (min(clocks_mhz), max(clocks_mhz)) == (420, 1980)
    assert found.gpu_power_w is not None
    assert found.gpu_energy_j == pytest.approx(found.gpu_power_w * (end_ns - start_ns) / 1e9, rel=0.02)


def test_what_is_asked_of_nvidia_smi_has_what_the_columns_need() -> None:
    """Utilization, power and clock stand in the query, by the heads that nvidia-smi prints for them."""
    assert all(each in HEAD for each in ("utilization.gpu [%]", "power.draw [W]", "clocks.current.sm [MHz]"))

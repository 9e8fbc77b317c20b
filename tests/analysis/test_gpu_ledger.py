"""The ledger on telemetry recorded on an H200, of a Triton whose model took a stated number of MiB of it."""

import pyarrow.parquet as pq
import pytest
from gpu_parts import DATA

from raybench.analysis import costs
from raybench.telemetry import prometheus_text
from raybench.telemetry.triton_statistics import gpu_rows

STATED_MIB = 2048


def idle(mib: int) -> costs.MemoryMoment:
    """What the server held once it was loaded and nothing had been sent."""
    return costs.memory(pq.read_table(DATA / f"gpu-{mib}-mib.parquet"), beside_mib=0.0).idle


def test_a_known_allocation_is_found() -> None:
    """What a model takes of the GPU is in its server's share, to within 5 % once the contexts' own share is off."""
    found, contexts = idle(STATED_MIB).gpu_server_mib, idle(0).gpu_server_mib
    assert found is not None
    assert contexts is not None
    assert found - contexts == pytest.approx(STATED_MIB, rel=0.05)


def test_the_processes_account_for_the_gpu() -> None:
    """The server's share is what the whole GPU holds, but for the driver's own few MiB."""
    held = idle(STATED_MIB)
    assert held.gpu_mib is not None
    assert held.gpu_server_mib is not None
    assert 0 <= held.gpu_mib - held.gpu_server_mib < 40


def test_tritons_page_agrees_with_nvidia_smi() -> None:
    """A Triton whose host is out of reach tells by its page what nvidia-smi would have told there."""
    (row,) = gpu_rows(prometheus_text.parse((DATA / f"gpu-{STATED_MIB}-mib-metrics.txt").read_text()))
    assert row["gpu_used_mib"] == pytest.approx(idle(STATED_MIB).gpu_mib, abs=2)

"""What the CPUs of a host did: by its own word, and never by a word that it does not have."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from raybench.telemetry.host_cpu import HostCpuMeter

TICKS = os.sysconf("SC_CLK_TCK")
SPIN = "import time\nend = time.process_time() + 0.4\nwhile time.process_time() < end: pass"


def proc(folder: Path, *, busy_s: float = 0.0, stolen_s: float | None = 0.0, waited_s: float | None = 0.0) -> Path:
    """A /proc whose CPUs were busy for so long."""
    folder.mkdir(exist_ok=True)
    more = [] if stolen_s is None else [stolen_s, 0, 0]
    ticks = [round(value * TICKS) for value in (busy_s, 0, 0, 1000, 0, 0, 0, *more)]
    (folder / "stat").write_text(f"cpu  {' '.join(map(str, ticks))}\ncpu0 1 2 3\n")
    if waited_s is not None:
        (folder / "pressure").mkdir(exist_ok=True)
        (folder / "pressure" / "cpu").write_text(
            f"some avg10=0.00 total={round(waited_s * 1e6)}\nfull avg10=0 total=0\n"
        )
    return folder


def test_a_host_is_read_before_and_during_a_trial(tmp_path: Path) -> None:
    """What was busy before the start is kept apart from what was under load, and so are steal and waiting."""
    meter = HostCpuMeter((), proc(tmp_path))
    time.sleep(0.05)
    proc(tmp_path, busy_s=5.0, stolen_s=1.0, waited_s=2.0)
    meter.start()
    proc(tmp_path, busy_s=8.0, stolen_s=1.5, waited_s=2.25)
    found = meter.total()
    assert found
    assert (found.busy_s, found.stolen_s, found.waited_s) == (3.0, 0.5, 0.25)
    assert found.busy_before is not None
    assert found.busy_before > 1
    assert found.own_s == 0


@pytest.mark.parametrize("missing", ["stolen_s", "waited_s"])
def test_what_a_kernel_does_not_tell_is_not_known(missing: str, tmp_path: Path) -> None:
    """Without pressure stall information, or a column for steal, that is null, and not 0."""
    meter = HostCpuMeter((), proc(tmp_path, **{missing: None}))
    found = meter.total()
    assert found
    assert getattr(found, missing) is None
    assert found.busy_s == 0


@pytest.mark.parametrize("text", [None, "", "cpu 1 2\n", "cpu a b c d e f g\n"])
def test_a_host_that_says_nothing_is_not_read(text: str | None, tmp_path: Path) -> None:
    """Without /proc/stat, or with another system's, nothing is known and nothing fails."""
    if text is not None:
        (tmp_path / "stat").write_text(text)
    meter = HostCpuMeter((), tmp_path)
    meter.start()
    assert meter.total() is None


def test_own_time_is_that_of_the_trees_under_load(tmp_path: Path) -> None:
    """CPU time of a root's descendants counts from when the meter was made, and so does that of new ones."""
    meter = HostCpuMeter((os.getpid(),), proc(tmp_path))
    spinning = subprocess.Popen([sys.executable, "-c", f"{SPIN}\ninput()"], stdin=subprocess.PIPE)
    try:
        end = time.monotonic() + 60
        while (found := meter.total()) and found.own_s < 0.4:
            assert time.monotonic() < end
            time.sleep(0.05)
    finally:
        spinning.kill()
        spinning.wait(timeout=20)

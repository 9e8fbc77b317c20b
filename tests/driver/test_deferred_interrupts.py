"""Interrupts that wait until nothing half-done can be lost by them."""

import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pytest
from record_builders import record

from raybench.driver import session
from raybench.driver.deferred_interrupts import deferred_interrupts
from raybench.results.results_folder import ObservedTrial


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_waits_for_the_end_of_the_block(number: signal.Signals) -> None:
    """Within the block an interrupt raises nothing and is known; afterwards signals do what they did before."""

    def handle(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(number, handle)
    try:
        with deferred_interrupts() as is_interrupted:
            assert not is_interrupted()
            os.kill(os.getpid(), number)
            assert is_interrupted()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    finally:
        signal.signal(number, before)


def test_a_trial_is_saved_whole(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ctrl-C while a trial is written ends the run after it, and not between its samples and its record."""
    done = []

    def save(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        done.append("written")

    monkeypatch.setattr(session.results_folder, "save", save)
    observer = SimpleNamespace(end=lambda trial: done.append(trial.record.status))
    context: Any = SimpleNamespace(folder=tmp_path, observer=observer)
    with pytest.raises(KeyboardInterrupt):
        session.save(ObservedTrial(record(status="ok", reason=None), pa.table({}), pa.table({})), context)
    assert done == ["written", "ok"]

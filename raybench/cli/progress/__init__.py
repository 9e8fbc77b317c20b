"""The progress of a run: a live view on a terminal, lines in a log, or nothing."""

from rich.console import Console

from raybench.cli.measuring_process import Tell
from raybench.cli.progress.live import LiveProgress
from raybench.cli.progress.plain import PlainProgress
from raybench.cli.progress.quiet import QuietProgress
from raybench.driver.run_observer import RunObserver


def create_observer(ui: str, console: Console, tell: Tell = lambda _: None) -> RunObserver:
    """The observer of `--ui`, which tells how far the run is too: live falls back to plain lines without a terminal."""
    observer = _observer(ui, console)
    observer.tell = tell
    return observer


def _observer(ui: str, console: Console) -> QuietProgress:
    if ui == "none":
        return QuietProgress()
    return LiveProgress(console) if ui == "live" and console.is_terminal else PlainProgress(console)

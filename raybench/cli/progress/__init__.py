"""The progress of a run: a live view on a terminal, lines in a log, or nothing."""

from rich.console import Console

from raybench.cli.progress.live import LiveProgress
from raybench.cli.progress.plain import PlainProgress
from raybench.cli.progress.quiet import QuietProgress
from raybench.driver.run_observer import RunObserver


def create_observer(ui: str, console: Console) -> RunObserver:
    """The observer of `--ui`: live falls back to plain lines where there is no terminal."""
    if ui == "none":
        return QuietProgress()
    return LiveProgress(console) if ui == "live" and console.is_terminal else PlainProgress(console)

"""Progress as a view that is redrawn in place, for a terminal."""

import time

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from raybench.cli.progress.progress_observer import ProgressObserver
from raybench.cli.progress.progress_text import clock, request_count, times, trial_facts, usually
from raybench.driver.run_observer import RunObserver

_REFRESHES_PER_S = 2.0  # each is drawn by the process that gathers: more would cost and show no more
_BAR_WIDTH = 40


class LiveProgress(ProgressObserver):
    """Three lines that are redrawn twice a second; a trial that has ended leaves one above them."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self._spinner = Spinner("dots")

    def __enter__(self) -> "RunObserver":
        view = Live(
            console=self._console, get_renderable=self._view, refresh_per_second=_REFRESHES_PER_S, transient=True
        )
        self._stack.enter_context(view)
        return self

    def _view(self) -> RenderableType:
        now_s, progress = time.monotonic(), self._progress
        head = Table.grid(padding=(0, 1))
        step = f"{self._step}{usually(self._step)}, {clock(now_s - self._step_started_s)}  ({self._run_times(now_s)})"
        head.add_row(self._spinner, _line(step))
        if progress is None:
            return head
        if not progress.done:
            return Group(head, _line("  warming up"))
        bar = Table.grid(padding=(0, 1))
        width = min(_BAR_WIDTH, self._console.width // 3)
        done = f"{request_count(progress)}  trial {times(progress.elapsed_s(now_s), progress.left_s(now_s))}"
        bar.add_row(" ", ProgressBar(total=1.0, completed=progress.share(now_s), width=width), _line(done))
        facts = _line(f"  {'  '.join(trial_facts(progress, now_s))}")
        facts.highlight_regex(r"\b[1-9]\d* failed|no reply for.*?s\b", "bold red")
        return Group(head, bar, facts)


def _line(text: str) -> Text:
    """Cut at the terminal's edge: the view keeps its height."""
    return Text(text, no_wrap=True, overflow="ellipsis")

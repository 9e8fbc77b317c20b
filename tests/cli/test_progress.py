"""What a run says about itself while it runs: the same facts on a terminal and in a log, and few costs."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import MS, fake_cell, lanes, observed, sample, summary, telemetry
from real_parts import BIN, raybench
from record_builders import load as record_load
from record_builders import worker_facts
from rich.console import Console
from terminal import lines, on_terminal

from raybench import config
from raybench.cli.progress import create_observer, live
from raybench.cli.progress.histogram import Histogram
from raybench.cli.progress.live import LiveProgress
from raybench.cli.progress.plain import PlainProgress
from raybench.cli.progress.progress_text import planned
from raybench.cli.progress.quiet import QuietProgress
from raybench.cli.progress.run_progress import RunProgress
from raybench.cli.progress.trial_progress import TrialProgress
from raybench.config import plan
from raybench.config.plan import Load, Trial
from raybench.driver.run_observer import RunObserver
from raybench.results import samples

FACTS = re.compile(r"[\d.]+ images/s, p50 [\d.]+ ms, p99 (–|[\d.]+) ms, \d+ failed")


def fake_trial(round: int = 1, **changes: Any) -> Trial:
    return Trial(cell=fake_cell(**{"request_count": 100, **changes}), round=round)


def load(**changes: Any) -> Load:
    return fake_trial(**changes).cell.load


def chunk(count: int, *, each_ms: float = 10, first: int = 0, **changes: Any) -> Any:
    """Requests of 2 images, one after the other."""
    spans = [((first + i) * each_ms, (first + i + 1) * each_ms) for i in range(count)]
    return samples.table([sample(*span, items=2, **changes) for span in spans])


class Shown:
    """A progress at work on a console that keeps what it prints; `at_s` is its clock."""

    def __init__(
        self, make: Callable[[Console], RunObserver], monkeypatch: pytest.MonkeyPatch, width: int = 200
    ) -> None:
        self.at_s = 0.0
        monkeypatch.setattr(live.time, "monotonic", lambda: self.at_s)
        self.console = Console(file=io.StringIO(), width=width, force_terminal=False)
        self.progress: Any = make(self.console)

    def text(self) -> str:
        return self.console.file.getvalue()  # type: ignore[attr-defined,no-any-return]

    def view(self) -> list[str]:
        with self.console.capture() as captured:
            self.console.print(self.progress._view())
        return captured.get().splitlines()


def test_percentiles_so_far_are_right_to_a_percent() -> None:
    """However many requests there were, in whatever chunks, percentiles so far are the exact ones within 1 %."""
    times_ns = np.random.default_rng(0).lognormal(np.log(20 * MS), 1.5, 100_000)
    found = Histogram()
    for part in np.array_split(times_ns, 37):
        found.add(part)
    for name, p in (("p50", 0.5), ("p99", 0.99), ("p99_9", 0.999)):
        assert found.percentile_ms(name) == pytest.approx(np.quantile(times_ns, p) / MS, rel=0.012)


@pytest.mark.parametrize("ns", [0.0, 1.0, 1e18])
def test_no_time_is_out_of_bounds(ns: float) -> None:
    """Times below and above what bins there are count in the first and last one."""
    found = Histogram()
    found.add(np.full(6, ns))
    assert found.percentile_ms("p50") is not None


def test_percentiles_need_what_they_need_in_the_report() -> None:
    """A percentile is not shown before the sample supports it, by the report's own rule."""
    found = Histogram()
    found.add(np.full(367, 5.0 * MS))
    assert (found.percentile_ms("p50"), found.percentile_ms("p99")) == (pytest.approx(5, rel=0.01), None)
    found.add(np.full(1, 5.0 * MS))
    assert found.percentile_ms("p99") == pytest.approx(5, rel=0.01)


def test_a_trial_is_shown_by_its_own_stamps() -> None:
    """Rates are by first send and last reply, whenever the driver heard of them; failed requests are in no rate
    and have no latency."""
    progress = TrialProgress(load(), "images")
    assert (progress.elapsed_s(50), progress.requests_per_s(50), progress.left_s(50)) == (0, None, None)
    assert progress.share(50) == 0
    progress.add(chunk(10), None, now_s=100)
    progress.add(chunk(10, first=10, status="UNAVAILABLE"), 300.0, now_s=100.3)
    assert (progress.done, progress.failed, progress.server_mib) == (20, 10, 300)
    assert progress.requests_per_s(100.4) == pytest.approx(50)
    assert progress.items_per_s(100.4) == pytest.approx(100)
    assert progress.left_s(100.4) == pytest.approx(0.8)
    assert progress.histogram._counts.sum() == 10


def test_a_server_that_stands_still_is_seen() -> None:
    """Where no reply comes any more, that is printed, and the rate falls."""
    progress = TrialProgress(load(), "images")
    progress.add(chunk(10), None, now_s=100)
    progress.add(samples.table([]), None, now_s=105)
    assert progress.silent_s(106) == pytest.approx(5)
    assert progress.requests_per_s(106) == pytest.approx(10 / 5.1)


def test_what_follows_the_last_reply_is_no_silence() -> None:
    """Calibrating and comparing answers, however long, take nothing off the rate that a trial had."""
    progress = TrialProgress(load(), "images")
    progress.add(chunk(10), None, now_s=100)
    rate = progress.requests_per_s(100)
    progress.end()
    assert (progress.silent_s(160), progress.requests_per_s(160)) == (0, rate)


def test_a_trial_that_ended_is_shown_with_its_own_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line that stays of a trial has the rate of its requests, whatever was done after the last one."""
    shown = Shown(PlainProgress, monkeypatch)
    shown.progress.start(fake_trial(), "images")
    shown.progress.advance(chunk(100), None)
    shown.at_s = 30
    shown.progress.step("calibrating")
    shown.at_s = 60
    shown.progress.end(observed(chunk(100), id="x"))
    assert "ok; 200 images/s" in shown.text()
    assert "no reply" not in shown.text()


def test_a_trial_that_ended_has_the_numbers_of_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rate is that of the window and memory its peak without what is the client's, whatever came last."""
    spans = [[(0, 300), *((t, t + 10) for t in range(300, 1300, 10))], [(t, t + 10) for t in range(0, 1300, 10)]]
    rows, memory = lanes(*spans), telemetry({"kind": "process", "id": "7", "rss_mib": 1300.0})
    two = record_load(in_flight=2, concurrency=2)
    trial = observed(rows, memory, label="local", load=two, workers=[worker_facts(payload_held_mib=83.0)])
    shown = Shown(PlainProgress, monkeypatch)
    shown.progress.start(fake_trial(), "images")
    shown.progress.advance(rows, 1447.0)
    shown.progress.end(trial)
    (cell,) = summary(trial).cells
    assert (round(cell.inferences_per_s.mean), cell.memory_peak_mib) == (200, 1217)
    assert "ok; 200 images/s" in shown.text()
    assert ", 1217 MiB" in shown.text()


def test_an_open_loop_shows_what_users_wait() -> None:
    """Percentiles are of response where requests are due, as in the table; what is left follows the duration."""
    progress = TrialProgress(load(request_count=None, duration=10, request_rate=(50.0,)), "images")
    progress.add(samples.table([sample(30, 40, due_ms=0)] * 6), None, now_s=0)
    assert progress.histogram.percentile_ms("p50") == pytest.approx(40, rel=0.01)
    assert progress.left_s(0) == pytest.approx(9.99)


def test_what_is_left_of_a_run() -> None:
    """Each trial that follows counts as its cell took before, else as those that were seen; a search knows of none."""
    quick, slow = fake_trial(batch_size=1), fake_trial(batch_size=2)
    run = RunProgress([quick, slow, quick, slow], now_s=0)
    run.start()
    assert run.left_s(None, now_s=1) is None
    assert run.left_s(8, now_s=2) == 8 + 3 * 10
    run.end(quick, is_measured=True, now_s=10)
    run.start()
    run.end(slow, is_measured=True, now_s=40)
    run.start()
    assert run.left_s(5, now_s=45) == 5 + 30
    assert RunProgress((), now_s=0).left_s(5, now_s=0) is None


def test_a_trial_that_was_not_measured_says_nothing_of_others() -> None:
    """A server that is skipped at once does not make a run look shorter."""
    run = RunProgress([fake_trial(), fake_trial()], now_s=0)
    run.start()
    run.end(fake_trial(), is_measured=False, now_s=1)
    run.start()
    assert run._took_s == {}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "measuring local, triton x1 on efficientnetb0-no-opt: 4 in flight, batch 8, 10 s each; 2 trials"),
        ({"server": ("local",)}, "measuring local on efficientnetb0-no-opt: 1 in flight, batch 8, 10 s each; 1 trial"),
        (
            {"server": ("fake",), "request_rate": (5.0, 9.0), "rounds": 2},
            "measuring fake on efficientnetb0-no-opt: 2 loads; 4 trials",
        ),
    ],
)
def test_a_run_says_what_it_measures(settings: Any, said: str) -> None:
    """Before its first trial a run names servers, models and load, with what was chosen where no flag was given."""
    assert planned(plan.trials(config.load(None, settings))) == said


@pytest.mark.parametrize("kind", [PlainProgress, LiveProgress])
def test_both_views_tell_the_same(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Elapsed and remaining of trial and run, rate, p50 and p99 so far, errors and the server's memory, in either."""
    shown = Shown(kind, monkeypatch)
    shown.progress.plan([fake_trial(), fake_trial(round=2)])
    shown.at_s = 60
    shown.progress.start(fake_trial(), "images")
    shown.progress.advance(chunk(40), 812.4)
    shown.progress.advance(chunk(10, first=40, status="UNAVAILABLE"), 812.4)
    shown.progress._report() if kind is PlainProgress else None
    printed = shown.text() if kind is PlainProgress else " ".join(shown.view())
    assert "trial 1/2: fake efficientnetb0-no-opt" in printed
    for fact in (
        "50/100 requests",
        "160 images/s",
        "p50 10.1 ms",
        "p99 – ms",
        "10 failed",
        "812 MiB",
    ):
        assert fact in printed
    if kind is PlainProgress:
        assert re.search(r"; trial 0:00, run 1:0[01] left", printed)
    else:
        assert re.search(r"trial 0:00, about 0:00 left", printed)
        assert re.search(r"run 1:00, about 1:0[01] left", printed)


def test_the_view_fits_any_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """The live view has three lines, cut where the terminal ends: a fourth would push it down with every refresh."""
    for width in (20, 60, 200):
        shown = Shown(LiveProgress, monkeypatch, width=width)
        shown.progress.plan([fake_trial()])
        shown.progress.start(fake_trial(), "images")
        assert len(shown.view()) == 2
        shown.progress.advance(chunk(40), 812.4)
        assert len(shown.view()) == 3
        assert all(len(line) <= width for line in shown.view())


def test_a_trial_that_is_over_stays_on_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    """When a trial ends, a line with its status and facts stays, and the view goes on to what comes next."""
    shown = Shown(LiveProgress, monkeypatch)
    shown.progress.start(fake_trial(), "images")
    shown.progress.advance(chunk(40), None)
    shown.progress.end(observed(chunk(40), id="r1-x", status="degraded", reason="lost"))
    assert re.match(r"r1-x: degraded; 200 images/s, .*, 0 failed$", shown.text().strip())
    assert len(shown.view()) == 1


def test_steps_that_take_long_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the first reply, plain lines say what is waited for, how long it usually takes, and how long it has."""
    shown = Shown(PlainProgress, monkeypatch)
    shown.progress.step("starting triton x1")
    assert shown.text().strip().endswith("starting triton x1 (usually about 13 s)")
    shown.at_s = 75
    shown.progress._report()
    assert shown.text().splitlines()[-1] == "[  75.0 s]   still starting triton x1, for 1:15"


def test_there_is_no_live_view_without_a_terminal() -> None:
    """--ui live in a pipe is plain lines; none is none."""
    pipe, terminal = Console(file=io.StringIO()), Console(file=io.StringIO(), force_terminal=True)
    assert isinstance(create_observer("live", pipe), PlainProgress)
    assert isinstance(create_observer("live", terminal), LiveProgress)
    assert isinstance(create_observer("plain", terminal), PlainProgress)
    assert type(create_observer("none", terminal)) is QuietProgress


FAKE = ["run", "-s", "fake", "--url", "fake=service_ms=20,fail_every=25", "--workers", "2", "-b", "2"]
FAKE += ["--max-error-rate", "1"]


@pytest.mark.slow
def test_a_terminal_shows_a_trial_as_it_goes(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """On a real terminal: a bar that moves, facts that change, a line that stays, and the cursor is back at the end."""
    code, shown = on_terminal([BIN / "raybench", *FAKE, "--duration", "4", "--ui", "live"], tmp_path, ray_environment)
    printed = lines(shown)
    assert code == 0, printed
    steps = {
        int(found[1])
        for line in printed
        if (found := re.search(r"(\d+) requests  trial 0:0\d, about 0:0\d left", line))
    }
    assert len(steps) >= 3
    assert max(steps) > 200
    facts = [line for line in printed if re.match(r"[\d.]+ images/s  p50 2\d(\.\d)? ms  p99 ", line)]
    assert len(set(facts)) >= 3
    (end,) = {line for line in printed if re.match(r"r1-fake-\S+: ok; ", line)}
    assert FACTS.search(end)
    assert shown.count(b"\x1b[?25l") == shown.count(b"\x1b[?25h") == 1  # the cursor is hidden, and comes back


@pytest.mark.slow
def test_a_log_gets_a_line_every_ten_seconds(ray_environment: dict[str, str], tmp_path: Path) -> None:
    """Where there is no terminal, a line each ten seconds has the facts that the live view has."""
    run = raybench(*FAKE, "--duration", 12, cwd=tmp_path, env=ray_environment)
    assert run.code == 0, run.err + run.out
    assert "\x1b" not in run.out
    printed = [line for line in run.err.splitlines() if FACTS.search(line)]
    assert any(re.search(r"\d+ requests, .*; trial 0:\d\d, run 0:\d\d left$", line) for line in printed)
    stamps = [float(line[1:8]) for line in run.out.splitlines() if re.match(r"\[.* s\]   (still|\d+ requests)", line)]
    assert np.diff([0, *stamps]) == pytest.approx(10, abs=1)

"""report.html: what a browser shows of a results folder."""

import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from browser import CHROMIUM, Page, opened
from helpers import OPEN, lanes, observed, results, sample, summary, telemetry
from record_builders import load, model_verification, statistics

from raybench.config.search_goal import Goal
from raybench.report import report, save, text
from raybench.report.headline import headline
from raybench.report.html import page, write
from raybench.results import samples
from raybench.results.records import UNEQUAL, OutputDifference, VerificationRecord
from raybench.results.results_folder import ObservedTrial, Results

EVIL = '<script>document.title="owned"</script><img src=x onerror=alert(1)> & "quoted"'
STEADY = [(i * 10, i * 10 + 10) for i in range(400)]
GOAL = Goal(kind="latency", variable="request_rate", steps=(5.0, 10.0), percentile="p50", limit_ms=40.0)
STATISTICS = statistics(success=400, executions=100, queue_ns=10**9, compute_infer_ns=2 * 10**9)


class Reader(HTMLParser):
    """The tables of a page as rows of text, and every tag that it has."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self._is_in_cell = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self._is_in_cell = True

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self.rows[-1][-1] = " ".join(self.rows[-1][-1].split())
            self._is_in_cell = False

    def handle_data(self, data: str) -> None:
        if self._is_in_cell:
            self.rows[-1][-1] += data


def rounds(label: str, each_ms: float, model: str = "resnet50-no-opt", **changes: Any) -> list[ObservedTrial]:
    """Three rounds of a server, with warm-up, memory and two GPUs."""
    return [
        observed(
            samples.merge(
                [
                    lanes([(i * 30 - 3000, i * 30 - 2970) for i in range(20)], phase=samples.WARMUP),
                    lanes([(i * each_ms * f, (i + 1) * each_ms * f) for i in range(400)], items=8),
                ]
            ),
            telemetry(
                *({"kind": "process", "id": "7", "time_ns": t * 10**9, "rss_mib": 500.0 + t} for t in range(4)),
                *({"kind": "gpu", "id": uuid, "time_ns": 10**9, "gpu_used_mib": 20.0} for uuid in "ab"),
            ),
            label=label, model=model, round=number, **changes,
        )
        for number, f in enumerate((1.0, 1.02, 0.98), 1)
    ]  # fmt: skip


def benchmark() -> list[ObservedTrial]:
    """Two models on three servers: one tells its times, one failed with markup in its last words."""
    failed = observed(samples.merge([]), label="fake", status="failed", reason=f"it ended: {EVIL}", workers=())
    return [
        *rounds("local", 10), *rounds("triton x1", 8, server_statistics=STATISTICS), failed,
        *rounds("local", 30, "mobilenet-no-opt"), *rounds("triton x1", 29.7, "mobilenet-no-opt"),
    ]  # fmt: skip


def shown(*trials: ObservedTrial, goal: Goal | None = None, threshold: tuple[str, ...] = (), **run: Any) -> str:
    """The page of these trials; `run` changes what is said of the run."""
    derived = summary(*trials, goal=goal, threshold=threshold)
    derived = replace(derived, run=replace(derived.run, **run))
    return page(Results(Path("results/run"), derived.run, derived.environment, trials, goal), derived)


def searched() -> list[ObservedTrial]:
    """Two rates within the threshold, one beyond."""
    found = []
    for rate, ms in ((5.0, 20), (10.0, 30), (15.0, 50)):
        rows = samples.table([sample(i * 100, i * 100 + ms, due_ms=i * 100, seq=i) for i in range(40)])
        asked = load(**{**OPEN, "offered_rps": rate})
        found.append(observed(rows, load=asked, cell=f"c{rate}", id=f"r1-c{rate}"))
    return found


def test_the_numbers_are_those_of_the_summary() -> None:
    """Every cell of the table stands on the page as the terminal shows it, for every row."""
    trials = benchmark()
    derived, read = summary(*trials), Reader(shown(*trials))
    for cell in derived.cells:
        values = list(text.row(cell, derived))
        assert values in read.rows, values


def test_percentiles_stand_there_with_their_bounds() -> None:
    """Each trial's percentiles are on the page with what they are bounded by; one that is not supported is a dash."""
    read = Reader(shown(observed(lanes([(i * 1000, i * 1000 + 10 + i) for i in range(80)]))))
    cells = next(row for row in reversed(read.rows) if row[:3] == ["triton x1", "resnet50-no-opt", "1"])
    assert cells[3:6] == ["79", "50", "50 41–59"]  # the first one opens the window
    assert cells[8] == cells[9] == "–"


SKIPPED = observed(samples.merge([]), status="skipped", reason="none here", workers=())
TWO = "triton x1 serves resnet50-no-opt 1.25 times as fast as local"


@pytest.mark.parametrize(
    ("trials", "sentence", "note"),
    [
        (rounds("local", 10) + rounds("triton x1", 8), TWO, "3 rounds"),
        (rounds("local", 10)[:1] + rounds("triton x1", 8)[:1], "In one round triton x1 served", "--rounds 5"),
        (rounds("triton x1", 8), "triton x1 serves resnet50-no-opt at 1000", "p99 8"),
        ([SKIPPED], "No server gave a number", "none here"),
    ],
    ids=["shown", "one round", "alone", "nothing"],
)
def test_the_headline_says_what_was_found(trials: list[ObservedTrial], sentence: str, note: str) -> None:
    """The first sentence is the largest difference that is shown, with its interval; without any, the throughput."""
    found = headline(summary(*trials))
    assert str(found).startswith(sentence)
    assert note in found.note


def test_no_difference_is_no_headline() -> None:
    """Where none is shown the headline says that, beside what would have been seen."""
    even = [observed(lanes([(i * ms, (i + 1) * ms) for i in range(40)]), label=label, round=number)
            for label, times in (("local", (10, 10.5, 9.8)), ("triton x1", (10.2, 10.1, 10.1)))
            for number, ms in enumerate(times, 1)]  # fmt: skip
    found = headline(summary(*even))
    assert str(found) == "No difference shown between triton x1 and local on resnet50-no-opt"
    assert "rounds can only detect" in found.note


@pytest.mark.parametrize(
    "trials",
    [
        [],
        [SKIPPED],
        [observed(lanes([(0, 10)]))],
        [observed(lanes([(0, 10)]), load=load(in_flight=2))],
        [observed(lanes([(0, 0.00001)] * 2))],
        [observed(samples.table([sample(0, 9, status="INTERNAL", error="x")]), status="failed", reason="none")],
        searched(),
    ],
    ids=["nothing", "skipped", "one request", "no window", "no time", "errors", "rates"],
)
def test_whatever_was_measured_has_a_page(trials: list[ObservedTrial]) -> None:
    """A run that ended early, or measured little, has a report too."""
    assert "</html>" in shown(*trials)


def test_thresholds_stand_there_with_what_became_of_them() -> None:
    """Each threshold has its line for each row, and a missed one is counted at the top."""
    html = shown(*rounds("local", 10), threshold=("p(99)<5ms", "error_rate<1%"))
    assert "1 of 2 thresholds missed" in html
    assert "<b>p(99)&lt;5ms</b> local, resnet50-no-opt, 1 in flight, batch 1: 10, missed" in html
    assert "error_rate&lt;1% local, resnet50-no-opt, 1 in flight, batch 1: 0, met" in html


@pytest.mark.parametrize(
    ("rates", "said"),
    [
        ((None,), "Percentiles are of service, in a closed loop"),
        ((100.0,), "Percentiles are of response, from the time a request was due. "),
        (
            (None, 100.0),
            "of response, from the time a request was due, in the rows with an offered rate; in the others of",
        ),
    ],
)
def test_the_page_says_what_percentiles_are_of(rates: tuple[float | None, ...], said: str) -> None:
    """Where a table has rows of both loops, it says of each what its percentiles are of."""
    spans = [(s, s + 2) for s in range(0, 200, 5)]
    closed = observed(lanes(spans))
    rows = samples.table([sample(*span, due_ms=span[0], seq=n) for n, span in enumerate(spans)])
    opened = observed(rows, load=load(**OPEN), cell="open", id="r1-open")
    assert said in shown(*(opened if rate else closed for rate in rates))


def test_a_search_shows_its_curve() -> None:
    """The page of a search has its answer, its points, and the threshold in the curve."""
    html = shown(*searched(), goal=GOAL)
    assert "ended before its answer, and <strong>10 requests/s</strong> of resnet50-no-opt held" in html
    assert "triton x1 holds" not in html
    assert "p50&lt;40ms" in html
    assert [row[-1].strip() for row in Reader(html).rows if row[0].strip() in ("5", "10", "15")] == [
        "held",
        "held",
        "broke",
    ]


@pytest.mark.parametrize(
    ("holds", "headline"), [(True, "holds <strong>10 requests/s</strong>"), (False, "held no load")]
)
def test_the_page_of_a_search_says_what_the_search_found(holds: bool, headline: str) -> None:
    """The headline is the search's own answer, once it has one: nothing that its points say is over the limit."""
    goal = replace(GOAL, limit_ms=40.0 if holds else 10.0)
    seen = [
        replace(each, record=replace(each.record, round=n)) for n in (1, 2) for each in searched()[: 3 if holds else 1]
    ]
    rates = [
        replace(each, record=replace(each.record, load=replace(each.record.load, offered_rps=10.5))) for each in seen
    ]
    trials = [*seen[:2], *seen[3:5], rates[2], rates[5]] if holds else seen
    assert headline in shown(*trials, goal=goal)


def test_what_others_wrote_is_text() -> None:
    """Words of a server or a user, whatever they are, never become markup."""
    evil = observed(lanes(STEADY), label=f"triton {EVIL}", model=EVIL, signature=EVIL)
    html = shown(evil, *benchmark(), name=EVIL, command=("raybench", EVIL))
    read = Reader(html)
    assert {"script", "img"} & {tag for tag, _ in read.tags} == set()
    assert not [name for _, attrs in read.tags for name in attrs if name.startswith("on")]
    assert "&lt;script&gt;document.title=" in html


def test_nothing_is_fetched() -> None:
    """The page asks for nothing: no address in it leads elsewhere, and its policy would refuse."""
    read = Reader(shown(*benchmark()))
    links = [attrs[name] or "" for _, attrs in read.tags for name in ("href", "src", "xlink:href") if name in attrs]
    assert {link for link in links if not link.startswith(("#", "data:"))} == set()
    policy = [attrs["content"] for tag, attrs in read.tags if attrs.get("http-equiv")]
    assert policy == ["default-src 'none'; style-src 'unsafe-inline'; img-src data:"]


def test_a_link_leads_somewhere_and_an_id_is_there_once() -> None:
    """Every letter in the table leads to its doubt, every section of the menu is there."""
    read = Reader(shown(*benchmark()))
    ids = [attrs["id"] for _, attrs in read.tags if "id" in attrs]
    assert len(set(ids)) == len(ids)
    links = {attrs["href"] for tag, attrs in read.tags if tag == "a"}
    assert {str(link)[1:] for link in links} <= set(ids)


def test_charts_are_text_in_the_colours_of_the_theme() -> None:
    """Labels can be found and read aloud, and no chart has a colour of its own: the theme sets them all."""
    html = shown(*benchmark())
    charts = re.findall(r"<svg viewBox=.*?</svg>", html, re.S)
    assert len(charts) >= 8
    assert not [colour for chart in charts for colour in re.findall(r"#[0-9a-f]{6}", chart)]
    assert all((">" in chart and "aria-label" in chart) or "aria-hidden" in chart for chart in charts)
    assert re.search(r"<text[^>]*>triton x1</text>", html)


def test_a_page_is_as_large_for_a_million_requests() -> None:
    """What is drawn does not grow with the samples: a page opens as quickly for a long run."""

    def size(count: int) -> int:
        took_ms = np.random.default_rng(0).lognormal(2, 0.5, count)
        done_ns = (np.cumsum(took_ms) * 1e6).astype("int64")
        words = {"phase": "measured", "status": "OK"}
        columns: dict[str, Any] = {name: np.ones(count, int) for name in samples.SCHEMA.names}
        columns |= {"worker": np.zeros(count, int), "payload": np.zeros(count, int)}
        columns |= {"done_ns": done_ns, "sent_ns": done_ns - (took_ms * 1e6).astype("int64")}
        columns |= {name: pa.array([word] * count).dictionary_encode() for name, word in words.items()}
        columns |= {"due_ns": pa.nulls(count), "error": pa.nulls(count, pa.string()).dictionary_encode()}
        return len(shown(observed(pa.table(columns).cast(samples.SCHEMA))))

    assert size(100_000) < 1.2 * size(2_000)


def test_a_report_is_made_again_alike(tmp_path: Path) -> None:
    """report.html is derived from the folder alone: doing it again changes no byte."""
    folder = results(tmp_path, *benchmark())
    first = write(folder, report(folder)).read_bytes()
    assert write(folder, report(folder)).read_bytes() == first


# What a browser shows: the cells of the table, whether a section is hidden, and how wide the page is.
SEEN = """({
  rows: [...document.querySelectorAll('#table tbody tr')].map(row => [...row.cells].map(cell => cell.innerText.trim())),
  width: document.documentElement.scrollWidth,
  title: document.title,
  background: getComputedStyle(document.body).backgroundColor,
  ink: getComputedStyle(document.querySelector('svg text')).fill,
  unreachable: [...document.querySelectorAll('.scroll')]
    .filter(box => box.scrollWidth > box.clientWidth && box.tabIndex < 0).length,
})"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = results(tmp_path_factory.mktemp("results"), *benchmark())
    derived = report(made)
    save(made, derived)
    write(made, derived)
    return made


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: `make browser` installs it on Debian, as root")
@pytest.mark.parametrize(("width", "dark"), [(390, False), (1280, True)], ids=["phone", "desktop in the dark"])
def test_a_browser_shows_it(folder: Path, width: int, dark: bool) -> None:
    """In Chromium the page loads without a complaint or a request, fits the window, and shows the summary's numbers."""
    seen: Page = opened(folder / "report.html", SEEN, width=width, dark=dark)
    assert seen.complaints == []
    assert [url for url in seen.requests if not url.startswith("data:")] == [(folder / "report.html").as_uri()]
    assert seen.value["width"] <= width
    assert seen.value["unreachable"] == 0
    assert "owned" not in seen.value["title"]
    page_is_dark = seen.value["background"] == "rgb(20, 23, 27)"
    assert page_is_dark is dark
    assert seen.value["ink"] != seen.value["background"]
    derived = report(folder)
    expected = [list(text.row(cell, derived)) for cell in derived.cells]
    assert [[*row[:-1], " ".join(row[-1].split())] for row in seen.value["rows"]] == expected


def test_answers_that_differ_are_counted_and_named() -> None:
    """The page says in how many of the trials that were compared answers differ, and calls unequal values so."""
    outputs = (OutputDifference(name="label", difference=UNEQUAL),)
    wrong = model_verification(difference=UNEQUAL, outputs=outputs)
    seen = [
        observed(verification=VerificationRecord(agrees=True, models=(model_verification(),))),
        observed(round=2, verification=VerificationRecord(agrees=False, models=(wrong,))),
    ]
    found = shown(*seen)
    assert "differ from TensorFlow’s in 1 of 2 trials" in found
    assert ">not equal<" in found
    assert "e+308" not in found
    assert "in label, which must be equal" in found

"""Cells and rounds -> trials in run order."""

import re
from collections import Counter
from itertools import groupby

import pytest

from raybench.config import Benchmark, ConfigError
from raybench.config.plan import Trial, estimate, shares, trials

BENCHMARK = Benchmark(server=("local", "triton"), instances=(1, 2), model=("a", "b"), rounds=8)


def of_round(planned: tuple[Trial, ...], number: int) -> list[tuple[str, str]]:
    return [(trial.cell.server.label, trial.cell.model) for trial in planned if trial.round == number]


def test_every_cell_is_measured_once_a_round() -> None:
    """A run measures each server with each model exactly once in each round."""
    expected = {(server, model): 1 for server in ("local", "triton x1", "triton x2") for model in "ab"}
    for number in range(1, 9):
        assert Counter(of_round(trials(BENCHMARK), number)) == expected


def test_rounds_follow_each_other() -> None:
    """A round is complete before the next begins, so that a run cut short has whole rounds."""
    numbers = [trial.round for trial in trials(BENCHMARK)]
    assert numbers == sorted(numbers)
    assert set(numbers) == set(range(1, 9))


def test_one_server_runs_at_a_time() -> None:
    """The trials of a server stand together in a round: it starts once, and memory is its own."""
    for number in range(1, 9):
        runs = [label for label, _ in groupby(of_round(trials(BENCHMARK), number), key=lambda pair: pair[0])]
        assert len(runs) == len(set(runs)) == 3


def test_running_servers_are_interleaved_cell_by_cell() -> None:
    """Cells of servers that run already are shuffled among each other: neither has a stretch of time of its own."""
    urls = {"triton": "127.0.0.1:1", "fake": "service_ms=1"}
    planned = trials(Benchmark(server=("triton", "fake"), url=urls, model=tuple("abcdef")))
    runs = [kind for kind, _ in groupby(trial.cell.server.kind for trial in planned)]
    assert len(runs) > 2


def test_the_order_is_shuffled_anew_in_each_round() -> None:
    """Neither servers nor models keep their place over the rounds: no cell is always measured first."""
    firsts = [of_round(trials(BENCHMARK), number)[0] for number in range(1, 9)]
    assert len({server for server, _ in firsts}) > 1
    assert len({model for _, model in firsts}) > 1


def test_a_seed_fixes_the_order() -> None:
    """The same seed gives the same order; other seeds give others."""
    orders = {tuple(t.id for t in trials(Benchmark(model=("a", "b", "c"), seed=seed))) for seed in range(10)}
    assert len(orders) > 1
    assert trials(BENCHMARK) == trials(BENCHMARK)


def test_tensorflow_in_process_is_one_worker_with_one_lane() -> None:
    """`local` always sends from one worker with one lane; the others get the load that was asked for."""
    planned = trials(Benchmark(server=("local", "triton"), workers=3, concurrency=2))
    loads = {t.cell.server.kind: (t.cell.load.workers, t.cell.load.concurrency, t.cell.load.in_flight) for t in planned}
    assert loads == {"local": (1, 1, 1), "triton": (3, 2, 6)}


@pytest.mark.parametrize("asked", [None, 0, 7])
def test_warm_up_is_what_was_asked(asked: int | None) -> None:
    """Warm-up is exactly what is asked, even 0; where nothing is, it is left to how the server settles."""
    planned = trials(Benchmark(workers=3, concurrency=2, warmup_request_count=asked))
    assert {t.cell.load.warmup_request_count for t in planned} == {asked}


def test_each_rate_is_a_cell() -> None:
    """Several rates are several cells, told apart by their names; `local` meets the same rate from one worker."""
    planned = trials(Benchmark(server=("local", "triton"), workers=3, request_rate=(50.0, 62.5), request_count=99))
    loads = {(t.cell.server.kind, t.cell.load.offered_rps): t.cell.load for t in planned}
    assert len({t.id for t in planned}) == len(loads) == 4
    assert all("poisson62.5" in t.id for t in planned if t.cell.load.offered_rps == 62.5)
    assert {(load.workers, load.in_flight, load.concurrency) for load in loads.values()} == {
        (1, 64, None),
        (3, 192, None),
    }


def test_lanes_add_up_to_what_may_be_in_flight() -> None:
    """--max-in-flight is a total over the workers."""
    (trial,) = trials(Benchmark(server=("fake",), workers=3, request_rate=(9.0,), max_in_flight=10, request_count=9))
    assert trial.cell.load.lanes == [4, 3, 3]


def test_the_length_of_an_open_loop_is_known() -> None:
    """How long an open loop takes is in its schedule: no earlier results are needed."""
    planned = trials(Benchmark(server=("fake",), request_rate=(10.0,), request_count=1200))
    closed = trials(Benchmark(server=("fake",), request_count=1200))
    assert estimate(planned, {})[0] - estimate(closed, {})[0] == pytest.approx(120)
    assert estimate(planned, {})[1] == set()


def test_trials_have_names_of_their_own_that_are_file_names() -> None:
    """Every trial of a run has its own id, fit for a file name."""
    ids = [trial.id for trial in trials(BENCHMARK)]
    assert len(set(ids)) == len(ids) == 48
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", each) for each in ids)


@pytest.mark.parametrize("signature", ["group/predict", "../predict"])
def test_a_signature_never_becomes_a_path(signature: str) -> None:
    """A SavedModel may name its signatures as it likes; the trial's files stay in the results folder."""
    assert not any("/" in trial.id for trial in trials(Benchmark(signature=signature)))


@pytest.mark.parametrize(("total", "parts"), [(100, 4), (10, 4), (3, 4), (0, 2), (7, 1)])
def test_a_total_is_dealt_whole_and_evenly(total: int, parts: int) -> None:
    """Counts are totals of the trial: the workers' shares add up to them and differ by one at most."""
    dealt = shares(total, parts)
    assert len(dealt) == parts
    assert sum(dealt) == total
    assert max(dealt) - min(dealt) <= 1


def test_every_load_is_measured_with_its_models() -> None:
    """Cells are servers x models x loads; a load that names models is measured with these alone."""
    loads = ({"workers": 1}, {"workers": 2, "model": ("b",)})
    planned = trials(Benchmark(server=("triton", "local"), model=("a", "b"), loads=loads))
    seen = Counter((t.cell.server.kind, t.cell.model, t.cell.load.workers) for t in planned)
    assert seen["triton", "a", 1] == seen["triton", "b", 1] == seen["triton", "b", 2] == 1
    assert ("triton", "a", 2) not in seen


def test_cells_that_are_one_are_refused() -> None:
    """Two loads that differ in their length alone would share a place in the table: refused with the cell's name."""
    with pytest.raises(ConfigError, match=r"loads: 2 loads give the same row triton-x1-"):
        trials(Benchmark(server=("triton",), loads=({"request_count": 8}, {"request_count": 9})))


def test_mixed_models_share_a_trial() -> None:
    """--mix makes one cell of all models, in the order in which they take turns."""
    (trial,) = trials(Benchmark(server=("triton",), model=("a", "b"), mix=True))
    assert trial.cell.models == ("a", "b")
    assert trial.cell.model == "a+b"


def test_an_estimate_is_made_of_what_is_known() -> None:
    """A plan's time is that of earlier results by cell; cells without any are named, and durations are known anyway."""
    counted = trials(Benchmark(server=("local", "triton"), request_count=100, warmup_request_count=8, rounds=2))
    known = {trial.cell.id: 0.5 for trial in counted if trial.cell.server.kind == "triton"}
    some_s, unknown = estimate(counted, known)
    none_s, _ = estimate(counted, {})
    assert unknown == {trial.cell.id for trial in counted if trial.cell.server.kind == "local"}
    assert some_s - none_s == pytest.approx(2 * 0.5 * (100 + 8))  # with the warm-up
    timed = trials(Benchmark(server=("fake",), request_count=None, duration=60.0))
    assert estimate(timed, {})[0] > 60
    assert estimate(timed, {})[1] == set()


def test_a_stream_is_told_by_the_name_of_its_cells() -> None:
    """Results of a stream and of a preload are of different loads, and never stand for each other."""
    cells = [trials(Benchmark(server=("fake",), request_count=8, feed=feed))[0].cell for feed in ("preload", "stream")]
    assert [(cell.load.feed, cell.id.endswith("-b8-stream")) for cell in cells] == [
        ("preload", False),
        ("stream", True),
    ]


def test_shared_memory_is_a_cell_of_its_own() -> None:
    """What goes over shared memory has a name of its own, in files and in the table; servers without are one cell."""
    loads = ({"shared_memory": "none"}, {"shared_memory": "system"}, {"shared_memory": "cuda"})
    planned = trials(Benchmark(server=("triton", "local"), loads=loads, request_count=8))
    found = {each.cell.label: (each.cell.load.transport, each.cell.id.partition("-b8")[2]) for each in planned}
    assert len(planned) == 4
    assert found == {
        "local": ("in process", ""),
        "triton x1": ("grpc", ""),
        "triton x1 (shared memory)": ("shared memory", "-shm"),
        "triton x1 (cuda shared memory)": ("cuda shared memory", "-cuda-shm"),
    }

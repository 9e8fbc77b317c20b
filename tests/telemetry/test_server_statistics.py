"""What servers count of themselves: Triton's statistics and TensorFlow Serving's histograms, through reloads."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import pytest
from gpu_parts import DATA, UUID
from helpers import wait_until

from raybench.telemetry import prometheus_text, tfserving_statistics, triton_statistics
from raybench.telemetry.server_statistics import Read, ServerStatistics, StatisticsCounter, counting

COUNTED = ServerStatistics(success=10, fail=1, executions=5, cache_hit=2, queue_ns=7, batches={1: 3, 2: 2})
LATER = ServerStatistics(success=30, fail=1, executions=9, cache_hit=2, queue_ns=8, batches={1: 3, 2: 5, 4: 1})
RELOADED = ServerStatistics(success=4, fail=0, executions=2, cache_hit=0, queue_ns=3, batches={2: 2})


def told(*readings: ServerStatistics | None) -> Read:
    """A server that tells this, one reading after the other."""
    rest: Iterator[ServerStatistics | None] = iter(readings)
    return lambda: next(rest)


def test_statistics_are_of_the_trial_alone() -> None:
    """A server counts since it loaded the model; a trial reports the difference, and null what is not counted there."""
    found = StatisticsCounter(told(COUNTED, LATER)).total()
    assert found
    assert (found.counted.success, found.counted.fail, found.counted.executions, found.counted.queue_ns) == (
        20,
        0,
        4,
        1,
    )
    assert (found.counted.cache_hit, found.counted.cache_miss, found.counted.compute_input_ns) == (0, None, None)
    assert (found.counted.batches, found.resets) == ({2: 3, 4: 1}, 0)


def test_a_reload_is_survived() -> None:
    """Counters that begin again at 0 are another epoch: what was read before it and after it is added up."""
    count = StatisticsCounter(told(COUNTED, LATER, RELOADED))
    assert count.take()
    found = count.total()
    assert found
    assert (found.counted.success, found.counted.executions, found.counted.queue_ns, found.resets) == (24, 6, 4, 1)
    assert found.counted.batches == {2: 5, 4: 1}


@pytest.mark.parametrize("readings", [(None, LATER), (COUNTED, None)])
def test_statistics_that_do_not_fit_are_null(readings: tuple[ServerStatistics | None, ...]) -> None:
    """Where the first or the last reading is missing, the difference is unknown, not 0."""
    assert StatisticsCounter(told(*readings)).total() is None


def test_a_count_waits_until_the_server_stands_still() -> None:
    """A server counts a request after it has answered: what is still uncounted is waited for, but not for ever."""
    readings = iter([COUNTED, COUNTED, LATER, LATER, RELOADED])
    StatisticsCounter(lambda: next(readings)).settle()
    assert list(readings) == [RELOADED]
    busy = count()
    StatisticsCounter(lambda: replace(COUNTED, success=next(busy))).settle()
    assert next(busy) > 2


def test_a_reading_that_fails_in_between_costs_nothing() -> None:
    """A server that does not answer once is asked again."""
    count = StatisticsCounter(told(COUNTED, None, LATER))
    assert not count.take()
    found = count.total()
    assert found
    assert found.counted.success == 20


def test_it_is_read_again_and_again() -> None:
    """A reload in the middle of a trial is noticed because the server is asked beside it."""
    readings = iter([*[COUNTED] * 3, LATER, *[RELOADED] * 1000])
    asked: list[int] = []

    def read() -> ServerStatistics:
        asked.append(1)
        return next(readings)

    with counting(read, interval_s=0.01) as count:
        wait_until(lambda: len(asked) >= 5)
        found = count.total()
    assert found
    assert (found.counted.success, found.resets) == (24, 1)


PAGE = """# TYPE :tensorflow:serving:request_count counter
:tensorflow:serving:request_count{model_name="resnet50",status="OK"} 4
:tensorflow:serving:request_count{model_name="resnet50",status="INVALID_ARGUMENT"} 2
:tensorflow:serving:request_count{model_name="other",status="OK"} 9
# TYPE :tensorflow:serving:request_latency histogram
:tensorflow:serving:request_latency_bucket{model_name="resnet50",API="Predict",entrypoint="GRPC",le="10"} 0
:tensorflow:serving:request_latency_bucket{model_name="resnet50",API="Predict",entrypoint="GRPC",le="+Inf"} 4
:tensorflow:serving:request_latency_sum{model_name="resnet50",API="Predict",entrypoint="GRPC"} 100000.5
:tensorflow:serving:request_latency_count{model_name="resnet50",API="Predict",entrypoint="GRPC"} 4
:tensorflow:serving:request_latency_sum{model_name="other",API="Predict",entrypoint="GRPC"} 7
:tensorflow:serving:request_latency_count{model_name="other",API="Predict",entrypoint="GRPC"} 9
# TYPE :tensorflow:serving:runtime_latency histogram
:tensorflow:serving:runtime_latency_sum{model_name="resnet50",API="Predict",runtime="TF1"} 80000
:tensorflow:serving:runtime_latency_count{model_name="resnet50",API="Predict",runtime="TF1"} 4
:tensorflow:serving:runtime_latency_sum{model_name="resnet50",API="Classify",runtime="TF1"} 5
:tensorflow:serving:runtime_latency_count{model_name="resnet50",API="Classify",runtime="TF1"} 1
"""
ALONE = "".join(line for line in PAGE.splitlines(keepends=True) if "Classify" not in line)
QUEUE = """:tensorflow:serving:batching_session:wrapped_run_count{} 2
:tensorflow:serving:batching_session:queuing_latency_sum{thread_pool_name="pool"} 20000
:tensorflow:serving:batching_session:queuing_latency_count{thread_pool_name="pool"} 4
"""


def test_tf_servings_histograms_are_statistics() -> None:
    """Successes, failures and times of the models asked for, in ns; without batching there is no queue: null."""
    found = tfserving_statistics.statistics(prometheus_text.parse(PAGE), ["resnet50"])
    assert found == ServerStatistics(
        success=4,
        fail=2,
        executions=4,
        request_ns=100_000_500,
        queue_ns=None,
        compute_infer_ns=80_000_000,
        step_ns=1000,
    )


def test_tf_servings_queue_is_no_computing() -> None:
    """Where its session merges, the wait in there is taken out of the runtime, and executions are what it merged to."""
    found = tfserving_statistics.statistics(prometheus_text.parse(ALONE + QUEUE), ["resnet50"])
    assert (found.queue_ns, found.compute_infer_ns, found.executions) == (20_000_000, 60_000_000, 2)


@pytest.mark.parametrize(
    "page",
    [
        PAGE + QUEUE,  # it has a classification
        ALONE + QUEUE.replace("wrapped_run_count", "another_count"),
        ALONE + QUEUE + ':tensorflow:serving:runtime_latency_count{model_name="other",API="Predict"} 1\n',
    ],
)
def test_merged_runs_that_may_be_of_others_are_unknown(page: str) -> None:
    """It counts the merged runs of all models as one: where another was called, or it does not count, null."""
    assert tfserving_statistics.statistics(prometheus_text.parse(page), ["resnet50"]).executions is None


@pytest.mark.parametrize(("printed", "step_ns"), [("80000", 1_000), ("123457", 1_000), ("3.6e+10", 10**8)])
def test_tf_servings_sums_are_as_coarse_as_they_are_printed(printed: str, step_ns: int) -> None:
    """It prints six digits of what it has summed up since its start: after hours a step is longer than a request."""
    metrics = prometheus_text.parse(PAGE.replace("80000", printed))
    assert tfserving_statistics.statistics(metrics, ["resnet50"]).step_ns == step_ns


def test_tf_serving_before_its_first_request() -> None:
    """A page without a request of ours counts 0 of them: the next reading is held against that."""
    assert tfserving_statistics.statistics([], ["resnet50"]).success == 0


def test_a_server_without_a_page_tells_nothing() -> None:
    """Where nothing answers, nothing is known."""
    assert tfserving_statistics.read("http://127.0.0.1:9/metrics", ["resnet50"]) is None


def test_tritons_page_tells_of_its_gpus_once() -> None:
    """Of a recorded page: memory as nvidia-smi has it, utilization as percent, one row a GPU, though families of models
    come twice."""
    metrics = prometheus_text.parse((DATA / "triton-metrics.txt").read_text())
    assert len([m for m in metrics if m.name == "nv_inference_request_success"]) == 2
    assert triton_statistics.gpu_rows(metrics) == [
        {
            "id": UUID,
            "gpu_utilization_pct": 64.0,
            "gpu_total_mib": 143771.0,
            "gpu_used_mib": 3420.0,
            "gpu_power_w": 413.548,
        }
    ]


@pytest.mark.parametrize("text", ["<html>not found</html>", 'a{b="c} 1', "a{b=c} 1", "a one"])
def test_a_page_of_something_else_is_refused(text: str) -> None:
    """A port that someone else answers on gives no numbers."""
    with pytest.raises(ValueError):  # noqa: PT011
        prometheus_text.parse(text)


def test_metrics_are_read_in_every_form() -> None:
    """Without labels, with empty ones, with quotes in them, with a time; what is no finite number is no reading."""
    lines = [
        "# HELP a b",
        "",
        "a 1",
        "b{} 2",
        'c{x="1,2}",y="q\\"w"} 3 1395066363000',
        'd{le="+Inf"} 4',
        "e NaN",
        "f +Inf",
    ]
    assert [tuple(metric) for metric in prometheus_text.parse("\n".join(lines))] == [
        ("a", {}, 1.0),
        ("b", {}, 2.0),
        ("c", {"x": "1,2}", "y": 'q"w'}, 3.0),
        ("d", {"le": "+Inf"}, 4.0),
    ]

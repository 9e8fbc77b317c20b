"""How many images a run makes, and whether memory holds them."""

from math import ceil

import psutil

from raybench.config import IMAGE_BYTES, STREAM, Benchmark, ConfigError, LoadSettings
from raybench.driver.cluster import address_of
from raybench.worker import feed

_WORKER_MIB = 60  # a worker's process, at the least


def check(benchmark: Benchmark) -> None:
    """Raise ConfigError where a budget is too small for what is asked, or this machine for a budget."""
    for load in benchmark.loads:
        _check_budget(benchmark, load)
    _check_images(benchmark)
    _check_workers(benchmark)


def image_count(benchmark: Benchmark) -> int | None:
    """Images for every request of a trial to differ, within the memory budget; enough for any load.

    None where they are streamed: as many as are sent.
    """
    return None if benchmark.feed == STREAM else max(images_of(benchmark, load) for load in benchmark.loads)


def images_of(benchmark: Benchmark, load: LoadSettings) -> int:
    """The images that are made before the start."""
    requests = _requests_of(load) or 16 * load.in_flight  # a guess of what a closed loop sends in some seconds
    most = max(1, benchmark.budget_bytes // (load.workers * load.batch_size * IMAGE_BYTES))
    return load.workers * min(_each_of(benchmark, load, requests), most) * load.batch_size


def _requests_of(load: LoadSettings) -> int | None:
    """How many requests a trial sends; None in a closed loop with a duration, which sends as it can."""
    if load.request_rate and load.duration:
        return max(load.workers, int(max(load.request_rate) * load.duration))
    return load.request_count


def _each_of(benchmark: Benchmark, load: LoadSettings, requests: int) -> int:
    """What every worker has of so many requests; of a mix one for each model at least."""
    return max(-(-requests // load.workers), len(load.model) if benchmark.mix else 1)


def _check_budget(benchmark: Benchmark, load: LoadSettings) -> None:
    """What is streamed needs room for each lane; what is not has to fit as a whole where a budget was asked for."""
    batch_bytes, lanes = load.batch_size * IMAGE_BYTES, -(-load.in_flight // load.workers)
    if benchmark.feed == STREAM:
        needed_bytes = load.workers * feed.least_bytes(lanes, batch_bytes)
        what, remedy = f"{load.in_flight} requests in flight, and what is read ahead of them,", "have fewer in flight"
    else:
        requests = load.workers * _each_of(benchmark, load, _requests_of(load) or 1)
        needed_bytes = requests * batch_bytes if benchmark.memory_budget else 0
        what, remedy = f"{requests} requests that all differ", "read images while they are sent (--feed stream)"
    if needed_bytes > benchmark.budget_bytes:
        raise ConfigError(
            f"memory-budget is {benchmark.budget}; {what} take {ceil(needed_bytes / 2**20)} MiB: give more, "
            f"send fewer images a request, or {remedy}"
        )


def _check_images(benchmark: Benchmark) -> None:
    count, there_mib = image_count(benchmark), _there_mib()
    if count is None and benchmark.budget_bytes / 2**20 > there_mib and not address_of(benchmark):
        raise ConfigError(f"memory-budget is {benchmark.budget}; {there_mib:.0f} MiB are free: give less")
    mib = (count or 0) * IMAGE_BYTES / 2**20
    if 2 * mib > there_mib:  # the dataset, and what the workers encode of it
        largest = max(load.batch_size for load in benchmark.loads)
        raise ConfigError(
            f"batch-size is {largest}; {count} images for {benchmark.most_workers} workers take twice "
            f"{mib:.0f} MiB, and {there_mib:.0f} MiB are free: send fewer images a request, or use fewer workers"
        )


def _check_workers(benchmark: Benchmark) -> None:
    there_mib, needed_mib = _there_mib(), benchmark.most_workers * _WORKER_MIB
    if needed_mib > there_mib and not address_of(benchmark):
        raise ConfigError(
            f"workers is {benchmark.most_workers}; their processes take {needed_mib} MiB on this machine, and "
            f"{there_mib:.0f} MiB are free: use fewer, or a cluster by --address"
        )


def _there_mib() -> float:
    return psutil.virtual_memory().available / 2**20

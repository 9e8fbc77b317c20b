"""How many items a run makes before its start, and whether memory holds them."""

from math import ceil, lcm

from raybench.config import STREAM, Benchmark, ConfigError, LoadSettings

READ_AHEAD = 2  # batches of a worker that are being read, or wait while another is encoded
_LANE_REQUESTS = 16  # a guess of what a lane of a closed loop sends in some seconds
_WORKER_MIB = 60  # a worker's process, at the least
_JSON_GROWTH = 6  # of a byte of a tensor as text, at most: a boolean is "false,", a float32 up to 22 digits and signs
_MIB = 2**20


def check_budget(benchmark: Benchmark, load: LoadSettings, item_bytes: int) -> None:
    """Raise ConfigError where a memory budget is too small for what a load asks.

    Streamed items need room for each lane; preloaded ones have to fit as a whole where a budget was asked for.
    """
    batch_bytes = load.items * _encoded_item_bytes(benchmark, load, item_bytes)
    lanes = -(-load.in_flight // load.workers)
    if benchmark.feed == STREAM:
        needed_bytes = load.workers * least_bytes(lanes, batch_bytes)
        what, remedy = f"{load.in_flight} requests in flight, and what is read ahead of them,", "keep fewer in flight"
    else:
        requests = load.workers * _each_of(benchmark, load, _requests_of(load) or 1)
        needed_bytes = requests * batch_bytes if benchmark.memory_budget else 0
        what, remedy = f"{requests} requests that all differ", "read them while they are sent (--feed stream)"
    if needed_bytes > benchmark.budget_bytes:
        raise ConfigError(
            f"memory-budget is {benchmark.budget}; {what} take {ceil(needed_bytes / _MIB)} MiB: give more, "
            f"send fewer items per request, or {remedy}"
        )


def check_host(benchmark: Benchmark, item_bytes: int, free_mib: float, *, is_own_ray: bool) -> None:
    """Raise ConfigError where a host with so much memory free holds neither the items nor the workers of a run.

    Only the driver's own Ray is checked: the memory of other hosts is not known.
    """
    if benchmark.feed == STREAM:
        if benchmark.budget_bytes / _MIB > free_mib and is_own_ray:
            raise ConfigError(f"memory-budget is {benchmark.budget}; only {free_mib:.0f} MiB are free: give less")
    else:
        _check_items(benchmark, item_bytes, free_mib)
    most_workers = max(load.workers for load in benchmark.loads)
    if most_workers * _WORKER_MIB > free_mib and is_own_ray:
        raise ConfigError(
            f"workers is {most_workers}; their processes take {most_workers * _WORKER_MIB} MiB on this machine, and "
            f"{free_mib:.0f} MiB are free: use fewer, or a cluster with --address"
        )


def items_of_load(benchmark: Benchmark, load: LoadSettings, item_bytes: int, distinct: int | None = None) -> int:
    """The items made before the start so that every request of a trial differs, within the memory budget.

    Of a source with so many `distinct` items a trial without a count of requests has each combination that they make.
    """
    every = lcm(distinct, load.items) // load.items if distinct else 0
    requests = _requests_of(load) or max(every, _LANE_REQUESTS * load.in_flight)
    encoded = _encoded_item_bytes(benchmark, load, item_bytes)
    most = max(1, benchmark.budget_bytes // (load.workers * load.items * encoded))
    return load.workers * min(_each_of(benchmark, load, requests), most) * load.items


def least_bytes(lanes: int, batch_bytes: int) -> int:
    """The memory that a worker cannot stream without: a request in flight on each lane, one ready, batches ahead."""
    return (lanes + 1) * batch_bytes + _reading_bytes(batch_bytes)


def encoded_bytes(budget_bytes: int, batch_bytes: int) -> int:
    """How much of a worker's memory is left for encoded requests."""
    return budget_bytes - _reading_bytes(batch_bytes)


def _encoded_item_bytes(benchmark: Benchmark, load: LoadSettings, item_bytes: int) -> int:
    """What an item takes in a request; all servers of a load get the same requests, so the largest counts."""
    return item_bytes * (_JSON_GROWTH if benchmark.sends_json(load) else 1)


def _check_items(benchmark: Benchmark, item_bytes: int, free_mib: float) -> None:
    count, load = max(((items_of_load(benchmark, each, item_bytes), each) for each in benchmark.loads), key=_count)
    mib = count * item_bytes / _MIB
    if 2 * mib > free_mib:  # the dataset, and what the workers encode of it
        raise ConfigError(
            f"batch-size is {load.items}; {count} items for {load.workers} workers take twice "
            f"{mib:.0f} MiB, and {free_mib:.0f} MiB are free: send fewer items per request, or use fewer workers"
        )


def _count(of_load: tuple[int, LoadSettings]) -> int:
    return of_load[0]


def _requests_of(load: LoadSettings) -> int | None:
    """How many requests a trial sends; None in a closed loop with a duration, which sends as fast as it can."""
    if load.request_rate and load.duration:
        return max(load.workers, int(max(load.request_rate) * load.duration))
    return load.request_count


def _each_of(benchmark: Benchmark, load: LoadSettings, requests: int) -> int:
    """Each worker's share of so many requests; at least one for each model of a mix."""
    return max(-(-requests // load.workers), len(load.model) if benchmark.mix else 1)


def _reading_bytes(batch_bytes: int) -> int:
    return (READ_AHEAD + 1) * batch_bytes

"""What the server of a trial counts, by the way that its kind has."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial, reduce
from operator import add

from raybench.config import triton_model
from raybench.config.plan import Trial
from raybench.servers import RunningServer, metrics_url
from raybench.telemetry import server_statistics, tfserving_statistics, triton_statistics
from raybench.telemetry.server_statistics import ServerStatistics


@contextmanager
def counting(trial: Trial, server: RunningServer) -> Iterator[server_statistics.StatisticsCounter]:
    """A count of what happens inside the block, over all servers that the load is spread over.

    TensorFlow in process and the scripted server tell nothing.
    """
    with ExitStack() as opened:
        readers = tuple(_readers(trial, server, opened))
        with server_statistics.counting(partial(_together, readers)) as count:
            yield count


def _readers(trial: Trial, server: RunningServer, opened: ExitStack) -> Iterator[server_statistics.Read]:
    spec, models = trial.cell.server, trial.cell.models
    if spec.kind == "triton":
        names = dict.fromkeys(triton_model(spec, model) for model in models)
        for url in spec.replicas or (server.url,):
            reader = triton_statistics.StatisticsReader(url, *names, credentials=server.credentials)
            yield opened.enter_context(closing(reader))
    elif spec.kind == "tfserving":
        each = [metrics_url(replace(spec, url=url)) for url in spec.replicas]
        for page in each if len(each) > 1 else [server.metrics_url]:
            yield partial(tfserving_statistics.read, page, models) if page else lambda: None


def _together(readers: tuple[server_statistics.Read, ...]) -> ServerStatistics | None:
    """The sums of what several servers count; None where one of them gives nothing."""
    found = [read() for read in readers]
    known = [each for each in found if each is not None]
    return reduce(add, known) if known and len(known) == len(found) else None

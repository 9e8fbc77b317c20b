"""What the server of a trial counts, by the way that its kind has."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from raybench.config import triton_model
from raybench.config.plan import Trial
from raybench.servers import RunningServer
from raybench.telemetry import server_statistics, tfserving_statistics, triton_statistics


@contextmanager
def counting(trial: Trial, server: RunningServer) -> Iterator[server_statistics.StatisticsCounter]:
    """A count of what happens inside the block; TensorFlow in process and the scripted server tell nothing."""
    cell = trial.cell
    if cell.server.kind == "triton":
        models = dict.fromkeys(triton_model(cell.server, model) for model in cell.models)
        reader = triton_statistics.StatisticsReader(server.url, *models, credentials=server.credentials)
        with closing(reader), server_statistics.counting(reader) as count:
            yield count
        return
    is_told = cell.server.kind == "tfserving" and server.metrics_url
    page = partial(tfserving_statistics.read, server.metrics_url or "", cell.models)
    with server_statistics.counting(page if is_told else lambda: None) as count:
        yield count

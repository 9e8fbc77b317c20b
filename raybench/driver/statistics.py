"""What the server of a trial counts, by the way that its kind has."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial

from raybench.config import triton_model
from raybench.plan import Trial
from raybench.servers import Running
from raybench.telemetry import statistics, tfserving, triton


@contextmanager
def counting(trial: Trial, server: Running) -> Iterator[statistics.Count]:
    """A count of what happens inside the block; TensorFlow in process and the scripted server tell nothing."""
    cell = trial.cell
    if cell.server.kind == "triton":
        reader = triton.StatisticsReader(server.url, triton_model(cell.models[0]), server.access)
        with closing(reader), statistics.counting(reader) as count:
            yield count
        return
    is_told = cell.server.kind == "tfserving" and server.metrics_url
    page = partial(tfserving.read, server.metrics_url or "", cell.models)
    with statistics.counting(page if is_told else lambda: None) as count:
        yield count

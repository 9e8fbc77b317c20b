"""The client's ceiling: what a trial's own workers reach against a Triton that does nothing."""

from dataclasses import dataclass

import pyarrow as pa
from ray.exceptions import RayError

from raybench.clients.base import ClientError
from raybench.config import CUDA_SHARED_MEMORY, ECHO
from raybench.config.plan import Trial
from raybench.driver.ray_errors import sentence
from raybench.driver.run_context import RunContext
from raybench.driver.worker_group import WorkerGroup, all_answers
from raybench.results import samples
from raybench.servers import RunningServer, ServerError

_TIMEOUT_S = 30.0
_NO_GPU = "the model that does nothing takes no inputs on a GPU, so cuda shared memory has no ceiling"


@dataclass(frozen=True)
class Echo:
    """Whether a ceiling is to be found, against which Triton (None: the one under test), or why it cannot be."""

    is_asked: bool
    server: RunningServer | None = None
    reason: str | None = None


def start_echo(trial: Trial, context: RunContext, server: RunningServer) -> Echo:
    """Start a Triton that does nothing beside one that we started, so that its memory is in nobody's ledger.

    One by url has to have the model `echo` itself.
    """
    is_asked = server.is_ours if context.benchmark.calibrate is None else context.benchmark.calibrate
    if not is_asked or trial.cell.server.kind != "triton" or ECHO in trial.cell.models:
        return Echo(is_asked=False)
    if trial.cell.load.transport == CUDA_SHARED_MEMORY:
        return Echo(is_asked=True, reason=_NO_GPU)
    if server.start_echo is None:
        return Echo(is_asked=True)
    try:
        return Echo(is_asked=True, server=server.start_echo())
    except (ServerError, RayError) as error:
        return Echo(is_asked=True, reason=f"the Triton that does nothing did not start: {sentence(error)}")


def find_ceiling(
    trial: Trial, context: RunContext, group: WorkerGroup, echo: Echo
) -> tuple[list[pa.Table], str | None]:
    """The samples of the same workers against what does nothing, or why there are none."""
    if not echo.is_asked or echo.reason:
        return [], echo.reason
    context.observer.step(f"finding the client's ceiling for {trial.cell.label}")
    most_s = 2 * trial.cell.load.timeout_s + _TIMEOUT_S
    try:
        tables = all_answers([each.calibrate.remote() for each in group.actors], "calibrate", most_s)
    except (ClientError, RayError) as error:
        return [], sentence(error)
    return tables, _first_error(tables)


def _first_error(tables: list[pa.Table]) -> str | None:
    """The first error, where no request was answered."""
    rows = samples.merge(tables)
    if len(samples.succeeded(rows)):
        return None
    return next((text for text in rows["error"].to_pylist() if text), "no request was answered")

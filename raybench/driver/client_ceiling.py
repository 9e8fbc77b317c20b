"""The client's ceiling: what a trial's own workers reach against a Triton that does nothing."""

import pyarrow as pa
from ray.exceptions import RayError

from raybench.clients.base import ClientError
from raybench.config.plan import Trial
from raybench.driver.ray_errors import sentence
from raybench.driver.run_context import RunContext
from raybench.driver.worker_group import WorkerGroup, all_answers
from raybench.results import samples

_TIMEOUT_S = 30.0


def find_ceiling(trial: Trial, context: RunContext, group: WorkerGroup) -> tuple[list[pa.Table], str | None]:
    """The samples of the same workers against what does nothing, or why there are none."""
    if not group.echo.is_asked or group.echo.reason:
        return [], group.echo.reason
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

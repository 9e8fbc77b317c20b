"""The Triton that does nothing, against which the client's ceiling is found."""

from dataclasses import dataclass

from ray.exceptions import RayError

from raybench.config import CUDA_SHARED_MEMORY, ECHO
from raybench.config.plan import Trial
from raybench.driver.ray_errors import sentence
from raybench.driver.run_context import RunContext
from raybench.servers import RunningServer, ServerError
from raybench.worker.task import EchoAddress

_NO_GPU = "the model that does nothing takes no inputs on a GPU, so cuda shared memory has no ceiling"


@dataclass(frozen=True)
class Echo:
    """Whether a ceiling is to be found, against which Triton (None: the one under test), or why it cannot be."""

    is_asked: bool
    server: RunningServer | None = None
    reason: str | None = None

    def address(self, protocol: str) -> EchoAddress | None:
        """Where workers find it; None where it is the Triton under test, or there is none."""
        return EchoAddress(self.server.url_of(protocol), self.server.url) if self.server else None


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

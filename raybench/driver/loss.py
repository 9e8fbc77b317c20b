"""After a worker or a node is lost: stop, or go on with what is left."""

from raybench.config import STOP, Benchmark, ConfigError
from raybench.driver import node_liveness
from raybench.driver.input_shards import Pictures
from raybench.driver.node_liveness import LostError
from raybench.driver.run_observer import RunObserver

_SETTLED_S = 90.0  # Ray gives a silent node up after five health checks, one each 3 s that may take 10 s


def recover(benchmark: Benchmark, pictures: Pictures, progress: RunObserver, lost: str) -> None:
    """Go on after a loss, once it is known which nodes are left; raises LostError where that cannot or shall not be."""
    if benchmark.on_loss == STOP:
        raise LostError(f"{lost}; that ends the run (on-loss is {STOP}): `raybench run --resume` goes on with it")
    progress.step("a worker was lost: asking which nodes are left")
    if silent := node_liveness.silent(_SETTLED_S):
        progress.note(
            f"{len(silent)} nodes neither answer nor are given up by Ray: workers placed there will not start"
        )
    if not pictures.are_whole():
        progress.step("a node is gone: making the images again that it may have held")
        try:
            pictures.remake()
        except ConfigError as error:
            raise LostError(f"{lost}; the images cannot be made again: {error}") from error

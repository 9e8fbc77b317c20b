"""After a worker or a node is lost: go on with what is left."""

from raybench.config import ConfigError
from raybench.driver.input_shards import InputShards
from raybench.driver.ray_nodes import LostError, silent
from raybench.driver.run_observer import RunObserver

_SETTLED_S = 90.0  # Ray gives a silent node up after five health checks, one each 3 s that may take 10 s


def recover(inputs: InputShards, observer: RunObserver, lost: str) -> None:
    """Find out which nodes are left, and make the items again that others held; raises LostError where that fails."""
    observer.step("a worker was lost: checking which nodes are left")
    if found := silent(_SETTLED_S):
        observer.note(f"{len(found)} nodes do not answer, but Ray still counts on them: workers there will not start")
    if inputs.are_whole():
        return
    observer.step("a node is gone: making the inputs again that it held")
    try:
        inputs.remake()
    except ConfigError as error:
        raise LostError(f"{lost}; the inputs cannot be made again: {error}") from error

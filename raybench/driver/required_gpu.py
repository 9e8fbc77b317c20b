"""Refuses a run under --require-gpu whose TensorFlow would compute on the CPU."""

from raybench.config import Benchmark, ConfigError
from raybench.models.visible_gpus import count_visible_gpus
from raybench.results.records import TrialRecord

_REMEDY = "pip install 'tensorflow[and-cuda]', check CUDA_VISIBLE_DEVICES, and see raybench doctor"
_IMPORT_S = 120.0


def check_gpu(benchmark: Benchmark) -> None:
    """Raise ConfigError where TensorFlow sees no GPU on this host, and servers that use it start here."""
    mine = [server for server in benchmark.servers if server.is_ours or server.kind == "local"]
    if not benchmark.require_gpu or benchmark.server_node or not {"triton", "local"} & {each.kind for each in mine}:
        return
    if not count_visible_gpus(_IMPORT_S):
        raise ConfigError(f"require-gpu is true; TensorFlow sees no GPU here: {_REMEDY}")


def check_used(record: TrialRecord, benchmark: Benchmark) -> None:
    """Raise ConfigError where a server's TensorFlow says that it computes on the CPU."""
    if benchmark.require_gpu and record.server.uses_gpu is False:
        raise ConfigError(f"require-gpu is true; {record.label} computes on its CPU: {_REMEDY}")

"""What a server really runs, whatever started it: the facts that make two servers comparable, or not."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from raybench.config.protocols import GRPC

_THREADS_PER_CPU = 4  # TF Serving, model_servers/server.h: grpc_max_threads, http_num_threads
_GRPC_POLLERS = 2  # threads of those that answer nobody: of 8, the 7th call in flight was refused


@dataclass(frozen=True, kw_only=True)
class EffectiveConfig:
    """None is not known: the server does not say."""

    executions_at_once: int | None = None
    merges: bool | None = None
    response_cache: bool | None = None
    tensorflow: str | None = None
    inter_op_threads: int | None = None
    intra_op_threads: int | None = None
    precision: str | None = None
    xla: bool | None = None
    gpu_allocator: str | None = None
    pipeline_depth: int | None = None  # TensorFlow calls under way in an instance


@dataclass(frozen=True, kw_only=True)
class TensorflowFacts:
    """The settings of a process, as TensorFlow reports them (models/tensorflow_facts.py); None is not known."""

    tensorflow: str | None = None
    inter_op_threads: int | None = None
    intra_op_threads: int | None = None
    gpu_allocator: str | None = None


@dataclass(frozen=True, kw_only=True)
class BackendFacts(TensorflowFacts):
    """What raybench's python backend says about a model in it, by its output `about`; None is not known."""

    merges: bool | None = None
    xla: bool | None = None
    pipeline_depth: int | None = None


def of_local(facts: TensorflowFacts, *, precision: str | None, xla: bool | None) -> EffectiveConfig:
    """TensorFlow in process: what it says of itself, and one execution at a time."""
    return EffectiveConfig(
        executions_at_once=1, merges=False, response_cache=False, precision=precision, xla=xla, **asdict(facts)
    )


def of_triton(config: Any, about: BackendFacts, *, precision: str | None, xla: bool | None) -> EffectiveConfig:
    """Triton: its ModelConfig message (None: not known), and what our python backend says, which goes before it."""
    if config is None:
        return EffectiveConfig(precision=precision, xla=xla)
    configured = EffectiveConfig(
        executions_at_once=sum(group.count * max(1, len(group.gpus)) for group in config.instance_group),
        merges=config.HasField("dynamic_batching"),
        response_cache=bool(config.response_cache.enable),
        precision=precision,
        xla=xla,
    )
    return replace(configured, **{name: fact for name, fact in asdict(about).items() if fact is not None})


def of_tfserving(
    flags: Mapping[str, str | int | float | bool | None] | None,
    *,
    precision: str | None,
    xla: bool | None,
    cpus: int,
    protocol: str,
) -> EffectiveConfig:
    """TensorFlow Serving by the flags that it was started with on a host with so many CPUs; None is not known.

    Each request has a thread of its protocol, which runs its session. With batching, executions have threads of its own
    file.
    """
    if flags is None:
        return EffectiveConfig(precision=precision, xla=xla)
    given = {name.lstrip("-"): str(value) for name, value in flags.items()}
    merges = given.get("enable_batching", "false") == "true" or "batching_parameters_file" in given
    fraction = given.get("per_process_gpu_memory_fraction")
    inter, intra = (given.get(f"tensorflow_{kind}_op_parallelism", "0") for kind in ("inter", "intra"))
    return EffectiveConfig(
        executions_at_once=None if merges else _threads(given, cpus, protocol),
        merges=merges,
        response_cache=False,
        tensorflow=given.get("tensorflow"),
        inter_op_threads=int(inter) or cpus,
        intra_op_threads=int(intra) or cpus,
        gpu_allocator=f"fraction {fraction}" if fraction else given.get("gpu_allocator"),
        precision=precision,
        xla=xla,
    )


def _threads(flags: Mapping[str, str], cpus: int, protocol: str) -> int:
    """How many requests TensorFlow Serving runs at once by a protocol; 4 a CPU unless a flag says otherwise.

    Over gRPC one that finds no thread free is refused, and over REST it waits.
    """
    if protocol == GRPC:
        return max(1, int(flags.get("grpc_max_threads", _THREADS_PER_CPU * cpus)) - _GRPC_POLLERS)
    return int(flags.get("rest_api_num_threads", _THREADS_PER_CPU * cpus))

"""What can be known before any server starts or load is sent: models, signatures, urls, this machine, the disk."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

from raybench.clients import device_regions, shared_memory
from raybench.clients.base import ClientError
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.grpc.probe import GRPC, TLS, is_here, what_answers
from raybench.config import (
    ECHO,
    EXPORTED,
    RUN_SETTINGS,
    STREAM,
    VARIANTS,
    Benchmark,
    ConfigError,
    LoadSettings,
    ServerSpec,
    plan,
)
from raybench.driver import accepted_values, endpoints
from raybench.driver.cluster import address_of
from raybench.driver.endpoints import Endpoint, Signatures
from raybench.driver.ray_prerequisites import check_address, host_problem, make_token
from raybench.driver.required_gpu import check_gpu
from raybench.driver.resolved_loads import ModelsThere, models_there, with_batch_sizes, with_signatures
from raybench.driver.run_observer import RunObserver
from raybench.driver.url_layout import with_url_layout
from raybench.inputs import memory_budget
from raybench.inputs.source import BoundSource, InputSource
from raybench.inputs.table_inputs import TableInputs
from raybench.models.saved_models import Signature
from raybench.processes import supervised
from raybench.results import results_folder
from raybench.servers import platform_problem
from raybench.servers.server_process import check_bind
from raybench.telemetry import host_limits

_EXPORT_TIMEOUT_S = 1200
_MIB = 2**20


def check(
    benchmark: Benchmark,
    models_conf: Path,
    source: InputSource,
    credentials: ConnectionCredentials,
    observer: RunObserver,
) -> tuple[Benchmark, Signatures]:
    """Raise ConfigError for what cannot work, export the asked models that models.conf lacks, and return the benchmark
    with a signature in every load, and what every endpoint takes.

    `models_conf` has the models that were named by folders too; `credentials` opens the servers by url.
    """
    results_folder.check_out(benchmark)
    _check_shared_memory(benchmark, credentials)
    check_ray(benchmark, observer.note)
    for server in benchmark.servers:
        _check_machine(server, benchmark)
    check_gpu(benchmark)
    benchmark = with_url_layout(benchmark, credentials)
    called_by_default = partial(_called_by_default, benchmark, credentials)
    benchmark = with_signatures(benchmark, models_there(models_conf), called_by_default)
    by_url = _signatures_by_url(benchmark, credentials)
    if any(map(endpoints.starts_here, endpoints.endpoints(benchmark))):
        _export_missing(benchmark, models_conf, observer)
    there = models_there(models_conf)
    signatures: Signatures = {**by_url, **_signatures_here(benchmark, models_conf, there)}
    endpoints.check_gpu_inputs(benchmark, signatures)
    endpoints.check_layouts(signatures)
    benchmark = with_batch_sizes(benchmark, signatures)
    plan.trials(benchmark)  # which has a sentence where cells have become the same
    source.check(signatures.values())
    endpoints.bound(source, signatures, benchmark.seed)  # what does not fit is refused before anything is tried
    signatures = accepted_values.accepted(benchmark, signatures, source, models_conf, credentials, observer)
    bound = endpoints.bound(source, signatures, benchmark.seed)
    endpoints.check_mixes(benchmark, bound)
    _check_jpeg_quality(benchmark, bound.values())
    for each in set(bound.values()):
        kept = 2 if isinstance(each, TableInputs) and benchmark.feed == STREAM else 1  # the rows, and the requests
        _check_memory(benchmark, kept * each.item_bytes)
        _check_room(benchmark, each.item_bytes)
    return benchmark, signatures


def _called_by_default(benchmark: Benchmark, credentials: ConnectionCredentials, model: str) -> str:
    """The signature of a model that is not on disk: that of the servers by url, else of our own exports."""
    found = endpoints.default_by_url(model, benchmark, credentials)
    return EXPORTED if found is None else found


def _check_jpeg_quality(benchmark: Benchmark, sources: Iterable[BoundSource]) -> None:
    """Refuse a quality of JPEG files that no model of the run takes."""
    quality = benchmark.jpeg_quality
    if quality != RUN_SETTINGS["jpeg_quality"].default and not any("jpeg" in each.encoding for each in sources):
        raise ConfigError(f"jpeg-quality is {quality}; no signature of this run takes JPEG files: leave it out")


def _check_memory(benchmark: Benchmark, item_bytes: int) -> None:
    for load in benchmark.loads:
        memory_budget.check_budget(benchmark, load, item_bytes)
    free_mib = host_limits.available_mib()  # as a container leaves it
    memory_budget.check_host(benchmark, item_bytes, free_mib, is_own_ray=not address_of(benchmark))


def _check_shared_memory(benchmark: Benchmark, credentials: ConnectionCredentials) -> None:
    """Refuse a Triton that cannot map this host's shared memory, and memory of a GPU that this host does not have."""
    url = next((server.control_url for server in benchmark.servers if server.kind == "triton"), "")
    for kind in dict.fromkeys(load.shared_memory for load in benchmark.loads if load.shared_memory != "none"):
        if url and not is_here(url):
            raise ConfigError(
                f"shared-memory is {kind}; Triton at {url} is not on this host: leave it out, or run on its host"
            )
        _check_memory_of(kind, url, credentials)


def _check_memory_of(kind: str, url: str, credentials: ConnectionCredentials) -> None:
    """Nothing is mapped on a GPU yet: that would leave a context of 500 MiB with this process."""
    try:
        if kind == "cuda":
            device_regions.device_memory()
        elif url and what_answers(url) in (GRPC, TLS):  # else whoever asks it for its models has a better sentence
            shared_memory.check(url, credentials)
    except ClientError as error:
        raise ConfigError(str(error)) from error


def _shared(benchmark: Benchmark) -> list[LoadSettings]:
    """The loads whose inputs lie in /dev/shm."""
    return [load for load in benchmark.loads if load.shared_memory == "system"]


def _check_room(benchmark: Benchmark, item_bytes: int) -> None:
    """Refuse payloads for which this host's shared memory has no room."""
    counts = [memory_budget.items_of_load(benchmark, load, item_bytes) for load in _shared(benchmark)]
    if not counts:
        return
    needed_mib = max(counts) * item_bytes / _MIB
    there_mib = shutil.disk_usage(shared_memory.FOLDER).free / _MIB if shared_memory.FOLDER.is_dir() else 0.0
    if needed_mib > there_mib:
        raise ConfigError(
            f"shared-memory is system; the inputs take {needed_mib:.0f} MiB, and {shared_memory.FOLDER} has "
            f"{there_mib:.0f} MiB free: send fewer items per request or fewer requests, or enlarge it (--shm-size)"
        )


def check_ray(benchmark: Benchmark, note: Callable[[str], None]) -> None:
    """Raise ConfigError where a Ray could not be started here, or joined at its address."""
    if address := address_of(benchmark):
        check_address(address)
    elif reason := host_problem():
        raise ConfigError(str(reason))
    elif make_token():
        note("HOME is not writable, so the token of this Ray is not kept: set RAY_AUTH_TOKEN to choose one")


def _check_machine(server: ServerSpec, benchmark: Benchmark) -> None:
    if benchmark.server_node:
        return  # it is of another machine, maybe, which is asked when Ray is connected
    if reason := platform_problem(server):
        raise ConfigError(f"server is {server.kind}; {reason}")
    if server.is_ours:
        check_bind(benchmark.server_bind)


def _signatures_by_url(benchmark: Benchmark, credentials: ConnectionCredentials) -> dict[Endpoint, Signature]:
    """Ask each server that starts elsewhere for its endpoints, and where a ceiling is asked for, for `echo`."""
    asked = [each for each in endpoints.endpoints(benchmark) if not endpoints.starts_here(each)]
    found = {each: endpoints.signature_by_url(each, benchmark, credentials) for each in asked}
    for server in {each.server for each in asked if each.server.kind == "triton" and benchmark.calibrate}:
        endpoints.signature_by_url(Endpoint(server, ECHO, benchmark.loads[0].signature or ""), benchmark, credentials)
    return found


def _signatures_here(benchmark: Benchmark, models_conf: Path, there: ModelsThere) -> dict[Endpoint, Signature]:
    """Read the models of the servers that start here."""
    mine = [each for each in endpoints.endpoints(benchmark) if endpoints.starts_here(each)]
    return {each: endpoints.signature_here(each, models_conf, there) for each in mine}


def _export_missing(benchmark: Benchmark, models_conf: Path, observer: RunObserver) -> None:
    """Export the asked models that models.conf lacks, where a server that raybench starts needs them.

    TensorFlow runs in a process of its own for that, so that the driver never loads it.
    """
    there = set(models_there(models_conf))
    for model in (name for name in benchmark.all_models if name not in {*there, ECHO}):
        architecture, _, variant = model.partition("-")
        _check_exportable(benchmark, model, variant, there)
        observer.step(f"exporting {model} to {benchmark.models}")
        command = [sys.executable, "-P", "-m", "raybench", "export", architecture, "--out", benchmark.models]
        command += ["--variants", variant]
        try:
            done = subprocess.run(
                supervised(command),
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_EXPORT_TIMEOUT_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ConfigError(
                f"model is {model}; its export took over {_EXPORT_TIMEOUT_S} s and was stopped"
            ) from error
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it printed nothing"])[-1]
            raise ConfigError(
                f"model is {model}; {benchmark.models_conf} has {', '.join(sorted(there)) or 'no models'}, "
                f"and it cannot be exported: {last.removeprefix('Error: ')}"
            )


def _check_exportable(benchmark: Benchmark, model: str, variant: str, there: set[str]) -> None:
    """An export never replaces what is there."""
    known = f"{benchmark.models_conf} has {', '.join(sorted(there)) or 'no models'}"
    if variant not in VARIANTS:
        raise ConfigError(f"model is {model}; {known}, and only ARCHITECTURE-no-opt and -xla-amp can be exported")
    if (Path(benchmark.models) / model).exists():
        raise ConfigError(
            f"model is {model}; {known}, but the folder {benchmark.models}/{model} exists: "
            "add it to models.conf, or move it away"
        )

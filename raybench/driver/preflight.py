"""What can be known before any server starts or load is sent: models, signatures, urls, this machine, the disk."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from raybench.clients import shared_memory
from raybench.clients.base import ClientError
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.grpc.probe import GRPC, TLS, is_here, what_answers
from raybench.config import ECHO, VARIANTS, Benchmark, ConfigError, ServerSpec
from raybench.driver import endpoints
from raybench.driver.cluster import address_of
from raybench.driver.endpoints import Endpoint, Signatures
from raybench.driver.ray_prerequisites import check_address, host_problem, make_token
from raybench.driver.run_observer import RunObserver
from raybench.inputs import memory_budget
from raybench.inputs.source import InputSource
from raybench.models.saved_models import ModelConfig, Signature, read_models_conf
from raybench.processes import supervised
from raybench.results import results_folder
from raybench.servers import platform_problem
from raybench.servers.server_process import check_bind
from raybench.telemetry import host_limits

_EXPORT_TIMEOUT_S = 1200
_MIB = 2**20


def check(
    benchmark: Benchmark, source: InputSource, credentials: ConnectionCredentials, observer: RunObserver
) -> Signatures:
    """Raise ConfigError for what cannot work, export the asked models that models.conf lacks, and return what every
    endpoint takes.

    `credentials` opens the servers by url.
    """
    results_folder.check_out(benchmark)
    _check_memory(benchmark, source.item_bytes)
    _check_shared_memory(benchmark, source.item_bytes, credentials)
    check_ray(benchmark, observer.note)
    for server in benchmark.servers:
        _check_machine(server, benchmark)
    by_url = _signatures_by_url(benchmark, source, credentials)
    signatures = {**by_url, **_signatures_here(benchmark, source, observer)}
    bound = endpoints.bound(source, signatures, benchmark.seed)
    endpoints.check_mixes(benchmark, bound)
    for each in set(bound.values()):
        _check_memory(benchmark, each.item_bytes)
    return signatures


def _check_memory(benchmark: Benchmark, item_bytes: int) -> None:
    for load in benchmark.loads:
        memory_budget.check_budget(benchmark, load, item_bytes)
    free_mib = host_limits.available_mib()  # as a container leaves it
    memory_budget.check_host(benchmark, item_bytes, free_mib, is_own_ray=not address_of(benchmark))


def _check_shared_memory(benchmark: Benchmark, item_bytes: int, credentials: ConnectionCredentials) -> None:
    """Refuse payloads for which this host's shared memory has no room, and a Triton that cannot map what is in it."""
    shared = [load for load in benchmark.loads if load.shared_memory == "system"]
    if not shared:
        return
    url = benchmark.url.get("triton")
    if url and not is_here(url):
        raise ConfigError(f"shared-memory is system; Triton at {url} is not on this host: leave it out, or run there")
    needed_mib = max(memory_budget.items_of_load(benchmark, load, item_bytes) for load in shared) * item_bytes / _MIB
    there_mib = shutil.disk_usage(shared_memory.FOLDER).free / _MIB if shared_memory.FOLDER.is_dir() else 0.0
    if needed_mib > there_mib:
        raise ConfigError(
            f"shared-memory is system; the images take {needed_mib:.0f} MiB, and {shared_memory.FOLDER} has "
            f"{there_mib:.0f} MiB free: send fewer images a request or fewer requests, or enlarge it (--shm-size)"
        )
    if url and "triton" in benchmark.server:
        _check_mapping(url, credentials)


def _check_mapping(url: str, credentials: ConnectionCredentials) -> None:
    if what_answers(url) not in (GRPC, TLS):
        return  # which whoever asks it for its models says better
    try:
        shared_memory.check(url, credentials)
    except ClientError as error:
        raise ConfigError(str(error)) from error


def check_ray(benchmark: Benchmark, note: Callable[[str], None]) -> None:
    """Raise ConfigError where a Ray could not be started here, or joined at its address."""
    if address := address_of(benchmark):
        check_address(address)
    elif reason := host_problem():
        raise ConfigError(str(reason))
    elif make_token():
        note("HOME cannot be written to, so the token of this Ray is not kept: set RAY_AUTH_TOKEN to choose one")


def _check_machine(server: ServerSpec, benchmark: Benchmark) -> None:
    if benchmark.server_node:
        return  # it is of another machine, maybe, which is asked when Ray is connected
    if reason := platform_problem(server):
        raise ConfigError(f"server is {server.kind}; {reason}")
    if server.is_ours:
        check_bind(benchmark.server_bind)


def _signatures_by_url(
    benchmark: Benchmark, source: InputSource, credentials: ConnectionCredentials
) -> dict[Endpoint, Signature]:
    """Ask each server that starts elsewhere for its endpoints, and where a ceiling is asked for, for `echo`."""
    asked = [each for each in endpoints.endpoints(benchmark) if not endpoints.starts_here(each)]
    found = {each: endpoints.signature_by_url(each, benchmark, source, credentials) for each in asked}
    for server in {each.server for each in asked if each.server.kind == "triton" and benchmark.calibrate}:
        endpoints.signature_by_url(Endpoint(server, ECHO, benchmark.loads[0].signature), benchmark, source, credentials)
    return found


def _signatures_here(benchmark: Benchmark, source: InputSource, observer: RunObserver) -> dict[Endpoint, Signature]:
    """Read the models of the servers that start here, after the export of those that are missing."""
    mine = [each for each in endpoints.endpoints(benchmark) if endpoints.starts_here(each)]
    if mine:
        _export_missing(benchmark, observer)
    there = {entry.name: entry for entry in _models_there(benchmark)}
    return {each: endpoints.signature_here(each, benchmark.models_conf, there, source) for each in mine}


def _export_missing(benchmark: Benchmark, observer: RunObserver) -> None:
    """Export the asked models that models.conf lacks, where a server of ours needs them.

    TensorFlow lives in a process of its own for that: the driver never holds it.
    """
    there = {entry.name for entry in _models_there(benchmark)}
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
            raise ConfigError(f"model is {model}; its export did not end within {_EXPORT_TIMEOUT_S} s") from error
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
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
            f"model is {model}; {known}, but the folder {benchmark.models}/{model} is there: enter or move it"
        )


def _models_there(benchmark: Benchmark) -> tuple[ModelConfig, ...]:
    if not benchmark.models_conf.exists():
        return ()
    try:
        return read_models_conf(benchmark.models_conf)
    except ValueError as error:
        raise ConfigError(str(error)) from error

"""What can be known before any server starts or load is sent: models, signatures, urls, this machine, the disk."""

import re
import shutil
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from raybench.clients import connect, shared_memory
from raybench.clients.base import ClientError
from raybench.clients.grpc.connection_credentials import Access
from raybench.clients.grpc.probe import GRPC, TLS, is_here, what_answers
from raybench.config import ECHO, IMAGE_BYTES, JPEGS, VARIANTS, Benchmark, ConfigError, ServerSpec, input_name
from raybench.driver import memory_budget
from raybench.driver.cluster import RAY_REMEDY, address_of
from raybench.driver.run_observer import RunObserver
from raybench.inputs.photos import photos_in
from raybench.models.saved_models import ModelConfig, read_models_conf, read_signatures
from raybench.processes import supervised
from raybench.results import results_folder
from raybench.servers import platform_problem
from raybench.servers.server_process import check_bind

_EXPORT_TIMEOUT_S = 1200
_RAY_ADDRESS = re.compile(r"(?:ray://)?([^/]+:\d+)/?")


def check(benchmark: Benchmark, access: Access, progress: RunObserver) -> None:
    """Raise ConfigError for what cannot work; export the asked models that models.conf lacks.

    `access` opens the servers by url.
    """
    results_folder.check_out(benchmark)
    _check_images(benchmark)
    memory_budget.check(benchmark)
    _check_shared_memory(benchmark)
    _check_address(address_of(benchmark))
    for server in benchmark.servers:
        _check_machine(server, benchmark)
        _check_url(server, benchmark, access)
    if any(server.kind == "local" or server.is_ours for server in benchmark.servers):
        _export_missing(benchmark, progress)
        for entry in _models_there(benchmark):
            for signature in {each.signature for each in benchmark.variants if entry.name in each.model}:
                _check_model(entry, signature, benchmark)


def _check_images(benchmark: Benchmark) -> None:
    try:
        if benchmark.images not in ("photos", "noise"):
            photos_in(Path(benchmark.images))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _check_address(address: str | None) -> None:
    """Ray itself would ask an address for minutes before it says that nobody answers."""
    if address and address.startswith(("http://", "https://")):
        raise ConfigError(
            f"address is {address}; that is a dashboard's, for ray job submit -- raybench run: here {RAY_REMEDY}"
        )
    found = _RAY_ADDRESS.fullmatch(address or "")
    if found and (there := what_answers(found[1])) not in (GRPC, TLS):
        raise ConfigError(f"address is {address}; no Ray answers: there is {there}; {RAY_REMEDY}")


def _check_machine(server: ServerSpec, benchmark: Benchmark) -> None:
    if benchmark.server_node:
        return  # it is of another machine, maybe, which is asked when Ray is connected
    if reason := platform_problem(server):
        raise ConfigError(f"server is {server.kind}; {reason}")
    if server.is_ours:
        check_bind(benchmark.server_bind)


def _check_url(server: ServerSpec, benchmark: Benchmark, access: Access) -> None:
    """Ask a server that runs already whether it is one, and has the models and the signature."""
    if server.url is None:
        return
    asked = {(model, load.signature, load.batch_size) for load in benchmark.variants for model in load.model}
    if benchmark.calibrate and server.kind == "triton":
        asked.add((ECHO, benchmark.signature, benchmark.batch_size))
    for model, signature, batch_size in sorted(asked):
        try:
            client = connect(
                server,
                url=server.url,
                model=model,
                signature=signature,
                batch_size=batch_size,
                models=benchmark.models,
                access=access,
            )
            with closing(client):
                client.describe()
        except ClientError as error:
            raise ConfigError(str(error)) from error


def _check_shared_memory(benchmark: Benchmark) -> None:
    """Refuse a Triton on another host, and payloads for which the host's shared memory has no room."""
    shared = [load for load in benchmark.variants if load.shared_memory == "system"]
    if not shared:
        return
    url = benchmark.url.get("triton")
    if url and not is_here(url):
        raise ConfigError(f"shared-memory is system; Triton at {url} is not on this host: leave it out, or run there")
    needed_mib = max(memory_budget.images_of(load) * _bytes_at_most(load) for load in shared) / 2**20
    there_mib = shutil.disk_usage(shared_memory.FOLDER).free / 2**20 if shared_memory.FOLDER.is_dir() else 0.0
    if needed_mib > there_mib:
        raise ConfigError(
            f"shared-memory is system; the images take {needed_mib:.0f} MiB, and {shared_memory.FOLDER} has "
            f"{there_mib:.0f} MiB free: send fewer images a request or fewer requests, or enlarge it (--shm-size)"
        )


def _bytes_at_most(load: Benchmark) -> int:
    """Of an image in a request; how small its JPEG file will be is not known yet."""
    return 0 if load.signature == JPEGS else IMAGE_BYTES


def _check_model(entry: ModelConfig, signature: str, benchmark: Benchmark) -> None:
    """Refuse a model without a version, and a signature that our own servers would refuse for every request."""
    try:
        versions = entry.versions()
    except ValueError as error:
        raise ConfigError(f"{benchmark.models_conf}: {error}") from error
    try:
        there = read_signatures(entry.base_path / str(versions[-1]))
    except ValueError:
        return  # the server says it better, and the others can still be measured
    usable = [name for name, found in there.items() if list(found.inputs) == [input_name(name)]]
    if signature not in usable:
        raise ConfigError(
            f"signature is {signature}; model {entry.name} has {', '.join(usable) or 'none'} that takes images alone"
        )


def _export_missing(benchmark: Benchmark, progress: RunObserver) -> None:
    """Export the asked models that models.conf lacks, where a server of ours needs them.

    TensorFlow lives in a process of its own for that: the driver never holds it.
    """
    there = {entry.name for entry in _models_there(benchmark)}
    for model in (name for name in benchmark.all_models if name not in {*there, ECHO}):
        architecture, _, variant = model.partition("-")
        _check_exportable(benchmark, model, variant, there)
        progress.step(f"exporting {model} to {benchmark.models}")
        command = [sys.executable, "-m", "raybench", "export", architecture, "--out", benchmark.models]
        command += ["--variants", variant]
        try:
            done = subprocess.run(
                supervised(command), capture_output=True, text=True, timeout=_EXPORT_TIMEOUT_S, check=False
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
    """An export of ours never replaces what is there."""
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

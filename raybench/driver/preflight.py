"""What can be known before any server starts or load is sent: models, signatures, urls, this machine, the disk."""

import subprocess
import sys
from pathlib import Path

from raybench import store
from raybench.clients import connect
from raybench.clients.base import ClientError
from raybench.config import ECHO, VARIANTS, Benchmark, ConfigError, ServerSpec
from raybench.guardian import guarded
from raybench.report.live import Progress
from raybench.saved_models import ModelConfig, read_models_conf, read_signatures
from raybench.servers import unfit

_EXPORT_TIMEOUT_S = 1200


def check(benchmark: Benchmark, progress: Progress) -> None:
    """Raise ConfigError for what cannot work; export the asked models that models.conf lacks."""
    store.check_out(benchmark)
    for server in benchmark.servers:
        _check_machine(server)
        _check_url(server, benchmark)
    if any(server.kind in ("local", "triton") and not server.url for server in benchmark.servers):
        _export_missing(benchmark, progress)
        for entry in _models_there(benchmark):
            for signature in {each.signature for each in benchmark.variants if entry.name in each.model}:
                _check_model(entry, signature, benchmark)


def _check_machine(server: ServerSpec) -> None:
    if reason := unfit(server):
        raise ConfigError(f"server is {server.kind}; {reason}")


def _check_url(server: ServerSpec, benchmark: Benchmark) -> None:
    """Ask a server that runs already whether it is one, and has the models and the signature."""
    if server.url is None:
        return
    for model, signature in {(model, load.signature) for load in benchmark.variants for model in load.model}:
        client = connect(server, url=server.url, model=model, signature=signature, models=str(benchmark.models))
        try:
            client.describe()
        except ClientError as error:
            raise ConfigError(str(error)) from error
        finally:
            client.close()


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
    usable = [name for name, found in there.items() if list(found.inputs) == ["images"]]
    if signature not in usable:
        raise ConfigError(
            f"signature is {signature}; model {entry.name} has {', '.join(usable) or 'none'} that takes `images` alone"
        )


def _export_missing(benchmark: Benchmark, progress: Progress) -> None:
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
                guarded(command), capture_output=True, text=True, timeout=_EXPORT_TIMEOUT_S, check=False
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

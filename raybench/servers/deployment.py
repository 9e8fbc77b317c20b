"""The files with which a configuration is deployed by hand: what raybench gives to a server when it starts one."""

import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from raybench.config import ServerSpec
from raybench.models.saved_models import format_models_conf
from raybench.servers import ServeOptions, ServerUnavailable, model_server, repository, tfserving_server, wheel
from raybench.servers.echo_models import is_echo
from raybench.servers.model_server import BINARY, ENVIRONMENT, ModelServer
from raybench.servers.served_models import resolve_models
from raybench.servers.tfserving_server import TfServingOptions
from raybench.servers.triton_options import TritonOptions
from raybench.servers.triton_server import SHM_BYTES

SCRIPT, VARIABLES = "serve.sh", "environment"


def write_deployment(server: ServerSpec, options: ServeOptions, folder: Path) -> None:
    """Write the files of a server's configuration into a new folder.

    Triton: a model repository with its config.pbtxt, and a script that starts Triton on it. TensorFlow Serving: its
    batching file, its models.conf and a script with its command line. TensorFlow in process: the variables of its
    environment. Nothing for a scripted server. Raises ServerError where models.conf cannot be served.
    """
    writers = {"triton": _write_triton, "tfserving": _write_tfserving, "local": _write_local}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    if write := writers.get(server.kind):
        write(server, options, folder.resolve())


def _write_triton(server: ServerSpec, options: ServeOptions, folder: Path) -> None:
    triton = TritonOptions(
        models_conf=options.models_conf,
        models=options.models,
        instances=server.instances,
        warm_up=options.warm_up,
        settings=server.settings,
        layout=server.layout,
        keeps_gpu_inputs=options.keeps_gpu_inputs,
    )
    for model in repository.assemble(triton, folder).iterdir():
        if is_echo(model.name):  # which raybench measures its client with
            shutil.rmtree(model)
    for file in (folder / "repository").glob("*/config.pbtxt"):
        _leave_out(file, "facts")  # which the backend would write for raybench
    shutil.rmtree(folder / "facts", ignore_errors=True)
    flags = [f"--backend-config=python,shm-default-byte-size={SHM_BYTES}"]
    environment = {**wheel.malloc(), **server.settings.environment}
    addresses = [f'--{name}-address="${{BIND:-127.0.0.1}}"' for name in ("grpc", "http", "metrics")]
    own = ['--model-repository="$here/repository"', *addresses]
    _write_script(folder, environment, '"${TRITONSERVER:-tritonserver}"', own, flags)


def _write_tfserving(server: ServerSpec, options: ServeOptions, folder: Path) -> None:
    models = resolve_models(options.models_conf, options.models)
    (folder / "models.conf").write_text(format_models_conf(models), encoding="utf-8")
    serving = TfServingOptions(
        models_conf=options.models_conf, models=options.models, in_flight=options.in_flight, settings=server.settings
    )
    flags = [f"--{name}={value}" for name, value in tfserving_server.settings_flags(_model_server(), serving).items()]
    own = ['--model_config_file="$here/models.conf"', '--port="${PORT:-8500}"', '--rest_api_port="${REST_PORT:-8501}"']
    if text := tfserving_server.batching_parameters(server.settings):
        (folder / "batching.config").write_text(text, encoding="utf-8")
        own += ["--enable_batching=true", '--batching_parameters_file="$here/batching.config"']
    _write_script(folder, ENVIRONMENT, BINARY, own, flags)


def _model_server() -> ModelServer:
    """The one of this host, which says the flags that it knows; else one that knows all."""
    try:
        return model_server.find()
    except ServerUnavailable:
        return ModelServer(BINARY, "")


def _leave_out(file: Path, parameter: str) -> None:
    config = text_format.Parse(file.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
    config.parameters.pop(parameter, None)
    file.write_text(text_format.MessageToString(config), encoding="utf-8")


def _write_local(server: ServerSpec, _: ServeOptions, folder: Path) -> None:
    lines = "".join(f"{name}={value}\n" for name, value in server.settings.environment.items())
    (folder / VARIABLES).write_text(lines or "# TensorFlow's own choice of threads\n", encoding="utf-8")


def _write_script(folder: Path, environment: Mapping[str, str], program: str, own: list[str], flags: list[str]) -> None:
    """A script whose own arguments are added to the command; `own` are words of the shell, as they stand."""
    variables = [f"export {name}={shlex.quote(value)}" for name, value in environment.items()]
    words = " \\\n  ".join([program, *own, *map(shlex.quote, flags), '"$@"'])
    lines = ["#!/bin/sh", 'here=$(cd "$(dirname "$0")" && pwd)', *variables, f"exec {words}"]
    path = folder / SCRIPT
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    os.chmod(path, 0o755)

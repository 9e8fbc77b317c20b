"""A real TensorFlow Serving: started with XLA on, ready when its models are, warmed up before it is used."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from raybench.clients import tfserving_client
from raybench.clients.grpc.channel import CallError, Channel
from raybench.clients.tfserving_client import TfServingClient
from raybench.config import IMAGE_PX, JPEGS, ConfigError
from raybench.inputs.photos import jpegs
from raybench.models.saved_models import ModelConfig, format_models_conf, serialize_models_conf
from raybench.servers import model_server
from raybench.servers.model_server import METRICS, ModelServer
from raybench.servers.served_models import resolved
from raybench.servers.server_process import (
    ServerError,
    ServerProcess,
    check_bind,
    endpoint,
    free_ports,
    require_free,
    scratch_folder,
    wait_until,
)

START_TIMEOUT_S = 300.0
RELOAD_S = 300.0
_WARM_UP_S = 300.0  # of one shape: XLA compiles at the first call
_STOP_TIMEOUT_S = 20.0
_QUALITY = 90  # of a blank picture
_ANSWER_S = 2.0
_MONITORING = f'prometheus_config {{ enable: true path: "{METRICS}" }}\n'
# "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{name: a version: 1} due to ...}"
_REASON = re.compile(r"(Failed to start server\. Error:|unknown argument:) (.*)")
_XLA = ("xla_cpu_compilation_enabled", "xla_gpu_compilation_enabled")  # the latter from 2.18 on


@dataclass(frozen=True)
class TfServingOptions:
    """What to serve and how: models of a models.conf (None: all), what to warm up (model, signature, batch size), a
    batching file."""

    models_conf: Path
    models: tuple[str, ...] | None = None
    warm_up: tuple[tuple[str, str, int], ...] = ()
    batching_file: Path | None = None
    bind: str = "127.0.0.1"
    grpc_port: int = 0


@dataclass(frozen=True)
class RunningTfServing:
    """Where a TensorFlow Serving that we started answers, its process, and what it was asked to serve."""

    grpc_url: str
    rest_url: str
    version: str
    launcher: str
    config: dict[str, str | int]
    process: ServerProcess
    is_ready: Callable[[], bool]
    options: TfServingOptions
    server: ModelServer

    @property
    def pid(self) -> int | None:
        """Whose process tree's memory is the server's; a container's is not known."""
        return None if self.server.container else self.process.pid

    @property
    def urls(self) -> dict[str, str]:
        return {"grpc": self.grpc_url, "http": self.rest_url, "metrics": f"{self.rest_url}{METRICS}"}

    def reload(self) -> tuple[ModelConfig, ...]:
        """Serve what models.conf says now; the old versions answer until the new ones are loaded.

        Returns the models now served; raises ServerError, one sentence, where it refuses.
        """
        models = resolved(self.options.models_conf, self.options.models)
        with closing(Channel(self.grpc_url)) as channel:
            try:
                tfserving_client.reload(channel, serialize_models_conf(self.server.models(models)), RELOAD_S)
            except CallError as error:
                raise ServerError(f"TF Serving cannot load the models: {error.said}") from error
        return models


def check(options: TfServingOptions) -> None:
    """Raise ConfigError for what no TensorFlow Serving here could serve, before one is started."""
    check_bind(options.bind)
    require_free(options.bind, options.grpc_port)
    try:
        resolved(options.models_conf, options.models)
    except ServerError as error:
        raise ConfigError(str(error)) from error


@contextmanager
def running_tfserving(options: TfServingOptions) -> Iterator[RunningTfServing]:
    """A TensorFlow Serving whose models are available and warm; stopped on the way out.

    Raises ServerUnavailable where there is none here, and ServerError with its last lines where it does not start.
    """
    server = model_server.find()
    models = resolved(options.models_conf, options.models)
    with scratch_folder("raybench-tfserving-") as folder:
        grpc_port, rest_port = free_ports(2)
        grpc_port = options.grpc_port or grpc_port
        flags, read = _flags(server, options, models, folder), _read(folder, models, options)
        command = server.command(flags, options.bind, (grpc_port, rest_port), read)
        environment = {**os.environ, **model_server.ENVIRONMENT}
        process = ServerProcess(command, env=environment, folder=folder, reason=_REASON, sweep="")
        url = endpoint(options.bind, grpc_port)
        try:
            with closing(Channel(url)) as channel:
                is_ready = partial(_are_available, channel, models)
                wait_until(is_ready, process, what="TF Serving", timeout_s=START_TIMEOUT_S)
                _warm_up(url, options, process)
                yield RunningTfServing(
                    grpc_url=url,
                    rest_url=f"http://{endpoint(options.bind, rest_port)}",
                    version=server.version,
                    launcher=server.launcher,
                    config=_config(server, options, models),
                    process=process,
                    is_ready=is_ready,
                    options=options,
                    server=server,
                )
        finally:
            process.stop(_STOP_TIMEOUT_S)
            server.remove()


def _settings(server: ModelServer) -> dict[str, str]:
    """The flags that decide what is measured."""
    return {
        "max_num_load_retries": "0",  # a model that does not load ends it, with the reason
        **{flag: "true" for flag in _XLA if server.knows(flag)},
    }


def _flags(
    server: ModelServer, options: TfServingOptions, models: tuple[ModelConfig, ...], folder: Path
) -> dict[str, str]:
    conf, monitoring = folder / "models.conf", folder / "monitoring.config"
    conf.write_text(format_models_conf(server.models(models)))
    monitoring.write_text(_MONITORING)
    batching = options.batching_file.resolve() if options.batching_file else None
    return {
        "model_config_file": str(server.seen(conf)),
        "monitoring_config_file": str(server.seen(monitoring)),
        "grpc_channel_arguments": "grpc.so_reuseport=0",  # else two of them share a port without a word
        **_settings(server),
        **({"enable_batching": "true", "batching_parameters_file": str(server.seen(batching))} if batching else {}),
    }


def _read(folder: Path, models: tuple[ModelConfig, ...], options: TfServingOptions) -> list[Path]:
    batching = [options.batching_file.resolve()] if options.batching_file else []
    return [folder, *(model.base_path for model in models), *batching]


def _config(server: ModelServer, options: TfServingOptions, models: tuple[ModelConfig, ...]) -> dict[str, str | int]:
    batching = {"batching_parameters_file": str(options.batching_file)} if options.batching_file else {}
    names = {"models": ",".join(model.name for model in models), "models_conf": str(options.models_conf)}
    return {**names, **_settings(server), **batching, "gpu_allocator": "growth"}


def _are_available(channel: Channel, models: tuple[ModelConfig, ...]) -> bool:
    return all(tfserving_client.is_available(channel, model.name, _ANSWER_S) for model in models)


def _warm_up(url: str, options: TfServingOptions, process: ServerProcess) -> None:
    """One request of each shape; what is refused here is refused again, and told, in the trial."""
    for model, signature, batch_size in options.warm_up:
        with closing(TfServingClient(url, model=model, signature=signature, batch_size=batch_size)) as client:
            blank = np.zeros((batch_size, IMAGE_PX, IMAGE_PX, 3), np.uint8)
            client.send(client.encode(jpegs(blank, _QUALITY) if signature == JPEGS else blank), _WARM_UP_S)
        if process.exit_code is not None:
            raise ServerError(f"TF Serving ended at the first request for {model}: {process.tail()}")

"""A real TensorFlow Serving: started with XLA on, ready when its models are, warmed up before it is used."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from raybench.clients import tfserving_client
from raybench.clients.grpc.channel import Channel
from raybench.clients.tfserving_client import TfServingClient
from raybench.config.server_settings import OWN_CHOICE, ServerSettings
from raybench.inputs.tensors import Batch
from raybench.models.saved_models import ModelConfig, format_models_conf
from raybench.processes import scratch_folder
from raybench.servers import model_server
from raybench.servers.model_server import METRICS, ModelServer
from raybench.servers.served_models import resolve_models
from raybench.servers.server_process import (
    ServerError,
    ServerProcess,
    endpoint,
    free_ports,
    listens,
    port_beside,
    wait_until,
)
from raybench.servers.start_times import StartTimes
from raybench.servers.started_server import StartedServer, check_options
from raybench.servers.tfserving_reload import LoadedVersions

START_TIMEOUT_S = 300.0
_WARM_UP_S = 300.0  # of one shape: XLA compiles at the first call
_STOP_TIMEOUT_S = 20.0
_ANSWER_S = 2.0
_MONITORING = f'prometheus_config {{ enable: true path: "{METRICS}" }}\n'
# "Failed to start server. Error: UNKNOWN: 1 servable(s) did not become available: {{name: a version: 1} due to ...}"
_REASON = re.compile(r"(Failed to start server\. Error:|No versions of servable|Could not find base path) (.*)")
# It refuses a call for which it has no thread; a thread is made when a call needs it. Calls that the client has given
# up hold theirs until they are computed.
_MOST_ENQUEUED = 100_000  # it refuses what comes while so many batches wait
_THREADS, _LEAST_THREADS = "grpc_max_threads", 1000
# A REST call that finds no thread waits; all threads are made at the start (model_servers/http_server.cc). One that is
# not answered in 30 s is refused by default, where gRPC has no such limit.
_REST_THREADS, _REST_THREADS_PER_CPU = "rest_api_num_threads", 4
_NO_REST_LIMIT = {"rest_api_timeout_in_ms": "0"}
_XLA = ("xla_cpu_compilation_enabled", "xla_gpu_compilation_enabled")  # the latter from 2.18 on


@dataclass(frozen=True)
class TfServingOptions:
    """What to serve and how: models of a models.conf (None: all), requests that warm them up (model, signature, batch),
    a batching file in place of the settings that merge, the most requests in flight."""

    models_conf: Path
    models: tuple[str, ...] | None = None
    warm_up: tuple[tuple[str, str, Batch], ...] = ()
    batching_file: Path | None = None
    settings: ServerSettings = OWN_CHOICE
    in_flight: int = 1
    bind: str = "127.0.0.1"
    grpc_port: int = 0


@dataclass(frozen=True, kw_only=True)
class RunningTfServing(StartedServer):
    """A TensorFlow Serving that we started; `server` is how, in a container or not."""

    options: TfServingOptions
    server: ModelServer
    loaded: LoadedVersions

    @property
    def pid(self) -> int | None:
        """Whose process tree's memory is the server's; a container's is not known."""
        return None if self.server.container else self.process.pid

    def _load(self, models: tuple[ModelConfig, ...]) -> None:
        self.loaded.reload(self.grpc_url, models)


def check(options: TfServingOptions) -> None:
    """Raise ConfigError for what no TensorFlow Serving here could serve, before one is started."""
    check_options(options)


@contextmanager
def running_tfserving(options: TfServingOptions) -> Iterator[RunningTfServing]:
    """A TensorFlow Serving whose models are available and warm; stopped on the way out.

    Raises ServerUnavailable where there is none here, and ServerError with its last lines where it does not start.
    """
    server = model_server.find()
    models = resolve_models(options.models_conf, options.models)
    loaded = LoadedVersions(server, models)
    with scratch_folder("raybench-tfserving-") as folder:
        grpc_port, rest_port = free_ports(2)
        if options.grpc_port:
            grpc_port, rest_port = options.grpc_port, port_beside(options.bind, options.grpc_port, rest_port)
        ports = grpc_port, rest_port
        process = _start(server, options, models, folder, ports)
        try:
            with closing(Channel(endpoint(options.bind, ports[0]))) as channel:
                is_ready = partial(_are_available, channel, models)
                url = endpoint(options.bind, ports[0])
                wait_until(lambda: listens(url) and is_ready(), process, what="TF Serving", timeout_s=START_TIMEOUT_S)
                start = _warm_up(url, options, process)
                yield _described(server.as_started(), options, models, process, ports, is_ready, loaded, start)
        finally:
            process.stop(_STOP_TIMEOUT_S)
            server.remove()


def _start(
    server: ModelServer,
    options: TfServingOptions,
    models: tuple[ModelConfig, ...],
    folder: Path,
    ports: tuple[int, int],
) -> ServerProcess:
    options = _with_batching_file(options, folder)
    flags, read = _flags(server, options, models, folder), _read_paths(folder, models, options)
    command = server.command(flags, options.bind, ports, read)
    environment = {**os.environ, **model_server.ENVIRONMENT}
    return ServerProcess(command, env=environment, folder=folder, reason=_REASON, sweep="")


def _described(
    server: ModelServer,
    options: TfServingOptions,
    models: tuple[ModelConfig, ...],
    process: ServerProcess,
    ports: tuple[int, int],
    is_ready: Callable[[], bool],
    loaded: LoadedVersions,
    start: StartTimes,
) -> RunningTfServing:
    rest_url = f"http://{endpoint(options.bind, ports[1])}"
    return RunningTfServing(
        grpc_url=endpoint(options.bind, ports[0]),
        http_url=rest_url,
        metrics_url=f"{rest_url}{METRICS}",
        version=server.version,
        launcher=server.launcher,
        config=_config(server, options, models),
        process=process,
        is_ready=is_ready,
        options=options,
        server=server,
        loaded=loaded,
        start=start,
    )


def settings_flags(server: ModelServer, options: TfServingOptions) -> dict[str, str]:
    """The flags that decide what is measured."""
    threads = {"intra": options.settings.intra_op_threads, "inter": options.settings.inter_op_threads}
    wanted = {
        _THREADS: str(max(_LEAST_THREADS, 2 * options.in_flight)),
        **_rest_threads(options.in_flight),
        **_NO_REST_LIMIT,
        **dict.fromkeys(_XLA, "true"),
    }
    return {
        "max_num_load_retries": "0",  # a model that does not load ends it, with the reason
        **{flag: value for flag, value in wanted.items() if server.supports(flag)},
        **{f"tensorflow_{kind}_op_parallelism": str(count) for kind, count in threads.items() if count},
    }


def _rest_threads(in_flight: int) -> dict[str, str]:
    """As many as requests may hold, where that is more than it has by default."""
    is_enough = 2 * in_flight <= _REST_THREADS_PER_CPU * (os.cpu_count() or 1)
    return {} if is_enough else {_REST_THREADS: str(2 * in_flight)}


def batching_parameters(settings: ServerSettings) -> str | None:
    """The text of a batching file for what `settings` merge; None where requests are not merged.

    The format is BatchingParameters of tensorflow_serving/servables/tensorflow/session_bundle_config.proto.
    """
    if settings.merge_max <= 1:
        return None
    threads = settings.merge_threads or os.cpu_count() or 1
    return (
        f"max_batch_size {{ value: {settings.merge_max} }}\n"
        f"batch_timeout_micros {{ value: {settings.merge_delay} }}\n"
        f"num_batch_threads {{ value: {threads} }}\n"
        f"max_enqueued_batches {{ value: {_MOST_ENQUEUED} }}\n"
    )


def _with_batching_file(options: TfServingOptions, folder: Path) -> TfServingOptions:
    """The options with a file for what their settings merge."""
    text = batching_parameters(options.settings)
    if options.batching_file or not text:
        return options
    (folder / "batching.config").write_text(text, encoding="utf-8")
    return replace(options, batching_file=folder / "batching.config")


def _flags(
    server: ModelServer, options: TfServingOptions, models: tuple[ModelConfig, ...], folder: Path
) -> dict[str, str]:
    conf, monitoring = folder / "models.conf", folder / "monitoring.config"
    conf.write_text(format_models_conf(server.with_server_paths(models)), encoding="utf-8")
    monitoring.write_text(_MONITORING, encoding="utf-8")
    batching = options.batching_file.resolve() if options.batching_file else None
    return {
        "model_config_file": str(server.server_path(conf)),
        "monitoring_config_file": str(server.server_path(monitoring)),
        "grpc_channel_arguments": "grpc.so_reuseport=0",  # else two of them share a port without a word
        **settings_flags(server, options),
        **(
            {"enable_batching": "true", "batching_parameters_file": str(server.server_path(batching))}
            if batching
            else {}
        ),
    }


def _read_paths(folder: Path, models: tuple[ModelConfig, ...], options: TfServingOptions) -> list[Path]:
    batching = [options.batching_file.resolve()] if options.batching_file else []
    return [folder, *(model.base_path for model in models), *batching]


def _config(server: ModelServer, options: TfServingOptions, models: tuple[ModelConfig, ...]) -> dict[str, str | int]:
    batching = {"batching_parameters_file": str(options.batching_file)} if options.batching_file else {}
    if not options.batching_file and (text := batching_parameters(options.settings)):
        batching = {"batching_parameters_file": " ".join(text.split())}
    names = {"models": ",".join(model.name for model in models), "models_conf": str(options.models_conf)}
    tensorflow = {"tensorflow": server.tensorflow} if server.tensorflow else {}
    return {**names, **settings_flags(server, options), **batching, **tensorflow, "gpu_allocator": "growth"}


def _are_available(channel: Channel, models: tuple[ModelConfig, ...]) -> bool:
    return all(tfserving_client.is_available(channel, model.name, _ANSWER_S) for model in models)


def _warm_up(url: str, options: TfServingOptions, process: ServerProcess) -> StartTimes:
    """One request of each shape; a server that refuses one refuses it again in the trial, which says so."""
    began_s = process.age_s()
    for model, signature, batch in options.warm_up:
        with closing(TfServingClient(url, model=model, signature=signature)) as client:
            client.send(client.encode(batch), _WARM_UP_S)
        if process.exit_code is not None:
            raise ServerError(f"TF Serving stopped at the first request for {model}: {process.tail()}")
    ready_s = process.age_s()
    return StartTimes(ready_s=ready_s, warm_up_s=ready_s - began_s)

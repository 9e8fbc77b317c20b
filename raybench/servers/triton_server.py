"""A real Triton: the tritonserver binary of the nvidia-pytriton wheel with raybench's python backend."""

import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import tritonclient.grpc as triton_grpc
from tritonclient.utils import InferenceServerException

from raybench.clients.grpc import channel
from raybench.config import PER_MODEL, ConfigError
from raybench.models.saved_models import ModelConfig
from raybench.processes import scratch_folder
from raybench.servers import repository, triton_reload, wheel
from raybench.servers.echo_models import is_echo
from raybench.servers.server_process import (
    ServerError,
    ServerProcess,
    TransientStartError,
    bracketed,
    endpoint,
    free_ports,
    listens,
    port_beside,
    wait_until,
)
from raybench.servers.start_times import StartTimes
from raybench.servers.started_server import StartedServer, check_options
from raybench.servers.triton_options import TritonOptions
from raybench.servers.triton_overview import Overview, overview, self_check, states, warm_up_s

__all__ = ["RunningTriton", "TritonOptions", "check", "running_triton"]

START_TIMEOUT_S = 900.0  # XLA compiles in here: on an H200 two models at a batch of 100 took two minutes
STALL_S = 20.0
_MOST_STARTS = 3
_LOST_LOCK = "boost::interprocess::lock_exception"  # what the python backend ends of, now and then, on a busy host
_Started = TypeVar("_Started")
_STOP_TIMEOUT_S = 20.0
# The folder that the server runs in, whatever it is called: the python backend hands paths to a shell, which takes
# quotes and spaces apart, and to a Python that logs none with other letters than ASCII's.
_HERE = Path("/proc/self/cwd")
# A model that does not load costs the others nothing: Triton answers when all have been tried.
_FLAGS: dict[str, tuple[str, ...]] = {PER_MODEL: ("--exit-on-error=false", "--strict-readiness=false")}
_SHM_PREFIX = "raybench"
SHM_BYTES = 64 * 2**20  # one growth covers one allocation: a region this large keeps growth out of the tail
# model_lifecycle.cc: "failed to load 'saved_model' version 1: Internal: ValueError: ...\\n\\nAt:\\n ..."
_REASON = re.compile(r"failed to load '(\S+)' version \d+: (?:Internal: )?(.*?)(?:\\n|\"\n)")


@dataclass(frozen=True, kw_only=True)
class RunningTriton(StartedServer):
    """A Triton that we started; `folder` holds its repository."""

    options: TritonOptions
    folder: Path

    def unservable(self) -> dict[str, str]:
        return self._overview().unservable

    def unmerged(self) -> dict[str, str]:
        return self._overview().unmerged

    def _overview(self) -> Overview:
        if self.options.models == ():
            return Overview()
        with client(self.grpc_url) as asking:
            return overview(asking, self.options.layout)

    def _load(self, models: tuple[ModelConfig, ...]) -> None:
        served = self._overview().models
        with client(self.grpc_url) as asking:
            triton_reload.reload(asking, self.options, models, self.folder, served)


def check(options: TritonOptions) -> None:
    """Raise ConfigError for what no Triton here could serve, before one is started."""
    if wheel.installed() and (reason := wheel.unsupported_reason()):
        raise ConfigError(f"server is triton; {reason}")
    check_options(options)


@contextmanager
def running_triton(options: TritonOptions) -> Iterator[RunningTriton]:
    """A Triton that is ready and has passed the self-check; stopped on the way out, with its stubs.

    Raises ServerError with Triton's last lines where it is not available or does not become ready.
    """
    with restarted_if_transient(partial(_started, wheel.find(), options)) as running:
        yield running


@contextmanager
def restarted_if_transient(start: Callable[[], AbstractContextManager[_Started]]) -> Iterator[_Started]:
    """What `start` yields, started again where it raised TransientStartError.

    Where the process of a model stands still for over a second while it loads, as on a busy machine, the python backend
    takes it for dead, and then waits forever for its end (stub_launcher.cc, Launch and ReceiveMessageFromStub). Or it
    throws in a lock that both share, and takes Triton along.
    """
    with ExitStack() as stack:
        for number in range(1, _MOST_STARTS + 1):
            try:
                started = stack.enter_context(start())
                break
            except TransientStartError:
                if number == _MOST_STARTS:
                    raise
        yield started


@contextmanager
def _started(tritonserver: Path, options: TritonOptions) -> Iterator[RunningTriton]:
    with scratch_folder("raybench-triton-") as folder:
        ports = free_ports(3)
        if options.grpc_port:
            ports[0], ports[2] = options.grpc_port, port_beside(options.bind, options.grpc_port, ports[2])
        process = _start(tritonserver, options, folder, ports)
        try:
            yield _await_ready(options, process, folder, ports)
        finally:
            process.stop(_STOP_TIMEOUT_S)


def _start(tritonserver: Path, options: TritonOptions, folder: Path, ports: list[int]) -> ServerProcess:
    backends = wheel.assemble_backends(tritonserver, folder / "backends")
    models = repository.assemble(options, folder)
    command = [*_command(tritonserver, backends, models, options.bind, *ports), *_FLAGS.get(options.layout, ())]
    regions = f"/dev/shm/{_SHM_PREFIX}-{os.getpid()}-{ports[0]}*"
    environment = {**wheel.environment(tritonserver), **options.settings.environment}
    if options.does_nothing:
        environment["CUDA_VISIBLE_DEVICES"] = ""  # else its context takes 600 MiB of a GPU under test
    return ServerProcess(command, env=environment, folder=folder, reason=_REASON, sweep=regions)


def _await_ready(options: TritonOptions, process: ServerProcess, folder: Path, ports: list[int]) -> RunningTriton:
    grpc_url, http_url, metrics_url = (endpoint(options.bind, port) for port in ports)
    asking = client(grpc_url)
    is_ready = partial(_is_ready, asking)
    try:
        wait = partial(wait_until, process=process, what="Triton", timeout_s=START_TIMEOUT_S, stall_s=STALL_S)
        wait(lambda: listens(grpc_url) and is_ready())
        ready_s = process.age_s()
        wait(lambda: listens(http_url) and listens(metrics_url))  # these open later, and are no part of a cold start
    except ServerError as error:
        if _LOST_LOCK in str(error):
            raise TransientStartError(str(error)) from error
        raise
    _check_loaded(asking, options)
    return RunningTriton(
        grpc_url=grpc_url,
        http_url=f"http://{http_url}",
        metrics_url=f"http://{metrics_url}/metrics",
        version=self_check(asking, process),
        config=_config(options),
        launcher=f"wheel nvidia-pytriton {version('nvidia-pytriton')}",
        process=process,
        is_ready=is_ready,
        options=options,
        folder=folder,
        start=StartTimes(ready_s=ready_s, warm_up_s=warm_up_s(asking, options.layout) if options.warm_up else 0.0),
    )


def _check_loaded(asking: triton_grpc.InferenceServerClient, options: TritonOptions) -> None:
    """Raise ServerError where nothing is served: in layout multi the backend does, in the other Triton goes on."""
    if options.layout != PER_MODEL or options.models == () or options.does_nothing:
        return
    found = {name: reason for name, reason in states(asking).items() if not is_echo(name)}
    if all(found.values()):
        raise ServerError("; ".join(f"model {name}: {reason}" for name, reason in found.items()))


def client(url: str) -> triton_grpc.InferenceServerClient:
    """Triton's own client, past every proxy."""
    return triton_grpc.InferenceServerClient(url, channel_args=channel.OPTIONS)


def _config(options: TritonOptions) -> dict[str, str | int]:
    """What tells this Triton from another: its instances, the backend's parameters, the allocator's settings."""
    return {
        "instances": options.instances,
        "layout": options.layout,
        **repository.parameters(options, options.models_conf),
        **({"merge_delay": options.settings.merge_delay} if options.settings.merge_delay else {}),
        **options.settings.environment,
        **{name.strip("_").lower(): value for name, value in wheel.malloc().items()},
    }


def _command(
    tritonserver: Path, backends: Path, repository: Path, bind: str, grpc: int, http: int, metrics: int
) -> list[str]:
    http_bind = f"ipv6:{bind}" if ":" in bind else bind  # as evhtp_bind_socket of libevhtp wants it
    return [
        str(tritonserver / "bin" / "tritonserver"),
        f"--model-repository={_HERE / repository.name}",
        f"--backend-directory={_HERE / backends.name}",
        "--model-control-mode=explicit",
        "--load-model=*",
        f"--grpc-address={bracketed(bind)}",
        f"--grpc-port={grpc}",
        f"--http-address={http_bind}",
        f"--http-port={http}",
        f"--metrics-address={http_bind}",
        f"--metrics-port={metrics}",
        "--metrics-interval-ms=500",
        f"--backend-config=python,shm-default-byte-size={SHM_BYTES}",
        f"--backend-config=python,shm-region-prefix-name={_SHM_PREFIX}-{os.getpid()}-{grpc}",
        f"--backend-config=python,stub-timeout-seconds={START_TIMEOUT_S:.0f}",
        "--exit-timeout-secs=10",
        "--log-info=true",
    ]


def _is_ready(client: triton_grpc.InferenceServerClient) -> bool:
    try:
        return bool(client.is_server_ready(client_timeout=2)) and bool(client.is_model_ready("echo", client_timeout=2))
    except InferenceServerException:
        return False

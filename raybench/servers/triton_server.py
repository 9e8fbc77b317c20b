"""A real Triton: the tritonserver binary of the nvidia-pytriton wheel with raybench's python backend."""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import tritonclient.grpc as triton_grpc
from google.protobuf import json_format
from tritonclient.utils import InferenceServerException

from raybench.clients.grpc import channel
from raybench.config import ConfigError
from raybench.models.saved_models import ModelConfig
from raybench.servers import repository, wheel
from raybench.servers.repository import TritonOptions
from raybench.servers.server_process import (
    ServerError,
    ServerProcess,
    ServerStalled,
    bracketed,
    endpoint,
    free_ports,
    port_beside,
    scratch_folder,
    wait_until,
)
from raybench.servers.started_server import OLD_SERVE, StartedServer, check_options

__all__ = ["RunningTriton", "TritonOptions", "check", "running_triton", "self_check"]

START_TIMEOUT_S = 900.0  # XLA compiles in here: on an H200 two models at a batch of 100 took two minutes
RELOAD_S = START_TIMEOUT_S
STALL_S = 20.0
_MOST_STARTS = 3
_ASK_S = 10.0
_Started = TypeVar("_Started")
_STOP_TIMEOUT_S = 20.0
_ASK_S = 30.0
# The folder that the server runs in, whatever it is called: the python backend hands paths to a shell, which takes
# quotes and spaces apart, and to a Python that logs none with other letters than ASCII's.
_HERE = Path("/proc/self/cwd")
_SHM_PREFIX = "raybench"
_SHM_BYTES = 64 * 2**20  # one growth covers one allocation: a region this large keeps growth out of the tail
# model_lifecycle.cc: "failed to load 'saved_model' version 1: Internal: ValueError: ...\\n\\nAt:\\n ..."
_REASON = re.compile(r"failed to load '(\S+)' version \d+: (?:Internal: )?(.*?)(?:\\n|\"\n)")
# "load failed for model 'saved_model': version 1 is at UNAVAILABLE state: Internal: ValueError: ...\n\nAt:\n  ..."
_LOAD_REASON = re.compile(r"UNAVAILABLE state: (?:Internal: )?(.*?)(?:\n\nAt:|;?\n|$)")


@dataclass(frozen=True)
class Overview:
    """What the backend serves, and, by model or model/signature, why it does not serve or does not merge others."""

    models: list[str] = field(default_factory=list)
    unservable: dict[str, str] = field(default_factory=dict)
    unmerged: dict[str, str] = field(default_factory=dict)
    signatures: dict[str, Any] = field(default_factory=dict)


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
            return _overview(asking)

    def _load(self, models: tuple[ModelConfig, ...]) -> None:
        served = self._overview().models
        keep = tuple(model.name for model in models if model.name in served)
        config = repository.model_config(self.options, models, self.folder, keep)
        with client(self.grpc_url) as asking:
            try:
                asking.load_model("saved_model", config=json_format.MessageToJson(config), client_timeout=RELOAD_S)
            except InferenceServerException as error:
                raise ServerError(f"{_load_failure(error)}; {_what_serves(asking)}") from error


def check(options: TritonOptions) -> None:
    """Raise ConfigError for what no Triton here could serve, before one is started."""
    if wheel.installed() and (reason := wheel.unsupported_reason()):
        raise ConfigError(f"server is triton; {reason}")
    check_options(options)


@contextmanager
def running_triton(options: TritonOptions) -> Iterator[RunningTriton]:
    """A Triton that is ready and has passed the self-check; stopped on the way out, with its stubs.

    Raises ServerError with Triton's last lines where it cannot be had or does not become ready.
    """
    with restarted_if_stalled(partial(_started, wheel.find(), options)) as running:
        yield running


@contextmanager
def restarted_if_stalled(start: Callable[[], AbstractContextManager[_Started]]) -> Iterator[_Started]:
    """What `start` yields, started again where it raised ServerStalled.

    Where the process of a model stands still for over a second while it loads, as on a busy machine, the python backend
    takes it for dead, and then waits forever for its end (stub_launcher.cc, Launch and ReceiveMessageFromStub).
    """
    with ExitStack() as stack:
        for number in range(1, _MOST_STARTS + 1):
            try:
                started = stack.enter_context(start())
                break
            except ServerStalled:
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
    command = _command(tritonserver, backends, models, options.bind, *ports)
    regions = f"/dev/shm/{_SHM_PREFIX}-{os.getpid()}-{ports[0]}*"
    return ServerProcess(command, env=wheel.environment(tritonserver), folder=folder, reason=_REASON, sweep=regions)


def _await_ready(options: TritonOptions, process: ServerProcess, folder: Path, ports: list[int]) -> RunningTriton:
    grpc_url, http_url, metrics_url = (endpoint(options.bind, port) for port in ports)
    asking = client(grpc_url)
    is_ready = partial(_is_ready, asking)
    wait_until(is_ready, process, what="Triton", timeout_s=START_TIMEOUT_S, stall_s=STALL_S)
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
    )


def client(url: str) -> triton_grpc.InferenceServerClient:
    """Triton's own client, past every proxy."""
    return triton_grpc.InferenceServerClient(url, channel_args=channel.OPTIONS)


def _config(options: TritonOptions) -> dict[str, str | int]:
    """What tells this Triton from another: its instances, the backend's parameters, the allocator's settings."""
    return {
        "instances": options.instances,
        **repository.parameters(options, options.models_conf),
        **{name.strip("_").lower(): value for name, value in wheel.malloc().items()},
    }


def self_check(client: triton_grpc.InferenceServerClient, process: ServerProcess) -> str:
    """Send known data both ways, compare, and return Triton's version.

    numpy 2 in the stub's environment garbles tensors without an error. Raises ServerError where what comes back is not
    what was sent.
    """
    known = np.random.default_rng(0).integers(0, 256, (1, 3, 5, 7, 3), np.uint8)
    images = triton_grpc.InferInput("images", known.shape, "UINT8").set_data_from_numpy(known)
    wanted = [triton_grpc.InferRequestedOutput("checksum")]
    try:
        answer = client.infer("echo", [images], outputs=wanted, client_timeout=30)
        server_version = str(client.get_server_metadata(client_timeout=10).version)
    except InferenceServerException as error:
        raise ServerError(f"Triton did not pass its self-check: {error.message()}; {process.tail()}") from error
    weights = np.arange(1, known.size + 1, dtype=np.int64)
    sent, came = int((known.reshape(-1) * weights).sum()), int(answer.as_numpy("checksum")[0])
    if came != sent:
        raise ServerError(
            f"Triton's self-check sent the checksum {sent} and got {came}: data is garbled between Triton and "
            f"its python backend; check that its Python environment has numpy<2\n{process.tail()}"
        )
    return server_version


def _overview(asking: triton_grpc.InferenceServerClient) -> Overview:
    all_models = triton_grpc.InferInput("model_name", [1, 1], "BYTES")
    all_models.set_data_from_numpy(np.array([[b""]], object))
    wanted = [triton_grpc.InferRequestedOutput("about")]
    try:
        answer = asking.infer("saved_model", [all_models], outputs=wanted, client_timeout=_ASK_S)
    except InferenceServerException as error:
        raise ServerError(f"Triton does not say what it serves: {error.message()}") from error
    return Overview(**json.loads(answer.as_numpy("about")[0]))


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
        f"--backend-config=python,shm-default-byte-size={_SHM_BYTES}",
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


def _what_serves(client: triton_grpc.InferenceServerClient) -> str:
    """What answers after a load that failed: as a rule Triton keeps what it had."""
    try:
        is_ready = bool(client.is_model_ready("saved_model", client_timeout=_ASK_S))
    except InferenceServerException as error:
        return f"what it serves is not known ({error.message()})"
    return OLD_SERVE if is_ready else "it serves none of them now"


def _load_failure(error: InferenceServerException) -> str:
    if str(error.status()).endswith("DEADLINE_EXCEEDED"):
        return f"Triton has not loaded the models within {RELOAD_S:.0f} s, and may yet"
    said = str(error.message())
    reason = _LOAD_REASON.search(said)
    return f"Triton cannot load the models: {reason[1] if reason else said}"

"""How a TensorFlow Serving is started here: tensorflow_model_server on PATH, or its Docker image."""

import csv
import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from raybench.models.saved_models import ModelConfig
from raybench.servers.server_process import ServerUnavailable, bracketed

BINARY = "tensorflow_model_server"
TF_SERVING_VERSION = "2.20.0"  # of the image, as in docker/.env
METRICS = "/monitoring/prometheus/metrics"  # of its REST port, where its monitoring_config_file says so
_ASK_S = 20.0
_MOUNT_ROOT = Path("/raybench")  # below it a container sees what is here
_CONTAINER_PORTS = (8500, 8501)  # a container's own ports, gRPC and REST
# As Triton's backend does; without it all memory of a GPU is taken at once.
ENVIRONMENT = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}
_CONTAINER_OPTIONS = (
    "--rm", "--init",  # as process 1 it would ignore the SIGTERM that docker run passes on
    "--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges:true",
    *(f"--env={name}={value}" for name, value in ENVIRONMENT.items()),
)  # fmt: skip


@dataclass(frozen=True)
class ModelServer:
    """A TensorFlow Serving that can be started: by what, its version and its TensorFlow's (None is not known), and the
    flags that it knows (None: all)."""

    launcher: str
    version: str
    tensorflow: str | None = None
    flags: frozenset[str] | None = None
    container: str | None = None  # its name, where it runs in one

    def supports(self, flag: str) -> bool:
        return self.flags is None or flag in self.flags

    def server_path(self, path: Path) -> Path:
        """A path of this host as the server sees it, which is below /raybench in a container."""
        return _MOUNT_ROOT / str(path).lstrip("/") if self.container else path

    def with_server_paths(self, models: tuple[ModelConfig, ...]) -> tuple[ModelConfig, ...]:
        """Models with their base paths as the server sees them."""
        return tuple(replace(model, base_path=self.server_path(model.base_path)) for model in models)

    def command(self, flags: Mapping[str, str], bind: str, ports: tuple[int, int], read: Iterable[Path]) -> list[str]:
        """The command line with these flags, for gRPC and REST on `ports`; a container may read the paths in `read`."""
        if self.container is None:
            return [BINARY, *_arguments(flags, ports)]
        published = [
            f"--publish={bracketed(bind)}:{port}:{inside}" for port, inside in zip(ports, _CONTAINER_PORTS, strict=True)
        ]
        mounted = [f"--mount={_mount(path, self.server_path(path))}" for path in read]
        named = [f"--name={self.container}", f"--user={os.getuid()}:{os.getgid()}", f"--entrypoint={BINARY}"]
        return [
            "docker",
            "run",
            *_CONTAINER_OPTIONS,
            *_gpus(),
            *named,
            *published,
            *mounted,
            _image(),
            *_arguments(flags, _CONTAINER_PORTS),
        ]

    def as_started(self) -> "ModelServer":
        """With the versions that a container says once it runs; before, its image might have to be fetched."""
        if self.container is None:
            return self
        version, tensorflow = _versions_in(_output_of(["docker", "exec", self.container, BINARY, "--version"]) or "")
        return replace(self, version=version or self.version, tensorflow=tensorflow)

    def remove(self) -> None:
        """End the container that a killed `docker run` leaves behind."""
        if self.container:
            _output_of(["docker", "rm", "--force", self.container])


def is_on_path() -> bool:
    return shutil.which(BINARY) is not None


def find() -> ModelServer:
    """How it can be started on this machine; raises ServerUnavailable with the remedies where it cannot."""
    if is_on_path():
        return _on_path()
    if _output_of(["docker", "info"]) is not None:
        return ModelServer(f"docker {_image()}", TF_SERVING_VERSION, container=f"raybench-tfserving-{os.getpid()}")
    raise ServerUnavailable(
        f"TensorFlow Serving is not installed: put {BINARY} on PATH, start Docker for its image, "
        f"or name a running one with --url tfserving=HOST:PORT"
    )


def _on_path() -> ModelServer:
    """`--help` is answered with an exit code that says failure (tensorflow/core/util/command_line_flags.cc)."""
    said = _output_of([BINARY, "--version"])
    if said is None:
        raise ServerUnavailable(
            f"the {BINARY} on PATH does not start: run `{BINARY} --version` and supply what it asks for, "
            f"or name a running one with --url tfserving=HOST:PORT"
        )
    usage = _output_of([BINARY, "--help"], codes=(0, 1, 255)) or ""
    version, tensorflow = _versions_in(said)
    flags = frozenset(re.findall(r"^\s*--(\w+)=", usage, re.M))
    return ModelServer(f"{BINARY} on PATH", version or "unknown", tensorflow, flags)


def _versions_in(said: str) -> tuple[str | None, str | None]:
    """Its own and its TensorFlow's, of what `--version` prints."""
    own, tensorflow = (re.search(rf"{name}: (\S+)", said) for name in ("ModelServer", "TensorFlow Library"))
    return own[1] if own else None, tensorflow[1] if tensorflow else None


def _output_of(command: list[str], codes: tuple[int, ...] = (0,)) -> str | None:
    """What a command prints; None where it is missing, fails, or takes too long."""
    try:
        done = subprocess.run(
            command, capture_output=True, encoding="utf-8", errors="replace", timeout=_ASK_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode in codes else None


def _mount(source: Path, target: Path) -> str:
    """Fields of CSV, as Docker reads them: a path may have commas and quotes."""
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(["type=bind", "readonly", f"source={source}", f"target={target}"])
    return line.getvalue()


def _arguments(flags: Mapping[str, str], ports: tuple[int, int]) -> list[str]:
    grpc, rest = ports
    return [f"--{name}={value}" for name, value in {**flags, "port": grpc, "rest_api_port": rest}.items()]


def _image() -> str:
    return f"tensorflow/serving:{TF_SERVING_VERSION}{'-gpu' if _gpus() else ''}"


def _gpus() -> list[str]:
    return ["--gpus=all"] if shutil.which("nvidia-smi") else []

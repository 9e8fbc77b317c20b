"""The ways to a TensorFlow Serving here: tensorflow_model_server on PATH, or Docker's image of it."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from raybench.saved_models import ModelConfig
from raybench.servers.process import ServerUnavailable

BINARY = "tensorflow_model_server"
TF_SERVING_VERSION = "2.20.0"  # of the image, as in docker/.env
_ASK_S = 20.0
_INSIDE = Path("/raybench")  # where a container sees what is here
_GRPC_PORT, _REST_PORT = 8500, 8501  # inside a container


@dataclass(frozen=True)
class ModelServer:
    """A TensorFlow Serving that can be started: by what, its version, and the flags that it knows (None: all)."""

    launcher: str
    version: str
    flags: frozenset[str] | None = None
    container: str | None = None  # its name, where it runs in one

    def knows(self, flag: str) -> bool:
        return self.flags is None or flag in self.flags

    def seen(self, path: Path) -> Path:
        """A path of ours as the server sees it."""
        return _INSIDE / str(path).lstrip("/") if self.container else path

    def models(self, models: tuple[ModelConfig, ...]) -> tuple[ModelConfig, ...]:
        return tuple(replace(model, base_path=self.seen(model.base_path)) for model in models)

    def command(self, flags: dict[str, str], *, bind: str, grpc: int, rest: int, read: list[Path]) -> list[str]:
        """The command line with these flags, whose files in `read` a container may read."""
        ports = {"port": grpc, "rest_api_port": rest}
        if self.container is None:
            return [BINARY, *_as_words({**flags, **ports})]
        publish = [f"--publish={_bracketed(bind)}:{port}:{inside}" for port, inside in
                   ((grpc, _GRPC_PORT), (rest, _REST_PORT))]  # fmt: skip
        mounts = [f"--mount=type=bind,readonly,source={path},target={self.seen(path)}" for path in read]
        gpus = ["--gpus=all"] if _has_gpu() else []
        # --init: as process 1 it would not heed SIGTERM, which docker run passes on.
        docker = ["docker", "run", "--rm", "--init", f"--name={self.container}", f"--user={os.getuid()}:{os.getgid()}"]
        hardened = ["--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--security-opt=no-new-privileges:true"]
        growth = [f"--env={name}={value}" for name, value in ENVIRONMENT.items()]
        inside = _as_words({**flags, "port": _GRPC_PORT, "rest_api_port": _REST_PORT})
        return [
            *docker, *hardened, *gpus, *growth, *publish, *mounts, f"--entrypoint={BINARY}", _image(), *inside,
        ]  # fmt: skip

    def remove(self) -> None:
        """End the container that a killed `docker run` leaves behind."""
        if self.container:
            _answered(["docker", "rm", "--force", self.container])


# As Triton's backend does; without it all memory of a GPU is taken at once.
ENVIRONMENT = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"}


def is_on_path() -> bool:
    return shutil.which(BINARY) is not None


def find() -> ModelServer:
    """The way that there is on this machine; raises ServerUnavailable with the remedies where there is none."""
    if is_on_path():
        return _on_path()
    if _answered(["docker", "info"]) is not None:
        return ModelServer(f"docker {_image()}", TF_SERVING_VERSION, container=f"raybench-tfserving-{os.getpid()}")
    raise ServerUnavailable(
        f"TensorFlow Serving is not here: put {BINARY} on PATH, start Docker for its image, "
        f"or name one that runs by --url tfserving=HOST:PORT"
    )


def _on_path() -> ModelServer:
    """`--help` is answered with an exit code that says failure (tensorflow/core/util/command_line_flags.cc)."""
    told = _answered([BINARY, "--version"]) or ""
    usage = _answered([BINARY, "--help"], codes=(0, 1, 255)) or ""
    version = re.search(r"ModelServer: (\S+)", told)
    flags = frozenset(re.findall(r"^\s*--(\w+)=", usage, re.M))
    return ModelServer(f"{BINARY} on PATH", version[1] if version else "unknown", flags)


def _answered(command: list[str], codes: tuple[int, ...] = (0,)) -> str | None:
    """What a command says; None where it is missing, fails, or is silent for too long."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ASK_S, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr if done.returncode in codes else None


def _as_words(flags: dict[str, object]) -> list[str]:
    return [f"--{name}={value}" for name, value in flags.items()]


def _image() -> str:
    return f"tensorflow/serving:{TF_SERVING_VERSION}{'-gpu' if _has_gpu() else ''}"


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host

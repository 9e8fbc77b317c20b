"""A real Triton with flags and models that raybench does not give one: TLS, a cache, a model that sleeps."""

import os
import re
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from raybench.processes import scratch_folder
from raybench.servers import wheel
from raybench.servers.server_process import ServerProcess, free_ports, wait_until

_START_S, _STOP_S = 100, 20
_REASON = re.compile(r"failed to load '(\S+)' (.*)")


@dataclass(frozen=True)
class OwnTriton:
    """Where it answers."""

    grpc_port: int
    http_port: int

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"


@contextmanager
def own_triton(repository: Path, flags: Sequence[str] = (), *, start_s: float = _START_S) -> Iterator[OwnTriton]:
    """The wheel's tritonserver with these flags over a model repository, once it is ready, within `start_s`."""
    tritonserver, (grpc, http) = wheel.find(), free_ports(2)
    prefix = f"raybench-{os.getpid()}-{grpc}"
    with scratch_folder("raybench-own-") as folder:
        command = [
            str(tritonserver / "bin" / "tritonserver"),
            f"--model-repository={repository}",
            f"--backend-directory={wheel.assemble_backends(tritonserver, folder / 'backends')}",
            f"--backend-config=python,shm-region-prefix-name={prefix}",
            "--grpc-address=127.0.0.1", "--http-address=127.0.0.1", "--allow-metrics=false",
            f"--grpc-port={grpc}", f"--http-port={http}", *flags,
        ]  # fmt: skip
        process = ServerProcess(
            command, env=wheel.environment(tritonserver), folder=folder, reason=_REASON, sweep=f"/dev/shm/{prefix}*"
        )
        try:
            wait_until(lambda: _is_ready(http), process, what="Triton", timeout_s=start_s)
            yield OwnTriton(grpc, http)
        finally:
            process.stop(_STOP_S)


def _is_ready(http_port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/v2/health/ready", timeout=2) as answer:
            return int(answer.status) == 200
    except OSError:
        return False

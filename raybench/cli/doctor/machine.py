"""Memory and CPUs of this machine, within the limits of its container."""

import os
import shutil
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ShmSpace:
    """/dev/shm: its size and what is free."""

    total_mib: float
    free_mib: float


def shared_memory(folder: Path = Path("/dev/shm")) -> ShmSpace | None:
    """The memory that processes can share; None where nobody can write there."""
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return None
    usage = shutil.disk_usage(folder)
    return ShmSpace(usage.total / 2**20, usage.free / 2**20)


def is_free(port: int) -> bool:
    """Whether a port on loopback could be listened on now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

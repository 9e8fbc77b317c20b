"""System shared memory (POSIX): a worker's payloads where a Triton on its host reads them itself.

Requests then carry the name of a region, an offset and a size in place of images.
"""

import errno
import os
import re
import socket
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil

from raybench.clients.base import ClientError, Reply
from raybench.clients.grpc.channel import CallError
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.triton_service import triton_service
from raybench.config import CUDA_SHARED_MEMORY, SHARED_MEMORY

FOLDER = Path("/dev/shm")  # where the names of shm_open lie: shm_overview(7)
_NO_ROOM = "empty or enlarge it (in a container by --shm-size), or send fewer or smaller batches"
_OWNER = re.compile(r"raybench-(\d+)-\d+-(.*)-[0-9a-f]{8}-\d+(-\d{4})?")  # the last: a lane of the worker
_CALLS = {SHARED_MEMORY: "SystemSharedMemory", CUDA_SHARED_MEMORY: "CudaSharedMemory"}  # begin so


class Region:
    """One worker's payloads, one after the other, for one Triton.

    The file has a name only while Triton maps it: whichever process is killed, nothing stays in /dev/shm. Triton keeps
    its mapping until `close`, until another process unregisters it, or until it stops.
    """

    def __init__(self, url: str, name: str, credentials: ConnectionCredentials = NO_CREDENTIALS) -> None:
        self._url, self._name, self._credentials = url, name, credentials
        self._echo_url: str | None = None
        self.size = 0
        with _placing():
            self._file = os.open(FOLDER, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)

    @property
    def name(self) -> str:
        return self._name

    def add(self, payload: bytes) -> int:
        """Append a payload; returns its offset, bytes."""
        offset, left = self.size, memoryview(payload)
        with _placing():
            while left:
                left = left[os.write(self._file, left) :]
        self.size += len(payload)
        return offset

    def staged(self, body: bytes) -> bytes:
        return body

    def sender(self, infer: Callable[[bytes, float], Reply]) -> Callable[[bytes, float], Reply]:
        return infer

    @property
    def copied(self) -> None:
        return None

    def register(self, echo_url: str | None = None) -> None:
        """Have Triton map what was added, and one that does nothing, if there is one.

        To be called once, after the last payload and before the first request: a file without a name gets one once.
        """
        self._echo_url = echo_url
        with _named(self._file, self._name):
            for url in filter(None, (self._url, echo_url)):
                self._register_at(url)

    def close(self) -> None:
        os.close(self._file)
        for url in filter(None, (self._url, self._echo_url)):
            unregister(url, [self._name], self._credentials)

    def _register_at(self, url: str) -> None:
        with closing(triton_service(url, self._credentials)) as service:
            try:
                service.ask("SystemSharedMemoryRegister", name=self._name, key=f"/{self._name}", byte_size=self.size)
            except CallError as error:
                raise ClientError(f"shared-memory is system; Triton at {url} {_refusal(error)}") from error


def check(url: str, credentials: ConnectionCredentials = NO_CREDENTIALS) -> None:
    """Have the Triton at a url map a byte and forget it; raises ClientError, with the remedy, where it does not."""
    (name,) = names(url, 1)
    region = Region(url, name, credentials)
    try:
        region.add(b"\0")
        region.register()
    finally:
        region.close()


def names(url: str, workers: int) -> list[str]:
    """A region's name for each worker of a trial, which no other trial, run or host has.

    A Triton that this process started has a supervisor that removes what begins with the pid and the port.
    """
    port, token = url.rpartition(":")[2], uuid.uuid4().hex[:8]
    return [f"raybench-{os.getpid()}-{port}-{socket.gethostname()}-{token}-{worker}" for worker in range(workers)]


def unregister(
    url: str,
    regions: Iterable[str],
    credentials: ConnectionCredentials = NO_CREDENTIALS,
    *,
    transport: str = SHARED_MEMORY,
) -> None:
    """Have Triton forget regions by name, known or not; not all at once, because other clients may have theirs."""
    with closing(triton_service(url, credentials)) as service, suppress(CallError):
        for name in regions:
            service.ask(f"{_CALLS[transport]}Unregister", name=name)


def unregister_orphans(
    url: str, credentials: ConnectionCredentials = NO_CREDENTIALS, *, transport: str = SHARED_MEMORY
) -> None:
    """Have Triton forget the regions of runs of this host that were killed: they hold memory until it ends."""
    with closing(triton_service(url, credentials)) as service, suppress(CallError):
        known = service.ask(f"{_CALLS[transport]}Status").regions
        unregister(url, [name for name in known if _is_orphan(name)], credentials, transport=transport)


def _is_orphan(name: str) -> bool:
    found = _OWNER.fullmatch(name)
    return found is not None and found[2] == socket.gethostname() and not psutil.pid_exists(int(found[1]))


def _refusal(error: CallError) -> str:
    """What a Triton refuses, and the remedy; its sentences are from its common.h and shared_memory_manager.cc."""
    said = error.said or error.status
    if "Client shared memory is disabled" in said:
        return (
            "lets no client share memory, the default since 26.04: start it with --allow-client-shm=true, "
            "or leave --shared-memory out"
        )
    if "Unable to open shared memory region" in said:
        return (
            f"cannot open what was written to {FOLDER} here ({said}): it is on another host, has another user, or is "
            "in a container with an IPC namespace of its own; start it here as this user (docker run --ipc=host), "
            "or leave --shared-memory out"
        )
    return f"cannot map what a worker wrote ({said}): it must run on the worker's host, with the same user and {FOLDER}"


@contextmanager
def _named(file: int, name: str) -> Iterator[None]:
    """A file without a name has one, in the block alone; /proc/self/fd is the way of linkat(2) to do it."""
    path = FOLDER / name
    with _placing():
        os.link(f"/proc/self/fd/{file}", path, src_dir_fd=file, follow_symlinks=True)  # else Python links the symlink
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def _placing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        remedy = _NO_ROOM if error.errno == errno.ENOSPC else "mount a tmpfs there that everybody may write to"
        raise ClientError(f"shared-memory is system; {FOLDER} cannot be used ({error.strerror}): {remedy}") from error

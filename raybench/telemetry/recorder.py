"""What a server costs, through the phases of its trials: its processes, the workers, its host, its GPUs."""

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial

from raybench.telemetry import gpu
from raybench.telemetry.gpu import GpuRow
from raybench.telemetry.periodic import periodic
from raybench.telemetry.process_usage import Tree, await_ends, host_usage
from raybench.telemetry.prometheus_text import fetch
from raybench.telemetry.telemetry_buffer import Telemetry, TelemetryBuffer
from raybench.telemetry.telemetry_schema import (
    BASELINE,
    GPU,
    GPU_PROCESS,
    HOST,
    OTHER,
    PROCESS,
    SERVER,
    UNKNOWN,
    WORKER,
)
from raybench.telemetry.triton_statistics import gpu_rows

_INTERVAL_S = 0.5
_PAGE_INTERVAL_S = 1.0
_SILENT_S = 3.0  # fifteen readings of the GPUs
_FRESH_S = 1.0  # for which the end of a phase waits for the GPUs
_GONE_S = 5.0  # for which a baseline waits for the last trial's workers: TensorFlow in one holds memory of a GPU


class Recorder:
    """Readings of one host; with `node` None of no host, but of the GPUs that a server reports itself."""

    def __init__(self, node: str | None) -> None:
        self._node, self._buffer, self._lock = node, TelemetryBuffer(), threading.Lock()
        self._server_mib: float | None = None
        self._trees: dict[str, list[Tree]] = {}
        self._gpus: gpu.GpuStream | None = None
        self._gpu_read_s: dict[str, float] = {}
        self._page: str | None = None

    def start(self, phase: str) -> None:
        """Start a phase of another server; a baseline waits until the last workers have left the host."""
        if phase == BASELINE:
            await_ends([worker.pid for worker in self._trees.get(WORKER, [])], _GONE_S)
        self.watch(None)
        self._buffer.start(phase)

    def watch(self, server: int | None, workers: Sequence[int] = ()) -> None:
        """Whose memory and CPU are read: the server's process tree, by the pid of its root, and the workers."""
        with self._lock:
            self._server_mib = None
            self._trees = {
                PROCESS: [Tree(server)] if server else [],
                WORKER: [Tree(pid, is_alone=True) for pid in workers],
            }

    def set_phase(self, phase: str | None) -> None:
        """End a phase with a reading of its last moment, and go on to another, or to none."""
        if self._buffer.phase:
            self._read(with_pss=True)
            self._await_gpus()
        self._buffer.set_phase(phase)

    def server_mib(self) -> float | None:
        """RSS of the server's process tree in MiB when it was last read; None is not known."""
        return self._server_mib

    def snapshot(self) -> Telemetry:
        """The readings and problems so far."""
        source = gpu.NVIDIA_SMI if self._gpus and self._gpus.rows else self._page
        return Telemetry(self._buffer.rows(), self._node, source, tuple(self._buffer.problems))

    def sample(self) -> None:
        """One reading, where it is asked for now, and a look whether the GPUs have gone silent."""
        if self._buffer.phase:
            self._read()
        if (gpus := self._gpus) is None or gpus.has_ended:
            return
        if gpus.silent_s > _SILENT_S:
            self._buffer.report_problem(gpu.NVIDIA_SMI, f"it printed nothing for {_SILENT_S:.0f} s")
        for uuid, read_s in list(self._gpu_read_s.items()):
            if gpus.heard_s - read_s > _SILENT_S:
                self._buffer.report_problem(gpu.NVIDIA_SMI, f"it no longer reports one of the GPUs ({uuid})")

    def read_page(self, url: str) -> None:
        """The GPUs of a Triton, by its own page of metrics."""
        if not self._buffer.phase:
            return
        metrics = fetch(url, timeout_s=_PAGE_INTERVAL_S)
        rows = gpu_rows(metrics or [])
        if self._page and not rows:
            self._buffer.report_problem(self._page, "it no longer reports any GPU")
        for row in rows:
            self._page = url
            self._buffer.add(GPU, {"source": url, **row})

    def read_gpus(self, stack: ExitStack) -> None:
        """Read this host's GPUs by nvidia-smi until the stack ends: one process for each query."""
        report = partial(self._buffer.report_problem, gpu.NVIDIA_SMI)
        self._gpus = stack.enter_context(gpu.streaming(gpu.GPUS, self._on_gpu, report))
        stack.enter_context(gpu.streaming(gpu.PROCESSES, self._on_gpu_process, report))

    def _on_gpu(self, row: GpuRow) -> None:
        self._gpu_read_s[str(row["id"])] = time.monotonic()
        self._buffer.add(GPU, {"source": gpu.NVIDIA_SMI, **row})

    def _on_gpu_process(self, row: GpuRow) -> None:
        owner = self._owner(int(str(row["id"])))
        self._buffer.add(GPU_PROCESS, {"source": gpu.NVIDIA_SMI, "owner": owner, **row})

    def _owner(self, pid: int) -> str:
        """UNKNOWN is a process that cannot be seen from here, such as one in another container."""
        if any(pid in tree.pids() for tree in self._trees.get(PROCESS, ())):
            return SERVER
        return OTHER if os.path.exists(f"/proc/{pid}") else UNKNOWN

    def _read(self, *, with_pss: bool = False) -> None:
        if self._node is None:
            return
        with self._lock:
            for kind, trees in self._trees.items():
                for tree in trees:
                    if usage := tree.usage(with_pss=with_pss):
                        self._buffer.add(kind, {"id": str(tree.pid), **asdict(usage)})
                        self._server_mib = usage.rss_mib if kind == PROCESS else self._server_mib
            host = host_usage()
            reading = {"host_used_mib": host.used_mib, "swapped_mib": host.swapped_mib}
            self._buffer.add(HOST, {"id": self._node, **reading})

    def _await_gpus(self) -> None:
        """Until they have been read once more, unless they are silent."""
        if (gpus := self._gpus) is None or gpus.silent_s > _FRESH_S:
            return
        until_s, rows = time.monotonic() + _FRESH_S, gpus.rows
        while gpus.rows == rows and not gpus.has_ended and time.monotonic() < until_s:
            time.sleep(0.02)


@contextmanager
def recording() -> Iterator[Recorder]:
    """A recorder of this host, until the block ends. To be entered on the main thread."""
    recorder = Recorder(socket.gethostname())
    with ExitStack() as stack:
        if gpu.is_here():
            recorder.read_gpus(stack)
        stack.enter_context(periodic(_INTERVAL_S, recorder.sample))
        yield recorder


@contextmanager
def recording_page(url: str | None) -> Iterator[Recorder]:
    """A recorder of a Triton on a host that is out of reach, by its page of metrics; without a url of nothing."""
    recorder = Recorder(None)
    with ExitStack() as stack:
        if url:
            stack.enter_context(periodic(_PAGE_INTERVAL_S, partial(recorder.read_page, url)))
        yield recorder

"""The backend under stress: no wrong answer, none lost, memory flat, and a reload in the middle that fails nobody."""

import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import chain, count, islice, takewhile
from pathlib import Path

import psutil
import pytest
import tritonclient.grpc as triton_grpc
from real_parts import ask, eventually
from stress_answers import Photos
from stress_requests import Request, largest, request

from raybench.models.saved_models import ModelConfig, format_models_conf, read_models_conf
from raybench.servers.server_process import ServerProcess
from raybench.servers.triton_server import RunningTriton, TritonOptions, running_triton
from raybench.telemetry.process_usage import Tree

CLIENTS, HALF, SETTLED = 12, 10_000, 2_000
_SAMPLE_S = 0.25


@dataclass
class Tally:
    """What clients sent, by kind, what was wrong with the answers, and (answers so far, RSS in MiB) meanwhile."""

    attempted: int = 0
    judged: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)
    memory: list[tuple[int, float]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, requests: Iterator[Request]) -> Request | None:
        """The next request; None where there is none."""
        with self._lock:
            request = next(requests, None)
            self.attempted += request is not None
            return request

    def judge(self, kind: str, complaint: str | None) -> None:
        with self._lock:
            self.judged[kind] += 1
            self.complaints += [f"{kind}: {complaint}"] if complaint else []

    @property
    def growth(self) -> float:
        """The highest memory after the first 2,000 answers, as a share above what it was then."""
        settled = [mib for answers, mib in self.memory if answers >= SETTLED]
        return max(settled) / settled[0] - 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_stress(models: Path, tmp_path: Path) -> None:
    """20,000 good and faulty requests of 12 clients are each answered rightly, with flat memory, reload included.

    A reload makes a new process of the backend, so memory is judged in each half on its own, after 2,000 requests.
    """
    conf, photos = tmp_path / "models.conf", Photos(models)
    requests = (request(number, photos) for number in count())
    conf.write_text(models_conf(models, after_reload=False))
    with running_triton(TritonOptions(models_conf=conf)) as triton:
        processes = tree_size(triton.process)
        before = stressed(triton, islice(chain(largest(photos), requests), HALF), when="before")
        conf.write_text(models_conf(models, after_reload=True))
        with ThreadPoolExecutor(1) as pool:
            reload = pool.submit(triton.reload)
            during = stressed(triton, takewhile(lambda _: not reload.done(), requests), when="during")
            reload.result()
        assert eventually(lambda: tree_size(triton.process) == processes, timeout_s=60), "the old instance stays"
        after = stressed(triton, islice(chain(largest(photos), requests), HALF), when="after")
    for tally in (before, during, after):
        assert not tally.complaints, (len(tally.complaints), tally.complaints[:10])
        assert tally.judged.total() == tally.attempted
    assert during.attempted > CLIENTS
    assert before.growth < 0.05
    assert after.growth < 0.05


def models_conf(models: Path, *, after_reload: bool) -> str:
    """The reload removes a model, adds one, and changes a version policy."""
    scale = ModelConfig(name="scale", base_path=models / "scale", policy="specific")
    if after_reload:
        changed = {"scale": replace(scale, specific=(3,)), "late": replace(scale, name="late", specific=(3,))}
    else:
        changed = {"early": replace(scale, name="early", specific=(1,))}
    there = {model.name: model for model in read_models_conf(models / "models.conf")}
    return format_models_conf(tuple({**there, **changed}.values()))


def stressed(triton: RunningTriton, requests: Iterator[Request], *, when: str) -> Tally:
    """Send requests from 12 clients, each when its last answer is in, and judge every answer."""
    tally = Tally()
    with sampled_memory(triton.process, tally), ThreadPoolExecutor(CLIENTS) as pool:
        clients = [pool.submit(client, triton.grpc_url, requests, when, tally) for _ in range(CLIENTS)]
    for each in clients:
        each.result()
    return tally


def client(url: str, requests: Iterator[Request], when: str, tally: Tally) -> None:
    with triton_grpc.InferenceServerClient(url) as connection:
        while sent := tally.take(requests):
            answer = ask(connection, sent.wire, parameters=sent.parameters, outputs=sent.outputs, shapes=sent.shapes)
            tally.judge(sent.kind, sent.complaint(answer, when))


@contextmanager
def sampled_memory(process: ServerProcess, tally: Tally) -> Iterator[None]:
    """Note the RSS of Triton's process tree beside the answers so far."""
    done = threading.Event()

    def sample() -> None:
        while not done.wait(_SAMPLE_S):
            if process.pid and (usage := Tree(process.pid).usage()):
                tally.memory.append((tally.judged.total(), usage.rss_mib))

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield
    finally:
        done.set()
        sampler.join()


def tree_size(process: ServerProcess) -> int:
    return len(psutil.Process(process.pid).children(recursive=True))

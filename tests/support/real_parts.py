"""Real SavedModels, calls to a real Triton and runs of the real command, for the tests."""

import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import tritonclient.grpc as triton_grpc
from contract import violations
from PIL import Image
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from raybench.inputs.photos import decode, random_crop, sample_photos
from raybench.servers.server_process import ServerProcess

_RUN_S = 200
# A proxy that knows nothing of this host, and answers nobody: every command of the tests is to do without it.
COMPANY_NETWORK = dict.fromkeys(
    ("http_proxy", "https_proxy", "grpc_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"),
    "http://127.0.0.1:9",
)
BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class TritonUnderTest:
    """A running Triton, and the models that it serves."""

    url: str
    models: Path
    process: ServerProcess
    http_url: str = ""

    def call(self, model: str | None, signature: str | None, parameters: Any = None, /, **inputs: np.ndarray) -> Any:
        """Answers by name, or (status, sentence) of a refusal; inputs come without Triton's leading element."""
        routing = {"model_name": model, "signature": signature}
        tensors = {name: np.array([value.encode()], object) for name, value in routing.items() if value is not None}
        wire = {name: array[np.newaxis] for name, array in {**tensors, **inputs}.items()}
        with triton_grpc.InferenceServerClient(self.url) as client:
            return ask(client, wire, parameters=parameters)

    def statistics(self) -> Any:
        """What Triton has counted, once it stands still: Triton counts a request after it has sent the answer."""
        with triton_grpc.InferenceServerClient(self.url) as client:
            told = None
            for _ in range(100):
                before, told = told, client.get_inference_statistics("saved_model", client_timeout=10).model_stats[0]
                if before == told:
                    return told
                time.sleep(0.1)
        pytest.fail(f"Triton counts on and on: {told}")


def ask(
    client: Any,
    wire: dict[str, np.ndarray],
    *,
    parameters: Any = None,
    outputs: tuple[str, ...] = (),
    shapes: dict[str, tuple[int, ...]] | None = None,
) -> Any:
    """Answers by name, or (status, sentence) of a refusal; inputs come as they travel, outputs are all by default.

    `shapes` are claimed for arrays that have others.
    """
    inputs = [_wire_input(name, array) for name, array in wire.items()]
    for each in inputs:
        each.set_shape((shapes or {}).get(each.name(), each.shape()))
    wanted = [triton_grpc.InferRequestedOutput(name) for name in outputs] or None
    try:
        answer = client.infer("saved_model", inputs, outputs=wanted, parameters=parameters, client_timeout=60)
    except InferenceServerException as error:
        return str(error.status()).removeprefix("StatusCode."), str(error.message())
    return {output.name: answer.as_numpy(output.name) for output in answer.get_response().outputs}


def _wire_input(name: str, array: np.ndarray) -> Any:
    return triton_grpc.InferInput(name, array.shape, np_to_triton_dtype(array.dtype)).set_data_from_numpy(array)


def crops(count: int, seed: int = 0, size_px: int = 224) -> np.ndarray:
    """So many different pictures, uint8 [count, size_px, size_px, 3]."""
    photos = [decode(path.read_bytes()) for path in sample_photos()]
    rng = np.random.default_rng(seed)
    return np.stack([random_crop(photos[i % len(photos)], rng, size_px, size_px) for i in range(count)])


def jpeg(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=95)
    return file.getvalue()


def jpegs(pixels: np.ndarray) -> np.ndarray:
    return np.array([jpeg(each) for each in pixels], object)


DOUBLE = Path(__file__).parent / "tfs_double" / "server.py"


def add_stand_in(folder: Path) -> dict[str, str]:
    """An environment whose PATH has a `tensorflow_model_server` that is the double of tests/support/tfs_double."""
    command = folder / "tensorflow_model_server"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} {DOUBLE} "$@"\n')
    command.chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}"}


@dataclass(frozen=True)
class Run:
    """What `raybench ...` printed and left."""

    code: int
    out: str
    err: str
    folder: Path | None

    @property
    def summary(self) -> dict[str, Any]:
        """What it derived; whatever became of a run, its summary is as the schema has it."""
        assert self.folder, f"no results folder\n{self.out}\n{self.err}"
        summary = dict(json.loads((self.folder / "summary.json").read_text()))
        assert violations(summary) == []
        return summary


def raybench(
    *arguments: object, cwd: Path, env: dict[str, str], bin_folder: Path = BIN, timeout_s: float = _RUN_S
) -> Run:
    """Run the command as a user in a company network would, in `cwd`."""
    command, env = [str(bin_folder / "raybench"), *map(str, arguments)], {**COMPANY_NETWORK, **env}
    done = subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout_s, check=False)
    return Run(done.returncode, done.stdout, done.stderr, newest_results(cwd))


def raybench_family(*arguments: object, cwd: Path, env: dict[str, str]) -> "tuple[Run, Family]":
    """Run the command as a user would, in `cwd`, and note which processes take part."""
    command = [str(BIN / "raybench"), *map(str, arguments)]
    process = subprocess.Popen(command, cwd=cwd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    family = Family(process.pid)
    with ThreadPoolExecutor(1) as pool:
        output = pool.submit(process.communicate, timeout=_RUN_S)
        while not output.done():
            family.look()
            time.sleep(0.1)
    out, err = output.result()
    return Run(process.returncode, out, err, newest_results(cwd)), family


def newest_results(cwd: Path) -> Path | None:
    return max((cwd / "results").glob("*"), default=None, key=lambda path: path.stat().st_mtime_ns)


def measured_rows(folder: Path, trial: str) -> int:
    """How many requests of a trial are measured ones."""
    rows = pq.read_table(folder / "samples" / f"{trial}.parquet")
    return int(pc.sum(pc.equal(rows["phase"].cast("string"), "measured")).as_py())


def wait_for_line(process: "subprocess.Popen[str]", word: str) -> list[str]:
    """The lines that a command prints until one holds this word."""
    lines: list[str] = []
    assert process.stdout
    for line in process.stdout:
        lines.append(line)
        if word in line:
            return lines
    pytest.fail(f"{word!r} never came: {''.join(lines)}")


def eventually(holds: Callable[[], bool], timeout_s: float = 15) -> bool:
    """Whether a condition comes true within a deadline."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    """A file system of so many bytes (512k, 2m) at `folder`, where one can be mounted; else the test is skipped."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder]
    mounted = subprocess.run(command, capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be made here: {mounted.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


class Family:
    """The processes that a command starts, and those that they start: whoever was ever seen below it.

    Other runs on this machine are none of its members.
    """

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self.members = {self._root}

    def look(self) -> None:
        """Note who is there now."""
        with suppress(psutil.NoSuchProcess):
            self.members |= {self._root, *self._root.children(recursive=True)}

    @property
    def alive(self) -> list[psutil.Process]:
        return [each for each in self.members if is_alive(each)]

    @property
    def shared_memory(self) -> list[Path]:
        """What they have left, or still have, in /dev/shm."""
        return [path for each in self.members for path in Path("/dev/shm").glob(f"raybench-{each.pid}-*")]

    def named(self, name: str) -> list[psutil.Process]:
        """Who of those that are alive has this name."""
        self.look()
        return [each for each in self.alive if name in each.name()]

    def is_gone(self) -> bool:
        """Whether nobody is left, nor shared memory, within some seconds."""
        return eventually(lambda: not self.alive and not self.shared_memory)


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False

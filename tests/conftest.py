"""Shared parts: models, one real Triton, one TensorFlow Serving double and one real Ray for a whole session.

Tests run in three processes (`make test`). What is dear to start is a group's, whose tests run in one process.
"""

import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from broken_models import write_broken_models
from ray_clusters import head
from real_parts import BIN, DOUBLE, TritonUnderTest, wait_for_line
from tiny_models import export_echoes, export_kinds, export_xla, write_arithmetic, write_tiny_models

from raybench.models.saved_models import ModelConfig, format_models_conf, read_models_conf
from raybench.servers.server_process import free_ports
from raybench.servers.triton_server import TritonOptions, running_triton

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it, and its children would too
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # so does one under nohup

ODD = "José 模型 'q\" %d"  # folders of users are called so

# Which fixtures a group's tests use; the first group that fits counts, and groups start in this order.
GROUPS = {
    "exported": {"exported"},
    "clusters": {"nodes", "jobs", "bare", "hosts", "dashboard"},  # several raylets each
    "triton": {"triton", "tfs_double", "tfs_rest_double"},
    "ray": {"ray_environment"},
    "searches": set[str](),  # as many minutes as all else that uses a Ray, so they have a Ray of their own
    "models": {"models"},
}
SEARCHES = {"test_search_loop", "test_sized_replicas", "test_tune_loop"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests that share a server into one group, and those groups first; the other tests go by their modules."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item)))
    items.sort(key=lambda item: [*GROUPS, _group(item)].index(_group(item)))


def _group(item: pytest.Item) -> str:
    given = item.callspec.params if hasattr(item, "callspec") else {}
    used = set(getattr(item, "fixturenames", ())) - set(given)
    name = next((name for name, fixtures in GROUPS.items() if used & fixtures), item.path.stem)
    return "searches" if name == "ray" and item.path.stem in SEARCHES else name


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder: tiny models under the names of two architectures, `slow`, and models with known arithmetic."""
    folder = tmp_path_factory.mktemp(f"models {ODD}")
    write_tiny_models(folder)
    return folder


@pytest.fixture(scope="session")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder in which most models cannot be served."""
    folder = tmp_path_factory.mktemp("broken")
    write_broken_models(folder)
    return folder


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder to which `raybench export` has added a real architecture, `mobilenet-no-opt`."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "models.conf").write_text(format_models_conf(write_arithmetic(folder), relative_to=folder))
    command = [BIN / "raybench", "export", "mobilenet", "--variants", "no-opt", "--out", folder, "--warmup", "1,2"]
    subprocess.run(command, check=True, timeout=240, capture_output=True)
    return folder


@pytest.fixture(scope="session")
def triton(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TritonUnderTest]:
    """A real Triton that serves everything in `models`, from a folder for temporary files with an odd name too."""
    with ExitStack() as stack:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp(f"tmp {ODD}")))
            running = stack.enter_context(running_triton(TritonOptions(models_conf=models / "models.conf")))
        yield TritonUnderTest(running.grpc_url, models, running.process, running.http_url)


@pytest.fixture(scope="session")
def tfs_double(tfs_doors: tuple[str, str]) -> str:
    """Where a double answers gRPC as TensorFlow Serving without XLA does."""
    return tfs_doors[0]


@pytest.fixture(scope="session")
def tfs_rest_double(tfs_doors: tuple[str, str]) -> str:
    """Where the same double answers HTTP."""
    return tfs_doors[1]


@pytest.fixture(scope="session")
def tfs_doors(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """HOST:PORT of a double's gRPC and of its REST API; it serves `models`, `kinds`, `echoes` and `tiny-xla`."""
    folder = tmp_path_factory.mktemp("double")
    export_xla(folder / "tiny-xla" / "1")
    served = {model.name: model for model in read_models_conf(models / "models.conf") if model.name != "clash"}
    export_kinds(folder / "kinds" / "1")
    export_echoes(folder / "echoes" / "1")
    own = tuple(ModelConfig(name=name, base_path=folder / name) for name in ("tiny-xla", "kinds", "echoes"))
    (folder / "models.conf").write_text(format_models_conf((*served.values(), *own)))
    port, rest = free_ports(2)
    flags = [f"--model_config_file={folder / 'models.conf'}", f"--port={port}", f"--rest_api_port={rest}"]
    command = [sys.executable, DOUBLE, *flags]
    double = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        wait_for_line(double, "the double answers")
        yield f"127.0.0.1:{port}", f"127.0.0.1:{rest}"
    finally:
        double.terminate()
        double.wait(timeout=20)


@pytest.fixture(scope="session")
def ray_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The environment of a shell from which a Ray cluster of 8 CPUs, started by others, is reached."""
    with head(tmp_path_factory.mktemp("home"), "--num-cpus=8", "--include-dashboard=false") as environment:
        yield environment

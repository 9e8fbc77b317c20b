"""A Triton that serves goes on while models.conf or a SavedModel changes, and then serves what is there."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton_grpc
from real_parts import BIN, ask, eventually, wait_for_line
from tiny_models import export_scale

from raybench.models.saved_models import ModelConfig, format_models_conf
from raybench.servers.server_process import ServerError
from raybench.servers.triton_server import RunningTriton, TritonOptions, running_triton
from raybench.telemetry.server_statistics import StatisticsCounter
from raybench.telemetry.triton_statistics import StatisticsReader

PAGE = (Path(__file__).parents[2] / "docs" / "backend.md").read_text()
NAMES = ("scale", "other")
X = np.array([[[1, 2]]], np.float32)
# Makes its stdin the controlling terminal of a session of its own, as a shell's is, and becomes the command.
IN_A_TERMINAL = """
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def folder(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder of its own, with `scale`, versions 1 and 3."""
    folder = tmp_path_factory.mktemp("changing")
    shutil.copytree(models / "scale", folder / "scale")
    enter(folder, "scale")
    return folder


@pytest.fixture(scope="module")
def triton(folder: Path) -> Iterator[RunningTriton]:
    """A Triton that serves this folder."""
    with running_triton(TritonOptions(models_conf=folder / "models.conf")) as running:
        yield running


def enter(folder: Path, *names: str) -> None:
    """A models.conf with these names for `scale`."""
    models = tuple(ModelConfig(name=name, base_path=folder / "scale", policy="all") for name in names)
    (folder / "models.conf").write_text(format_models_conf(models))


def factors(url: str) -> dict[str, float]:
    """By how much each model that is served multiplies."""
    with triton_grpc.InferenceServerClient(url) as client:
        answers = {name: ask(client, {"x": X}, parameters={"model": name, "signature": "times"}) for name in NAMES}
    return {name: float(answer["y"][0, 0]) for name, answer in answers.items() if isinstance(answer, dict)}


@pytest.mark.slow
def test_a_reload_serves_what_changed(triton: RunningTriton, folder: Path) -> None:
    """A reload serves a SavedModel that was exported anew, and the models that models.conf names now."""
    enter(folder, "scale", "other")
    export_scale(folder / "scale" / "3", 5.0)
    assert factors(triton.grpc_url) == {"scale": 3.0}
    assert [(model.name, model.specific) for model in triton.reload()] == [("scale", (1, 3)), ("other", (1, 3))]
    assert factors(triton.grpc_url) == {"scale": 5.0, "other": 5.0}
    enter(folder, "other")
    triton.reload()
    assert factors(triton.grpc_url) == {"other": 5.0}


@pytest.mark.slow
def test_statistics_survive_a_reload(triton: RunningTriton, folder: Path) -> None:
    """A reload starts Triton's counters at 0: what was counted before it and after it is added up.

    Triton counts a request after it has sent the answer.
    """
    enter(folder, "scale")
    triton.reload()
    with closing(StatisticsReader(triton.grpc_url, "saved_model")) as read:
        factors(triton.grpc_url)
        assert eventually(lambda: read().success == len(NAMES))
        count = StatisticsCounter(read)
        for _ in range(5):
            factors(triton.grpc_url)
        assert eventually(lambda: count.total().counted.success == 5 * len(NAMES))
        enter(folder, "scale", "other")
        triton.reload()
        factors(triton.grpc_url)
        assert eventually(lambda: count.total().counted.success == 6 * len(NAMES))
        assert count.total().resets == 1


@pytest.mark.slow
def test_the_page_reloads_a_triton_of_others(triton: RunningTriton, folder: Path) -> None:
    """What docs/backend.md says about a Triton that raybench did not start works as it stands."""
    (program,) = [block for block in re.findall(r"```python\n(.*?)```", PAGE, re.S) if "reload_token" in block]
    export_scale(folder / "scale" / "3", 6.0)
    exec(program.replace("127.0.0.1:8001", triton.grpc_url), {})
    assert set(factors(triton.grpc_url).values()) == {6.0}


@pytest.mark.slow
def test_a_reload_that_fails_changes_nothing(
    triton: RunningTriton, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models that Triton cannot load, or not in time, are one sentence, and the old ones keep serving."""
    before = factors(triton.grpc_url)
    assert before
    enter(folder, *NAMES)
    index = folder / "scale" / "3" / "variables" / "variables.index"
    index.rename(index.with_suffix(".away"))
    with pytest.raises(ServerError, match=r"^Triton cannot load the models: .*variables") as failure:
        triton.reload()
    assert "\n" not in str(failure.value)
    assert str(failure.value).endswith("; the old models keep serving")
    assert factors(triton.grpc_url) == before
    monkeypatch.setattr("raybench.servers.triton_reload._LOAD_S", 0.1)
    with pytest.raises(ServerError, match="within 0 s"):
        triton.reload()
    assert factors(triton.grpc_url) == before
    index.with_suffix(".away").rename(index)


@pytest.mark.slow
def test_hangup_reloads_what_is_served(folder: Path) -> None:
    """SIGHUP reloads `raybench serve triton`, whose old models stay where that fails; a closed terminal ends it."""
    enter(folder, "scale")
    export_scale(folder / "scale" / "3", 3.0)
    terminal, stdin = pty.openpty()
    command = [BIN / "raybench", "serve", "triton", "--models", folder, "-m", "scale", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-c", IN_A_TERMINAL, *command],
        stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    os.close(stdin)
    url = next(line.split()[1] for line in wait_for_line(process, "ready") if line.startswith("grpc"))

    def after_hangup(word: str) -> str:
        process.send_signal(signal.SIGHUP)
        return wait_for_line(process, word)[-1]

    (folder / "models.conf").write_text("model_config_list {")
    assert "models.conf: cannot be read" in after_hangup("not reloaded")
    enter(folder, "other")
    assert "model is scale; " in after_hangup("not reloaded")
    assert factors(url) == {"scale": 3.0}
    enter(folder, "other", "scale")
    export_scale(folder / "scale" / "3", 5.0)
    assert after_hangup("reloaded") == "reloaded scale (1, 3)\n"
    assert factors(url) == {"scale": 5.0}
    started = psutil.Process(process.pid).children(recursive=True)
    os.close(terminal)
    assert process.wait(timeout=60) == 0
    assert started
    assert not psutil.wait_procs(started, timeout=15)[1]

"""What people reported: their kinds of models, folders and surroundings, through the real commands."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from broken_models import REASONS
from helpers import conf, entry, listed
from real_parts import BIN, TritonUnderTest, raybench
from reported_models import write_answers, write_inputs, write_ranking

from raybench.models.saved_models import add_model

ODD = "José 模型"
pytestmark = pytest.mark.slow
QUICK = ("--workers", "1", "--request-count", "20", "--ui", "none")
PROXIES = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}  # nothing listens there


def write_conf(folder: Path) -> Path:
    """models.conf of every model folder."""
    return conf(folder, listed(*(entry(each.name) for each in sorted(folder.iterdir()) if each.is_dir())))


@dataclass(frozen=True)
class Served:
    """A Triton that `raybench serve` started, and what it printed until it was ready."""

    triton: TritonUnderTest
    printed: str


@pytest.fixture(scope="module")
def served(broken: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`raybench serve triton` in a company's network and a plain C locale, over models most of which are broken."""
    folder = tmp_path_factory.mktemp("home") / ODD
    shutil.copytree(broken, folder)
    write_ranking(folder / "rank" / "00000123")
    text = (folder / "models.conf").read_text(encoding="utf-8")
    (folder / "models.conf").write_text(add_model(text, "rank", "rank"), encoding="utf-8-sig")
    command = [BIN / "raybench", "serve", "triton", "--models", folder, "--port", "0"]
    environment = {**os.environ, "LC_ALL": "C", **PROXIES}
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        assert process.stdout
        printed = "".join(takewhile(lambda line: line != "ready\n", process.stdout))
        url = re.search(r"^grpc +(\S+)", printed, re.M)
        assert url, printed
        yield Served(TritonUnderTest(url[1], folder, None), printed)
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.mark.parametrize("name", REASONS)
def test_what_cannot_be_served_is_named(served: Served, name: str) -> None:
    """Cases 03, 04, 16: `serve` names each model or signature that it cannot serve, with the reason."""
    assert re.search(rf"\b{name}\b.*{re.escape(REASONS[name])}", served.printed), served.printed


def test_the_others_are_served(served: Served) -> None:
    """Cases 01, 03, 10, 11, 16: the others are served, in a folder of any name and whatever the proxies."""
    x = np.ones((1, 2), np.float32)
    for name in ("good", "slots"):
        np.testing.assert_array_equal(served.triton.call(name, "times", x=x)["y"], 2 * x)


def test_nobody_gets_a_strangers_answer(served: Served) -> None:
    """Cases 13, 17, 19: candidates of one request are ranked against each other alone; version 00000123, a BOM."""

    def total(k: int) -> float:
        candidates = np.array([[k % 5, 1], [1, 2]], np.float32)
        return float(served.triton.call("rank", "serving_default", candidates=candidates)["share"].sum())

    with ThreadPoolExecutor(8) as pool:
        assert {round(each, 3) for each in pool.map(total, range(200))} == {1.0}


@pytest.mark.timeout(600)
def test_answers_of_any_type_and_rank(tmp_path: Path, ray_environment: dict[str, str]) -> None:
    """Cases 07, 08, 20: right answers of any type and rank are not called wrong, and no trial is lost."""
    write_answers(tmp_path)
    trials = measured(tmp_path, ray_environment, "-s", "triton")
    assert {(trial["status"], trial["requests"]["failed"]) for trial in trials} == {("ok", 0)}


def test_images_as_floats_and_as_files_are_measured(tmp_path: Path, ray_environment: dict[str, str]) -> None:
    """Cases 05, 06, 21: a model that takes pixels as floats gets them, with a doubt about the range, and one that takes
    JPEG files under the name `images` gets those."""
    write_inputs(tmp_path)
    trials = measured(tmp_path, ray_environment, "-s", "triton", "--layout", "per-model")
    assert {(trial["status"], trial["requests"]["failed"]) for trial in trials} == {("ok", 0)}
    assert {trial["model"]["name"] for trial in trials if "assumed_range" in codes(trial)} == {"floats"}


def measured(folder: Path, env: dict[str, str], *flags: str) -> list[dict[str, Any]]:
    """The trials of a run of all models of a folder."""
    names = sorted(each.name for each in folder.iterdir() if each.is_dir())
    models = [flag for name in names for flag in ("-m", name)]
    write_conf(folder)
    run = raybench("run", *flags, "--models", ".", *models, *QUICK, cwd=folder, env=env, timeout_s=500)
    assert run.code == 0, run.out + run.err
    assert {trial["model"]["name"] for trial in run.summary["trials"]} == set(names)
    return list(run.summary["trials"])


def codes(trial: dict[str, Any]) -> set[str]:
    return {doubt["code"] for doubt in trial["doubts"]}

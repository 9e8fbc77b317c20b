"""README and help say what the commands do."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from helpers import lanes, observed, results
from readme import BLOCKS, README, ROOT, Line, lines, prepare
from real_parts import BIN, add_stand_in, raybench, wait_for_line

from raybench import config
from raybench.cli import main
from raybench.results import samples


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))


def path_of(line: Line) -> tuple[str, ...]:
    """The command that a line calls: `serve triton` of `raybench serve triton --port 0`."""
    return next(path for path in (line.words[1:3], line.words[1:2]) if path in ALL)


def is_slow(line: Line) -> bool:
    """Whether it exports, serves or measures."""
    return line.words[1] in ("export", "serve") or (line.words[1] == "run" and "--dry-run" not in line.words)


def timed(lines: list[Line]) -> list[Any]:
    return [pytest.param(line, id=str(line), marks=[pytest.mark.slow] * is_slow(line)) for line in lines]


def environment(line: Line, plain: dict[str, str], folder: Path) -> dict[str, str]:
    """Where a command starts TensorFlow Serving, a double stands in for it."""
    return {**plain, **add_stand_in(folder)} if "tfserving" in line.words else plain


def feasible(line: Line, request: pytest.FixtureRequest) -> list[str]:
    """The words after `raybench`, made to fit this machine."""
    added = [flag for word, flags in CHEAPER.items() if word in line.words for flag in flags]
    running = f"triton={request.getfixturevalue('triton').url}" if RUNNING in line.words else ""
    return [running if word == RUNNING else word for word in line.words[1:]] + added


ALL = dict(commands(main))
FLAGS = [(path, o) for path, command in ALL.items() for o in command.params if isinstance(o, click.Option)]
# How a line of the README begins that is not run here, and why.
NOT_RUN = {
    "raybench run nightly.yaml --dry-run": "test_run: test_dry_run_touches_nothing",
    "raybench run -s triton --url triton=triton.example:8001": "test_tls: test_run_over_tls, test_no_secret_is_left",
    "docker compose": "there may be no Docker engine; test_docker checks the files without one",
    "ray job submit": "test_jobs: test_a_job_that_succeeds, which has a cluster that takes jobs",
    "ray get-auth-token --generate": "it makes a token in the user's own folder, for the line after it",
    **dict.fromkeys(
        ["export RAY_AUTH_MODE", "ray up", "ray dashboard", "ray job submit", "ray rsync-down", "ray down"],
        "they need machines of a cloud; test_cluster_files checks cluster.yaml and these commands' words without them",
    ),
    "raybench run --resume": "test_run: test_a_killed_run_goes_on, which has a run that was cut off",
}
RUN = [line for line in lines() if not str(line).startswith(tuple(NOT_RUN))]
COMMANDS = [line for line in RUN if line.words[0] == "raybench"]
TARGETS = [line for line in RUN if line.words[0] == "make"]

# What is added to a line, so that two slow cores can run it; of a flag that is given twice the last one counts.
CHEAPER = {
    "run": ["-b", "1", "--request-count", "16"],  # for 8 or 16 images a request, and 100 requests
    "--rounds": ["--rounds", "2"],  # for more
    "search": ["--dry-run"],  # test_run_search has searches that measure
    "serve": ["--port", "0"],  # for 8001, which another may have
}
CODES = {"doctor": {0, 1}}  # 1 where this machine cannot do the main job
RUNNING = "triton=127.0.0.1:8001"  # stands for the Triton of the session


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_help_has_an_example(path: tuple[str, ...]) -> None:
    """Every command's help shows how it is typed."""
    assert f"raybench {' '.join(path)}" in (ALL[path].help or "")


@pytest.mark.parametrize("path", ALL, ids=" ".join)
def test_readme_names_every_command(path: tuple[str, ...]) -> None:
    """The README shows every command."""
    assert f"raybench {' '.join(path)}" in README


def test_results_are_read_as_the_documents_say(tmp_path: Path) -> None:
    """The lines of docs/results.md that read results run as they stand, and find what was measured."""
    slow = lanes([(i * 20, i * 20 + 20) for i in range(299)])
    slower = lanes([(i * 500, i * 500 + 500) for i in range(3)])
    warm = lanes([(0, 900)], phase=samples.WARMUP)
    made = results(tmp_path, observed(slow, label="local"), observed(samples.merge([warm, slower])))
    (tmp_path / "results").mkdir()
    made.rename(tmp_path / "results" / "run-20260101T120000Z")
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / "docs" / "results.md").read_text(), re.M | re.S)
    run = partial(subprocess.run, cwd=tmp_path, check=True, capture_output=True, text=True, timeout=60)
    by_duckdb, by_pandas, by_raybench = (run([sys.executable, "-c", block]).stdout for block in blocks)
    assert re.search(r"local-resnet50-no-opt.parquet\W+299\W+20.0", by_duckdb)
    assert re.search(r"triton-x1-resnet50-no-opt.parquet\W+3\W+500.0", by_duckdb)
    assert by_pandas == "20.0\n"
    assert re.search(r"local +resnet50-no-opt +50.0 +20.0", by_raybench)
    assert re.search(r"r1-local-resnet50-no-opt +20.0\nr1-triton-x1-resnet50-no-opt +500.0", by_raybench)


def test_runs_on_clusters_are_as_the_documents_say() -> None:
    """Every `raybench run` of docs/cluster.md has flags that there are, and the README leads to it."""
    blocks = re.findall(r"^```sh\n(.*?)^```$", (ROOT / "docs" / "cluster.md").read_text(), re.M | re.S)
    runs = re.findall(r"raybench run (.*)", "".join(blocks).replace("\\\n", " "))
    assert len(runs) == 4
    for words in map(shlex.split, runs):
        ALL["run",].make_context("run", words)
    assert "](docs/cluster.md)" in README


def test_the_workflow_is_one(tmp_path: Path) -> None:
    """The example for GitHub Actions is a workflow by its schema, and its commands and flags are raybench's."""
    path = ROOT / "examples" / "github-actions.yaml"
    schema = [BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", path]
    subprocess.run(schema, check=True, timeout=60, capture_output=True, cwd=tmp_path)
    steps = yaml.safe_load(path.read_text())["jobs"]["compare"]["steps"]
    typed = [line.strip("()").partition("raybench ")[2] for step in steps for line in step.get("run", "").splitlines()]
    for words in [text.split() for text in typed if text.startswith(("run ", "compare "))]:
        known = {flag for option in ALL[(words[0],)].params for flag in option.opts}
        assert {word for word in words if word.startswith("--")} <= known


def test_readme_commands_exist() -> None:
    """Every command and flag that the README's examples use is one that raybench has."""
    assert COMMANDS
    for line in COMMANDS:
        known = {flag for option in ALL[path_of(line)].params for flag in (*option.opts, *option.secondary_opts)}
        assert {word for word in line.words if word.startswith("-")} <= known, line


def test_flags_have_the_words_of_the_yaml() -> None:
    """Every flag of `raybench run` is a key of the YAML by the same word, and every key a flag."""
    flags = {option.name for option in ALL[("run",)].params if isinstance(option, click.Option)}
    assert flags - COMMAND_FLAGS == set(config.SETTINGS)


COMMAND_FLAGS = {"dry_run", "resume"}  # what the command does, not what is measured


def flag_id(value: Any) -> str:
    return " ".join(value) if isinstance(value, tuple) else value.opts[-1]


def stated(option: click.Option) -> str | None:
    """The default that `--help` states in brackets, where ranges may stand too."""
    _, text = option.get_help_record(click.Context(main)) or ("", "")
    notes = [note for group in re.findall(r"\[(.*?)\]", text) for note in group.split("; ") if ">=" not in note]
    return notes[0].removeprefix("default: ") if notes else None


def in_words(value: Any) -> str | None:
    """A default as help has it; None where there is nothing to say."""
    if value is None or value is False or value in ((), {}):
        return None
    if value is True:
        return "on"
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def untouched(path: tuple[str, ...], option: click.Option) -> Any:
    """What a command gets where a flag is not given."""
    return ALL[path].make_context("raybench", [], resilient_parsing=True).params[option.name or ""]


@pytest.mark.parametrize(("path", "option"), FLAGS, ids=flag_id)
def test_every_flag_says_what_it_means(path: tuple[str, ...], option: click.Option) -> None:  # noqa: ARG001
    """`--help` says of every flag in words what it means."""
    meaning = re.sub(r"\s*\[.*\]$", "", option.help or "")
    assert meaning.endswith(".")
    assert len(meaning.split()) > 1


@pytest.mark.parametrize(("path", "option"), FLAGS, ids=flag_id)
def test_every_flag_says_its_default(path: tuple[str, ...], option: click.Option) -> None:
    """`--help` states the default of every flag that has one; those of `run` are the ones of a run without flags."""
    found = untouched(path, option)
    if path == ("run",) and option.name not in COMMAND_FLAGS:
        assert not found  # None, so that the YAML's value stands
        plain = config.load(None, {})
        found = getattr(plain.loads[0] if option.name in config.LOAD_SETTINGS else plain, option.name or "")
    if in_words(found):
        assert stated(option) == in_words(found)
    elif path == ("run",):
        assert " " in (stated(option) or "in words")


def test_merging_is_capped_as_help_says() -> None:
    """The default of --merge-max-images is that of the Triton model."""
    text = (ROOT / "triton_models" / "saved_model" / "config.pbtxt").read_text()
    (cap,) = re.findall(r'key: "merge_max_items" value { string_value: "(\d+)" }', text)
    (option,) = [option for _, option in FLAGS if option.name == "merge_max_images"]
    assert stated(option) == cap


def test_every_line_of_the_readme_is_run() -> None:
    """No command of the README stands there untried: each is run below, or a reason is given why it is not."""
    assert [line for line in RUN if line not in COMMANDS + TARGETS] == []
    assert [start for start in NOT_RUN if not any(str(line).startswith(start) for line in lines())] == []
    assert README.count("```") == 2 * len(BLOCKS)
    others = "\n".join(text for language, text in BLOCKS if language != "sh")
    assert not re.search(r"^[$%> ]*(raybench|make) ", others, re.M), "commands stand in `sh` blocks"


@pytest.mark.parametrize("line", TARGETS, ids=str)
def test_readme_targets_are_in_the_makefile(line: Line) -> None:
    """Every `make` target that the README names is one of the Makefile's."""
    subprocess.run(["make", "--dry-run", *line.words[1:]], cwd=ROOT, check=True, capture_output=True, timeout=60)


@pytest.mark.parametrize("line", [line for line in COMMANDS if line.words[1] == "run"], ids=str)
def test_readme_runs_are_planned(line: Line, models: Path, tmp_path: Path) -> None:
    """Every `raybench run` of the README is a benchmark that can be planned, word for word."""
    prepare(tmp_path, line, models)
    planned = raybench(*line.words[1:], "--dry-run", cwd=tmp_path, env=dict(os.environ))
    assert planned.code == 0, planned.err
    assert planned.out.startswith("r1-")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("line", timed([line for line in COMMANDS if line.words[1] != "serve"]))
def test_readme_commands_work(
    line: Line, models: Path, ray_environment: dict[str, str], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Every command of the README does what it says, where its folder has what it names."""
    prepare(tmp_path, line, models)
    env = environment(line, ray_environment, tmp_path)
    run = raybench(*feasible(line, request), cwd=tmp_path, env=env, timeout_s=550)
    assert run.code in CODES.get(line.words[1], {0}), run.err + run.out
    if line.words[1] == "run":
        assert {trial["status"] for trial in run.summary["trials"]} == {"ok"}


@pytest.mark.parametrize("line", timed([line for line in COMMANDS if line.words[1] == "serve"]))
def test_readme_servers_start(line: Line, models: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """Every server of the README starts, says so, and ends in order."""
    prepare(tmp_path, line, models)
    command = [BIN / "raybench", *feasible(line, request)]
    env = environment(line, dict(os.environ), tmp_path)
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
    try:
        wait_for_line(process, "ready")
    finally:
        process.terminate()
        code = process.wait(timeout=60)
    assert code == 0

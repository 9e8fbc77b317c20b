"""README, docs and help say what the commands do."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import flag_tables
import pytest
import yaml
from click.testing import CliRunner
from helpers import lanes, observed, results
from readme import PAGES, README, ROOT, Line, blocks, lines, prepare
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


ALL = dict(commands(main))
FLAGS = [(path, o) for path, command in ALL.items() for o in command.params if isinstance(o, click.Option)]
# How a line of a page begins that is not tried here, and why.
NOT_TRIED = {
    "docker compose": "there may be no Docker engine; test_docker checks the files without one",
    "export ": "it sets a variable for the lines after it",
    "ray get-auth-token --generate": "it makes a token in the user's own folder, for the line after it",
    "ray job ": "test_jobs: test_a_job_that_succeeds, which has a cluster that takes jobs; flags are checked below",
    **dict.fromkeys(
        ["ray up", "ray dashboard", "ray rsync-down", "ray down"],
        "they need machines of a cloud; test_cluster_files checks cluster.yaml and these commands' words without them",
    ),
    "raybench run --resume": "test_session: test_a_killed_run_goes_on, which has a run that was cut off",
    "raybench export": "test_export exports; the words are checked below",
    "raybench models --url": "it asks a running Triton; the words are checked below",
    "python tests/benchmarks/": "they take minutes, some a GPU; that they and their flags exist is checked below",
    "pip install": "it fetches packages; test_package builds and installs the wheel",
    "python -c ": "test_the_command_that_prints_the_path_of_the_schema",
    "eval ": "test_the_shell_completion",
}
NOT_TRIED_PAGES = {"docs/migrate.md": "test_migration runs its blocks one after the other"}
TRIED = [line for line in lines() if not str(line).startswith(tuple(NOT_TRIED)) and line.page not in NOT_TRIED_PAGES]
COMMANDS = [line for line in TRIED if line.words[0] == "raybench"]
TARGETS = [line for line in TRIED if line.words[0] == "make"]
SERVERS = [line for line in COMMANDS if line.words[1] == "serve"]
MOST_LINES, MOST_WORDS = 130, 1100  # of the README
# What is added to a line that would measure, or run for long.
CHEAPER = {
    "run": ["--dry-run"],
    "search": ["--dry-run"],  # test_search_loop has searches that measure
    "tune": ["--dry-run"],  # test_tune_loop has tunings that measure
    "serve": ["--port", "0"],  # for 8001, which another may have
}
CODES = {"doctor": {0, 1}}  # 1 where this machine cannot do the main job


def test_help_and_pages_show_every_command() -> None:
    """Every command's help shows how it is typed, and so does a page."""
    text = "\n".join(PAGES.values())
    assert [path for path, command in ALL.items() if f"raybench {' '.join(path)}" not in (command.help or "")] == []
    assert [path for path in ALL if f"raybench {' '.join(path)}" not in text] == []


def test_the_readme_is_read_in_a_few_minutes() -> None:
    """The README has at most 130 lines and 1,100 words, and leads to every page."""
    assert len(README.splitlines()) <= MOST_LINES
    assert len(README.split()) <= MOST_WORDS
    assert [path for path in PAGES if path != "README.md" and f"]({path})" not in README] == []


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """Every link of a page names a file of the repository, and a heading of that page where it names one."""
    text = re.sub(r"^ *```.*?^ *```$", "", PAGES[page], flags=re.M | re.S)
    links = re.findall(r"\]\(([^)\s]+)\)", text) + re.findall(r'src="([^"]+)"', text)
    assert [link for link in links if not leads_somewhere(page, link)] == []


def leads_somewhere(page: str, link: str) -> bool:
    parts = urlsplit(link)
    if parts.scheme:
        return parts.scheme == "https"
    path = (ROOT / page).parent / parts.path if parts.path else ROOT / page
    return path.exists() and (not parts.fragment or parts.fragment in anchors(path))


def anchors(path: Path) -> set[str]:
    """Of the headings of a page, as GitHub and the site name them."""
    text = re.sub(r"^ *```.*?^ *```$", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    plain = (re.sub(r"[^\w\- ]", "", heading).lower() for heading in re.findall(r"^#+ (.*)$", text, re.M))
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.slow
def test_the_site_asks_nothing_of_the_network(tmp_path: Path) -> None:
    """`make docs` makes a page for each document without a warning; each has a menu and loads nothing elsewhere."""
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    build = [BIN / "mkdocs", "build", "--strict", "--quiet", "--site-dir", tmp_path]
    done = subprocess.run(build, cwd=ROOT, env=env, check=True, timeout=120, capture_output=True, text=True)
    assert done.stdout + done.stderr == ""
    names = {Path(path).stem for path in PAGES if path.startswith("docs/")} | {"index", "benchmarks"}
    for name in names:
        page = (tmp_path / f"{name}.html").read_text(encoding="utf-8")
        assert not re.search(
            r"<(?:script|img|iframe)[^>]* src=\"?(?:https?:)?//|<link[^>]* href=\"?(?:https?:)?//", page
        )
        assert 'href="index.html"' in page or name == "index"
        assert all(f'href="{other}.html"' in page for other in names - {name, "index"})


def test_the_tables_of_flags_are_the_declarations() -> None:
    """docs/configuration.md has every flag as the commands declare it today; `make docs` writes the tables."""
    text = PAGES["docs/configuration.md"]
    with_flags = {" ".join(path) for path, option in FLAGS if option.name != "help"}
    assert set(re.findall(r"<!-- flags of (.*?): written by `make docs` -->", text)) == with_flags
    assert flag_tables.written(text) == text


def test_every_doubt_is_explained() -> None:
    """docs/method.md lists every code of a doubt that summary.json may have."""
    schema = json.loads((ROOT / "raybench" / "results" / "summary.schema.json").read_text(encoding="utf-8"))
    codes = schema["$defs"]["doubt"]["properties"]["code"]["enum"]
    section = PAGES["docs/method.md"].partition("## Doubts\n")[2].partition("\n## ")[0]
    assert [code for code in codes if f"`{code}`" not in section] == []


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


def test_runs_elsewhere_are_as_the_documents_say() -> None:
    """Every `raybench` that a job or a container calls has flags that there are."""
    calls = [line.words for line in lines() if "raybench" in line.words[1:]]
    runs = [words[words.index("raybench", 1) + 1 :] for words in calls]
    assert len(runs) == 5
    for command, *words in runs:
        ALL[command,].make_context(command, words)


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


def test_commands_exist() -> None:
    """Every command and flag in the examples of README and docs is one that raybench has."""
    calls = [line for line in lines() if line.words[0] == "raybench"]
    assert len(calls) > 10
    for line in calls:
        known = {flag for option in ALL[path_of(line)].params for flag in (*option.opts, *option.secondary_opts)}
        assert {word for word in line.words if word.startswith("-")} <= known, line


def test_benchmarks_of_the_pages_exist() -> None:
    """Every script and flag of tests/benchmarks/ that a page names is there."""
    typed = re.findall(r"python (tests/(?:benchmarks|faults)/\w+\.py)([^`\n]*)", "\n".join(PAGES.values()))
    assert len(typed) > 15
    for script, rest in typed:
        text = (ROOT / script).read_text(encoding="utf-8")
        assert [word for word in rest.split("#")[0].split() if word.startswith("--") and f'"{word}"' not in text] == []


def test_the_command_that_prints_the_path_of_the_schema(capsys: pytest.CaptureFixture[str]) -> None:
    """The line of docs/configuration.md for an installed raybench prints where its schema is."""
    (line,) = [line for line in lines() if line.words[:2] == ("python", "-c")]
    exec(line.words[2], {})
    assert Path(capsys.readouterr().out.strip()).is_file()


def test_the_shell_completion(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shells that docs/configuration.md names have a completion."""
    shells = set(re.findall(r"(\w+_source)", PAGES["docs/configuration.md"]))
    assert shells == {"bash_source", "zsh_source", "fish_source"}
    for shell in shells:
        monkeypatch.setenv("_RAYBENCH_COMPLETE", shell)
        assert "raybench" in CliRunner().invoke(main, [], prog_name="raybench").output


def test_flags_have_the_words_of_the_yaml() -> None:
    """Every flag of `raybench run` is a key of the YAML by the same word, and every key a flag, or a part of one."""
    flags = {option.name for option in ALL[("run",)].params if isinstance(option, click.Option)}
    assert flags - COMMAND_FLAGS == set(config.SETTINGS) - {"saved_models"}  # -m NAME=FOLDER


COMMAND_FLAGS = {"details", "dry_run", "resume", "keep_failed"}  # what the command does, not what is measured


def stated(option: click.Option) -> str | None:
    """The default that `--help` states in brackets, where ranges may stand too."""
    _, text = option.get_help_record(click.Context(main)) or ("", "")
    groups = [[note for note in group.split("; ") if "=" not in note] for group in re.findall(r"\[(.*?)\]", text)]
    return next(("; ".join(notes).removeprefix("default: ") for notes in groups if notes), None)


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


def test_every_flag_says_what_it_means() -> None:
    """`--help` says of every flag in words what it means."""
    assert len(FLAGS) > 80
    assert [(*path, option.name) for path, option in FLAGS if not has_a_meaning(option)] == []


def has_a_meaning(option: click.Option) -> bool:
    meaning = re.sub(r"\s*\[.*\]$", "", option.help or "")
    return meaning.endswith((".", "?")) and len(meaning.split()) > 1


def test_every_flag_says_its_default() -> None:
    """`--help` states the default of every flag that has one; those of `run` are the ones of a run without flags."""
    assert [(*path, option.name) for path, option in FLAGS if not says_its_default(path, option)] == []


def says_its_default(path: tuple[str, ...], option: click.Option) -> bool:
    found = untouched(path, option)
    if path == ("run",) and option.name not in COMMAND_FLAGS:
        assert not found, f"{option.name} has a value of its own, and the YAML's would not stand"
        plain = config.load(None, {})
        found = getattr(plain.loads[0] if option.name in config.LOAD_SETTINGS else plain, option.name or "")
    if words := in_words(found):
        said = stated(option) or ""
        return said == words or words in re.split("[ ,;:]+", said)  # where the machine decides, with the rule
    return path != ("run",) or " " in (stated(option) or "in words")


def test_merging_is_capped_as_help_says() -> None:
    """The default of --merge-max is that of the Triton model."""
    text = (ROOT / "triton_models" / "saved_model" / "config.pbtxt").read_text()
    (cap,) = re.findall(r'key: "merge_max_items" value { string_value: "(\d+)" }', text)
    option = next(option for _, option in FLAGS if option.name == "merge_max")
    assert f"(Triton {cap}, TensorFlow Serving none)" in str(option.help)


def test_every_line_of_the_pages_is_tried() -> None:
    """No command of a page stands there untried: each is tried below, or a reason is given why it is not."""
    assert [line for line in TRIED if line not in COMMANDS + TARGETS] == []
    assert [start for start in NOT_TRIED if not any(str(line).startswith(start) for line in lines())] == []


@pytest.mark.parametrize("page", PAGES)
def test_commands_stand_where_they_are_found(page: str) -> None:
    """Commands stand in `sh` blocks, where the tests of this file find them."""
    found = blocks(PAGES[page])
    assert len(re.findall(r"^ *```", PAGES[page], re.M)) == 2 * len(found)
    others = "\n".join(text for language, text in found if language != "sh")
    assert not re.search(r"^[$%> ]*(raybench|make) ", others, re.M)


def test_targets_are_in_the_makefile() -> None:
    """Every `make` target that a page names is one of the Makefile's."""
    targets = set(re.findall(r"(?:`|^)make (\w+)", "\n".join(PAGES.values()), re.M))
    assert targets
    subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, check=True, capture_output=True, timeout=60)


def test_commands_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command of README and docs does what it says, where its folder has what it names; runs are planned, word
    for word."""
    tried = [line for line in COMMANDS if line not in SERVERS]
    assert len(tried) > 10
    assert [
        found for number, line in enumerate(tried) if (found := trouble(line, tmp_path / str(number), monkeypatch))
    ] == []


def trouble(line: Line, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """What is wrong with a command in a folder that has what it names."""
    folder.mkdir()
    prepare(folder, line)
    monkeypatch.chdir(folder)
    added = [] if "--dry-run" in line.words else CHEAPER.get(line.words[1], [])
    done = CliRunner().invoke(main, [*line.words[1:], *added])
    is_planned = line.words[1] != "run" or done.output.startswith("r1-")
    return None if done.exit_code in CODES.get(line.words[1], {0}) and is_planned else f"{line}: {done.output}"


@pytest.mark.slow
def test_a_first_run_works(models: Path, ray_environment: dict[str, str], tmp_path: Path) -> None:
    """What the README begins with measures, with fewer and smaller requests than it has."""
    shutil.copytree(models, tmp_path / "models")
    words = ["run", "-b", "1", "--request-count", "16"]
    run = raybench(*words, cwd=tmp_path, env=ray_environment, timeout_s=250)
    assert run.code == 0, run.err + run.out
    assert {trial["status"] for trial in run.summary["trials"]} == {"ok"}


@pytest.mark.slow
@pytest.mark.parametrize("line", SERVERS, ids=str)
def test_servers_start(line: Line, models: Path, tmp_path: Path) -> None:
    """Every server of the pages starts, says so, and ends in order."""
    shutil.copytree(models, tmp_path / "models")
    command = [BIN / "raybench", *line.words[1:], *CHEAPER["serve"]]
    env = {**os.environ, **add_stand_in(tmp_path)}  # of TensorFlow Serving
    process = subprocess.Popen(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
    try:
        wait_for_line(process, "ready")
    finally:
        process.terminate()
        code = process.wait(timeout=60)
    assert code == 0

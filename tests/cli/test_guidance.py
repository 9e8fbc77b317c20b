"""What leads a new user on: the first screen, help under headings, suggestions, completion, a first YAML, progress."""

import re
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from helpers import entry, listed
from real_parts import BIN, eventually

from raybench import cli, config
from raybench.cli.progress import waiting as waiting_module
from raybench.cli.progress.waiting import waiting
from raybench.cli.sections import SECTIONS

SECTIONED = ("run", "search", "tune")


def typed(*words: str) -> str:
    done = subprocess.run([BIN / "raybench", *words], capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def test_raybench_alone_says_what_it_is() -> None:
    """Without a command it says what it is and shows three commands that there are, and exits with 0."""
    done = subprocess.run([BIN / "raybench"], capture_output=True, text=True, timeout=60, check=True)
    commands = [line.split()[1] for line in done.stdout.splitlines() if line.startswith("  raybench ")]
    assert len(commands) == 3
    assert set(commands) <= set(cli.main.commands)


@pytest.mark.parametrize("name", SECTIONED)
def test_every_flag_is_under_one_heading(name: str) -> None:
    """The help of run and search lists each flag once, under a heading; only what is a search's own comes first."""
    command = cli.main.commands[name]
    text = typed(name, "--help")
    shown = [o for o in command.params if isinstance(o, click.Option) and not o.hidden]
    lists = text[text.index(f"\n{next(iter(SECTIONS))}:") :] if name == "run" else text[text.index(f"\nOf {name}:") :]
    flags = [next(word for word in option.opts if word.startswith("--")) for option in shown]
    assert {flag: len(re.findall(rf"^  (-\w, )?{flag}\b(?!-)", lists, re.M)) for flag in flags} == dict.fromkeys(
        flags, 1
    )
    assert [title for title in SECTIONS if f"\n{title}:" not in text] == []
    named = [each for names in SECTIONS.values() for each in names]
    assert len(named) == len(set(named))
    assert set(config.SETTINGS) - set(named) == {"saved_models"}  # which no flag sets


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("rn",), "did you mean run?"),
        (("run", "--worker", "4"), "--workers"),
        (("run", "-s", "tritn"), "triton"),
        (("report", ".", "--format", "markdwn"), "markdown"),
    ],
)
def test_the_nearest_is_suggested(words: tuple[str, ...], said: str) -> None:
    """An unknown command, flag or value is answered with what was probably meant."""
    assert said in typed(*words)


def test_a_shell_completes_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-m completes to the models of models.conf."""
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/models.conf").write_text(listed(entry("resnet50"), entry("bert")))
    env = {"_RAYBENCH_COMPLETE": "bash_complete", "COMP_WORDS": "raybench run -m re", "COMP_CWORD": "3"}
    assert CliRunner().invoke(cli.main, [], prog_name="raybench", env=env).output.split() == ["plain,resnet50"]


def test_init_writes_a_benchmark_of_the_models_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`raybench init` writes a YAML that runs, with every model of models.conf and the schema for editors, once."""
    monkeypatch.chdir(tmp_path)
    Path("models").mkdir()
    Path("models/models.conf").write_text(listed(entry("tiny")))
    done = CliRunner().invoke(cli.main, ["init"])
    assert done.exit_code == 0, done.output
    loaded = config.load(Path("benchmark.yaml"), {})
    assert loaded.all_models == ("tiny",)
    first, *rest = Path("benchmark.yaml").read_text().splitlines()
    assert Path(first.partition("$schema=")[2]).exists()
    assert sum(line.startswith("#") for line in rest) > 5
    again = CliRunner().invoke(cli.main, ["init"])
    assert (again.exit_code, "exists" in again.stderr) == (2, True)
    assert CliRunner().invoke(cli.main, ["init", "--models", "absent", "--out", "b.yaml"]).exit_code == 0
    assert config.load(Path("b.yaml"), {}).all_models == config.SETTINGS["model"].default


def test_what_takes_long_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What takes longer than its first look is named on stderr, with its time; what is quick is not."""
    monkeypatch.setattr(waiting_module, "_LOOK_S", 0.05)
    printed = ""

    def is_said() -> bool:
        nonlocal printed
        printed += capsys.readouterr().err
        return bool(printed)

    with waiting("starting Triton"):
        assert eventually(is_said)
    with waiting("a blink"):
        pass
    assert printed + capsys.readouterr().err == "starting Triton, for 0:00\n"

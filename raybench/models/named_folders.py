"""The models of a run: those of the user's models.conf, and SavedModels that were named by their folders."""

import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from raybench.config import ConfigError
from raybench.models.saved_models import ModelConfig, format_models_conf, read_models_conf
from raybench.processes import scratch_folder

_MERGE_RULES = "merge.conf"  # the backend reads it beside models.conf
_FILE = "saved_model.pb"
_VERSION = re.compile(r"[0-9]{1,18}", re.ASCII)


@contextmanager
def models_conf_with(models_conf: Path, folders: Mapping[str, str]) -> Iterator[Path]:
    """The path of a models.conf that also has the named folders; nothing is written beside the user's files.

    A folder either is a SavedModel or holds versions of one. Raises ConfigError where it is neither.
    """
    if not folders:
        yield models_conf
        return
    with scratch_folder("raybench-models-") as scratch:
        try:
            path = _written(scratch, models_conf, folders)
        except ValueError as error:
            raise ConfigError(str(error)) from error
        yield path


def _written(scratch: Path, models_conf: Path, folders: Mapping[str, str]) -> Path:
    """A models.conf in a folder of our own; a folder takes the place of a model of its name."""
    numbered = enumerate(folders.items())
    named = tuple(_entry(name, folder, scratch / str(number)) for number, (name, folder) in numbered)
    listed = read_models_conf(models_conf) if models_conf.exists() else ()
    others = tuple(model for model in listed if model.name not in folders)
    path = scratch / models_conf.name
    path.write_text(format_models_conf((*others, *named)), encoding="utf-8")
    if (rules := models_conf.with_name(_MERGE_RULES)).exists():
        shutil.copy(rules, scratch)
    return path


def _entry(name: str, folder: str, scratch: Path) -> ModelConfig:
    """A folder of versions as it is; a SavedModel as the only version in a folder of our own, which links to it."""
    there = Path(folder).resolve()
    if not (there / _FILE).is_file():
        if not any(_VERSION.fullmatch(file.parent.name) for file in there.glob(f"*/{_FILE}")):
            raise ValueError(
                f"model is {folder}; there is no {_FILE} in it, nor in a folder with a version's number: "
                f"name the folder of a SavedModel"
            )
        return ModelConfig(name=name, base_path=there)
    scratch.mkdir()
    version = there.name if _VERSION.fullmatch(there.name) else "1"
    (scratch / version).symlink_to(there, target_is_directory=True)
    return ModelConfig(name=name, base_path=scratch)

"""SavedModels that are named by their folders: served under their names, with nothing written beside them."""

import os
from pathlib import Path

import pytest
from helpers import IMAGES, LOGITS, saved_model

from raybench.models.named_folders import models_conf_with
from raybench.models.saved_models import ModelConfig, read_models_conf

ODD = "José 模型 'q\" %d"
SIGNATURE = ("serve", [IMAGES], [LOGITS])


def there(models_conf: Path, folders: dict[str, Path]) -> dict[str, ModelConfig]:
    with models_conf_with(models_conf, {name: str(folder) for name, folder in folders.items()}) as path:
        found = {model.name: model for model in read_models_conf(path)}
        for model in found.values():
            for version in model.versions():
                assert (model.version_folder(version) / "saved_model.pb").is_file()
        return found


def files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    ("inside", "named", "versions"),
    [
        ("m", "m", (1,)),  # a SavedModel itself
        ("m/1", "m", (1,)),  # a folder of versions
        ("m/007", "m/007", (7,)),  # one of them
        ("m/\u0663", "m/\u0663", (1,)),  # what is a number elsewhere is a name here
        (f"{ODD}/2", ODD, (2,)),
    ],
)
def test_a_folder_is_a_model(inside: str, named: str, versions: tuple[int, ...], tmp_path: Path) -> None:
    """A folder with a SavedModel or with versions of one is served; nothing is written beside it, or left elsewhere."""
    saved_model(tmp_path / inside, SIGNATURE)
    before = files(tmp_path)
    with models_conf_with(tmp_path / "none" / "models.conf", {"x": str(tmp_path / named)}) as path:
        (model,) = read_models_conf(path)
        assert (model.name, model.versions()) == ("x", versions)
        assert (model.version_folder(versions[-1]) / "saved_model.pb").samefile(tmp_path / inside / "saved_model.pb")
    assert files(tmp_path) == before
    assert not path.exists()


def test_a_folder_may_be_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder is looked for where the command was called, whatever models.conf is beside it."""
    saved_model(tmp_path / "here" / "m", SIGNATURE)
    monkeypatch.chdir(tmp_path / "here")
    assert there(Path("models/models.conf"), {"m": Path("m")}).keys() == {"m"}
    monkeypatch.chdir(tmp_path / "here" / "m")
    assert there(Path("models/models.conf"), {"m": Path(".")}).keys() == {"m"}


def test_folders_join_the_models_of_models_conf(tmp_path: Path) -> None:
    """The models of models.conf stay, with their versions and merge rules; a folder takes the place of its namesake."""
    for folder in ("a/1", "a/2", "b/1", "new"):
        saved_model(tmp_path / folder, SIGNATURE)
    entries = [f"config {{ name: '{name}' base_path: '{name}' model_platform: 'tensorflow' " for name in "ab"]
    text = f"model_config_list {{ {entries[0]} model_version_policy {{ all {{}} }} }} {entries[1]} }} }}"
    (tmp_path / "models.conf").write_text(text)
    (tmp_path / "merge.conf").write_text("a/serve: never\n")
    found = there(tmp_path / "models.conf", {"b": tmp_path / "new"})
    assert (found.keys(), found["a"].versions()) == ({"a", "b"}, (1, 2))
    assert found["b"].base_path != tmp_path / "b"
    with models_conf_with(tmp_path / "models.conf", {"b": str(tmp_path / "new")}) as path:
        assert path.with_name("merge.conf").read_text() == "a/serve: never\n"


def test_without_folders_models_conf_is_the_users_own(tmp_path: Path) -> None:
    """Where no folder is named nothing is copied: a server reloads the user's own file."""
    with models_conf_with(tmp_path / "models.conf", {}) as path:
        assert path == tmp_path / "models.conf"


@pytest.mark.parametrize("kind", ["missing", "empty", "file", "models"])
def test_what_is_no_saved_model_is_refused(kind: str, tmp_path: Path) -> None:
    """One sentence says that there is no SavedModel, and what to name: nothing is searched for further down."""
    folder = tmp_path / "m"
    if kind == "file":
        folder.write_text("model")
    elif kind != "missing":
        folder.mkdir()
    if kind == "models":
        saved_model(folder / "a" / "1", SIGNATURE)
    with pytest.raises(ValueError, match=r"there is no saved_model\.pb in it, nor in a folder with a version") as error:
        there(tmp_path / "models.conf", {"m": folder})
    assert str(error.value).startswith(f"model is {folder}; ")
    assert "\n" not in str(error.value)


def test_a_folder_whose_name_is_no_text_is_a_sentence(tmp_path: Path) -> None:
    """A path that TensorFlow cannot be given is said to be one, and is no crash."""
    folder = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    saved_model(folder / "1", SIGNATURE)
    with pytest.raises(ValueError, match="not UTF-8"):
        there(tmp_path / "models.conf", {"m": folder})

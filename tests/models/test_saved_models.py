"""What models.conf serves and what each SavedModel takes and returns, read without TensorFlow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import BACKEND, IMAGES, LOGITS, conf, entry, listed, saved_model

from raybench.models.saved_models import (
    ModelConfig,
    Signature,
    TensorSpec,
    add_model,
    format_models_conf,
    read_models_conf,
    read_signatures,
)


def test_signatures_are_read_as_they_were_saved(tmp_path: Path) -> None:
    """Every signature is known with its inputs and outputs, types by Triton's names, -1 for what is free."""
    folder = saved_model(
        tmp_path / "1", ("predict_images", [IMAGES], [LOGITS]), ("other", [("x", 7, ())], [("y", 9, None)])
    )
    assert read_signatures(folder) == {
        "predict_images": Signature(
            inputs={"images": TensorSpec("UINT8", (-1, 224, 224, 3))},
            outputs={"logits": TensorSpec("FP32", (-1, 1000))},
        ),
        "other": Signature(inputs={"x": TensorSpec("BYTES", ())}, outputs={"y": TensorSpec("INT64", None)}),
    }


def test_the_wire_format_is_tensorflows(tmp_path: Path) -> None:
    """Bytes as TensorFlow writes them are understood, and the graph and other unknown fields are skipped."""
    tensor = bytes.fromhex("0a 03 78 3a 30") + bytes.fromhex("10 01 1a 0f 12 0b 08 ff ff ff ff ff ff ff ff ff 01 12 00")
    entry_x = b"\x0a\x01x\x12" + bytes([len(tensor)]) + tensor
    definition = b"\x0a" + bytes([len(entry_x)]) + entry_x + b"\x1a\x04pred"
    signature = b"\x0a\x01s\x12" + bytes([len(definition)]) + definition
    graph = b"\x0a\x07\x22\x05serve" + b"\x12\x02\x22\x00" + b"\x2a" + bytes([len(signature)]) + signature
    (tmp_path / "saved_model.pb").write_bytes(b"\x08\x01\x12" + bytes([len(graph)]) + graph)
    assert read_signatures(tmp_path) == {"s": Signature(inputs={"x": TensorSpec("FP32", (-1, 0))}, outputs={})}


def test_tensorflows_own_signature_is_left_out(tmp_path: Path) -> None:
    """The initializer that TensorFlow adds is no signature to serve."""
    folder = saved_model(tmp_path / "1", ("__saved_model_init_op", [], []), ("predict", [IMAGES], [LOGITS]))
    assert list(read_signatures(folder)) == ["predict"]


@pytest.mark.parametrize("content", [None, b"no protobuf \xff", b""])
def test_a_file_that_is_no_saved_model_is_named(tmp_path: Path, content: bytes | None) -> None:
    """A saved_model.pb that is missing or damaged is a sentence with its path."""
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(ValueError, match=r"saved_model\.pb"):
        read_signatures(tmp_path)


def test_only_the_graph_for_serving_counts(tmp_path: Path) -> None:
    """A SavedModel without a graph tagged 'serve' cannot be served, and that is said."""
    with pytest.raises(ValueError, match="'serve'"):
        read_signatures(saved_model(tmp_path, ("predict", [IMAGES], [LOGITS]), tags=("train",)))


@pytest.mark.parametrize(
    ("inputs", "outputs", "batched"),
    [
        ([(-1, 3)], [(-1, 10)], True),
        ([(-1,), (-1, 4)], [(-1,)], True),
        ([(8, 3)], [(-1, 10)], False),
        ([(-1, 3)], [(10,)], False),
        ([(-1, 3), ()], [(-1,)], False),
        ([None], [(-1,)], False),
        ([(-1, 3)], [None], False),
    ],
)
def test_requests_share_a_call_only_where_all_tensors_are_batched(inputs: list, outputs: list, batched: bool) -> None:
    """Requests may share one call only if every input and output has a free first dimension."""
    sides = [{str(i): TensorSpec("FP32", shape) for i, shape in enumerate(shapes)} for shapes in (inputs, outputs)]
    assert Signature(*sides).is_batched is batched


@pytest.mark.parametrize(
    ("policy", "served"),
    [
        ("", (10,)),
        ("model_version_policy { latest { num_versions: 2 } }", (2, 10)),
        ("model_version_policy { latest { num_versions: 0 } }", (10,)),
        ("model_version_policy { latest { num_versions: 9 } }", (1, 2, 10)),
        ("model_version_policy { all {} }", (1, 2, 10)),
        ("model_version_policy { specific { versions: 2 versions: 1 } }", (1, 2)),
    ],
)
def test_the_version_policy_chooses(tmp_path: Path, policy: str, served: tuple[int, ...]) -> None:
    """models.conf's policy decides the versions, by number; without one the newest is served, as TF Serving does."""
    for version in ("1", "2", "10", "assets", "٣", "-3", "9" * 19, "9" * 20):
        saved_model(tmp_path / "m" / version, ("predict", [IMAGES], [LOGITS]))
    (tmp_path / "m" / "11").mkdir()
    (model,) = read_models_conf(conf(tmp_path, listed(entry("m", policy))))
    assert model.versions() == served


@pytest.mark.parametrize(
    ("folders", "newest"),
    [(["00000123"], 123), (["001", "2"], 2), (["1", "002"], 2), (["000"], 0), (["0" * 30 + "7"], 7)],
    ids=str,
)
def test_versions_may_have_leading_zeros(tmp_path: Path, folders: list[str], newest: int) -> None:
    """A version's folder may have leading zeros, as in exports named by time: all are served, from their folders."""
    for folder in folders:
        saved_model(tmp_path / folder, (folder[:40], [IMAGES], [LOGITS]))
    model = ModelConfig(name="m", base_path=tmp_path, policy="all")
    assert model.versions() == tuple(sorted(map(int, folders)))
    assert model.versions()[-1] == newest
    assert [model.version_folder(version).name for version in model.versions()] == sorted(folders, key=int)


def test_a_version_has_one_folder(tmp_path: Path) -> None:
    """Two folders of one version are refused by name: TensorFlow Serving would take whichever it sees last."""
    for folder in ("1", "001", "2"):
        saved_model(tmp_path / folder, ("predict", [IMAGES], [LOGITS]))
    with pytest.raises(ValueError, match=r"model m: .* version 1 twice, 001 and 1; remove one"):
        ModelConfig(name="m", base_path=tmp_path).versions()


def test_a_version_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A model without versions, or without the one that is asked for, is named with its folder."""
    with pytest.raises(ValueError, match=f"model m: {tmp_path}.*export"):
        ModelConfig(name="m", base_path=tmp_path).versions()
    saved_model(tmp_path / "1", ("predict", [IMAGES], [LOGITS]))
    with pytest.raises(ValueError, match="version 7 "):
        ModelConfig(name="m", base_path=tmp_path, policy="specific", specific=(1, 7)).versions()


def test_base_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A base path in models.conf counts from the file's folder wherever the program runs; an absolute one stands."""
    path = conf(tmp_path, listed(entry("a"), entry("b", base_path="/srv/models/b")))
    monkeypatch.chdir("/")
    assert [model.base_path for model in read_models_conf(path)] == [tmp_path.resolve() / "a", Path("/srv/models/b")]


@pytest.mark.parametrize(
    ("text", "culprit"),
    [
        ("model_config_list {", "models.conf"),
        ("nonsense: 1", "nonsense"),
        (listed(entry("a"), entry("a")), "'a' is named twice"),
        (listed(entry("a,b")), "'a,b'"),
        (listed(entry("a\\n")), r"'a\n'"),
        (listed(entry("", base_path="x")), "''"),
        (listed(entry(" ", base_path="x")), "' '"),
        (listed(entry("a", base_path="")), "'a' has no base_path"),
        (listed(entry("a", base_path="file://")), "'a' has no base_path"),
        (listed(entry("a", base_path="s3://bucket/a")), "scheme s3://"),
        (listed(entry("a", base_path="gs://bucket/a")), "scheme gs://"),
        (listed(entry("a", base_path="abfs+ssl://a@b/c")), "scheme abfs+ssl://"),
        (listed('config { name: "a" base_path: "a" model_platform: "pytorch" }'), "platform 'pytorch'"),
        (listed('config { name: "a" base_path: "a" model_type: OTHER }'), "name TENSORFLOW"),
        ('custom_model_config { type_url: "x" }', "custom_model_config"),
    ],
)
def test_a_wrong_models_conf_is_refused(tmp_path: Path, text: str, culprit: str) -> None:
    """A models.conf that does not parse, names a model twice or what raybench cannot load is refused by name."""
    path = conf(tmp_path, text)
    with pytest.raises(ValueError, match=r"models\.conf") as refusal:
        read_models_conf(path)
    assert culprit in str(refusal.value)


def test_a_models_conf_that_is_not_there_is_named(tmp_path: Path) -> None:
    """A missing models.conf is a sentence with its path."""
    with pytest.raises(ValueError, match=str(tmp_path / "models.conf")):
        read_models_conf(tmp_path / "models.conf")


@pytest.mark.parametrize(
    "text",
    [
        "# the demo's models\n" + listed(entry("a")),
        listed(entry("a", 'version_labels { key: "stable" value: 1 }')),
        'model_config_list: { config: { name: "a", base_path: "a", model_platform: "tensorflow" } }',
        listed(entry("a", "logging_config { sampling_config { sampling_rate: 0.1 } }")),
        "model_config_list < config < name: 'a' base_path: 'a' >; >",
        'model_config_list { config: [{ name: "a", base_path: "a" }] }',
        'model_config_list { config { name: "\\141" base_path: "/models" "/a" } }',
        'model_config_list { config { name: "a" base_path: "a" model_type: TENSORFLOW } }',
        'model_config_list { config { name: "a" base_path: "a" model_type: 1 } }',
        listed(entry("a", base_path="a/")),
        listed(entry("a", base_path="./x/../a")),
        listed(entry("a", base_path="file:///models/a")),
        "\ufeff" + listed(entry("a")),
        listed(entry("a")).replace("\n", "\r\n").replace(" { ", " {\r\n "),
    ],
    ids=["comment", "labels", "colons", "logging", "angles", "list", "escapes", "model_type", "its number", "slash",
         "dots", "file-url", "BOM", "CRLF"],
)  # fmt: skip
def test_what_tf_serving_takes_is_taken(tmp_path: Path, text: str) -> None:
    """A models.conf that TensorFlow Serving accepts is read, with all that it may hold."""
    (model,) = read_models_conf(conf(tmp_path, text))
    assert (model.name, model.base_path.name) == ("a", "a")


@pytest.mark.parametrize("name", ["team/a", "_x", ".a", "../a", "my model", "модель", "a:b@c+d"])
def test_a_model_may_have_any_name(tmp_path: Path, name: str) -> None:
    """A name is no path: what TensorFlow Serving serves under it is served here, and written back under it."""
    models = read_models_conf(conf(tmp_path, listed(entry(name, base_path="a"))))
    assert [model.name for model in models] == [name]
    assert read_models_conf(conf(tmp_path, format_models_conf(models))) == models


def test_an_older_entry_keeps_its_type() -> None:
    """TensorFlow Serving refuses an entry with both a model_type and a model_platform: an export writes neither two."""
    old = 'model_config_list { config { name: "a" base_path: "a" model_type: TENSORFLOW } }'
    assert "model_platform" not in add_model(old, "a", "a")
    assert "model_platform" in add_model("", "a", "a")


PATHS = """
import sys
from pathlib import Path
from saved_models import format_models_conf, local_path, read_models_conf, read_signatures, utf8
(model,) = read_models_conf(local_path(sys.argv[1].encode("utf-8", "surrogateescape").decode()) / "models.conf")
folder = model.version_folder(model.versions()[-1])
assert list(read_signatures(folder)) == ["predict"]
format_models_conf((model,))
print(utf8(folder).encode())
"""


@pytest.mark.parametrize("settings", [{"PYTHONUTF8": "1"}, {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}], ids=str)
def test_folders_may_have_any_name(tmp_path: Path, settings: dict[str, str]) -> None:
    """Folders are found whatever their letters, also where Python takes file names for ASCII, as inside Triton."""
    home = tmp_path / "José 模型 'q\" %d"
    saved_model(home / "café" / "1", ("predict", [IMAGES], [LOGITS]))
    (home / "models.conf").write_text(listed(entry("a", base_path="café")), encoding="utf-8")
    command, environment = [sys.executable, "-c", PATHS, home], {"LC_ALL": "C", "PYTHONPATH": str(BACKEND), **settings}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.strip() == repr(str(home / "café" / "1").encode()), done.stderr


def test_a_folder_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """TensorFlow takes paths in UTF-8 alone: a folder with another name is a sentence, before anything starts."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    with pytest.raises(ValueError, match=r"caf\\xe9.*rename it"):
        read_models_conf(conf(folder, listed(entry("a"))))


def test_an_empty_models_conf_serves_nothing(tmp_path: Path) -> None:
    """A models.conf without models is no error: there is nothing to serve."""
    assert read_models_conf(conf(tmp_path, "")) == ()


def test_a_models_conf_that_is_written_is_read_back(tmp_path: Path) -> None:
    """Rewriting models.conf keeps every model's path and policy."""
    here = tmp_path.resolve()
    models = (
        ModelConfig(name="a", base_path=here / "a"),
        ModelConfig(name="b", base_path=Path("/srv/b"), policy="all"),
        ModelConfig(name="c", base_path=here / "x" / "c", latest=3),
        ModelConfig(name="d", base_path=here / "d", policy="specific", specific=(2, 5)),
    )
    for relative_to in (None, here):
        assert read_models_conf(conf(tmp_path, format_models_conf(models, relative_to))) == models


def test_a_folder_of_models_can_be_moved(tmp_path: Path) -> None:
    """Base paths below the file's folder are written relative to it, others as they are."""
    models = (ModelConfig(name="a", base_path=tmp_path / "a"), ModelConfig(name="b", base_path=Path("/srv/b")))
    text = format_models_conf(models, tmp_path)
    assert str(tmp_path) not in text
    assert '"/srv/b"' in text


def test_reading_needs_no_tensorflow() -> None:
    """Signatures are read in workers and in Triton's process, where TensorFlow's seconds and memory would be felt."""
    code = "import sys, raybench.models.saved_models; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


def test_adding_a_model_keeps_what_is_configured() -> None:
    """An export adds its own entry, or renews its base path; policies, labels and logging of all entries stay."""
    text = """model_config_list { config {
      name: "a" base_path: "old" model_platform: "tensorflow" model_version_policy { all {} }
      version_labels { key: "stable" value: 3 } logging_config { sampling_config { sampling_rate: 0.5 } } } }"""
    added, renewed = add_model(text, "b", "b"), add_model(text, "a", "new")
    for kept in ("all {", "stable", "sampling_rate: 0.5"):
        assert kept in added
        assert kept in renewed
    assert 'name: "b"' in added
    assert '"old"' in added
    assert '"old"' not in renewed

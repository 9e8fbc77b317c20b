"""What a Triton that we start is given to serve."""

from dataclasses import replace
from pathlib import Path
from urllib.request import urlopen

import numpy as np
import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from raybench.models.saved_models import ModelConfig, format_models_conf, read_models_conf
from raybench.servers.repository import TritonOptions, assemble, model_config
from raybench.servers.served_models import resolve_models
from raybench.servers.server_process import ServerError
from raybench.servers.triton_server import running_triton
from raybench.servers.warm_up import WarmUp


def options(folder: Path, *names: str, asked: tuple[str, ...] | None = None) -> TritonOptions:
    """A models.conf with these names for a model in versions 1 and 2."""
    for version in ("1", "2"):
        (folder / "model" / version).mkdir(parents=True, exist_ok=True)
        (folder / "model" / version / "saved_model.pb").touch()
    models = tuple(ModelConfig(name=name, base_path=folder / "model", policy="all") for name in names)
    (folder / "models.conf").write_text(format_models_conf(models))
    return TritonOptions(models_conf=folder / "models.conf", models=asked)


def served(options: TritonOptions) -> tuple[ModelConfig, ...]:
    return resolve_models(options.models_conf, options.models)


def test_what_is_asked_for_is_resolved(tmp_path: Path) -> None:
    """The models asked for, or all, with the versions that are there now."""
    assert [model.name for model in served(options(tmp_path, "a", "b"))] == ["a", "b"]
    (model,) = served(options(tmp_path, "a", "b", asked=("b",)))
    assert (model.name, model.policy, model.specific) == ("b", "specific", (1, 2))


@pytest.mark.parametrize(
    ("names", "asked", "sentence"),
    [
        (("a",), ("b",), r"model is b; .*models.conf has a: choose from those"),
        ((), None, r"models is .*its models.conf has no "),
    ],
)
def test_what_cannot_be_served_is_refused(
    names: tuple[str, ...], asked: tuple[str, ...] | None, sentence: str, tmp_path: Path
) -> None:
    """A models.conf without a model, or without one that was asked for, is one sentence with what there is."""
    with pytest.raises(ServerError, match=sentence):
        served(options(tmp_path, *names, asked=asked))


def test_a_version_that_is_missing_is_refused(tmp_path: Path) -> None:
    """A model whose versions are gone is one sentence that names its folder."""
    asked = options(tmp_path, "a")
    (tmp_path / "model").rename(tmp_path / "away")
    with pytest.raises(ServerError, match=r"model a: .*model has no version folder"):
        served(asked)


def test_each_config_is_complete_and_new(tmp_path: Path) -> None:
    """Triton takes a config on a reload for all there is, and ignores one that it has seen."""
    asked = options(tmp_path, "a")
    first, second = (model_config(asked, served(asked), tmp_path) for _ in range(2))
    assert {each.name for each in first.input} >= {"model_name", "signature", "images"}
    assert first.HasField("dynamic_batching")
    assert set(first.parameters) == {
        "models_conf",
        "models",
        "warm_up",
        "keep",
        "merge",
        "merge_max_items",
        "merge_xla",
        "pipeline_depth",
    }
    paths = [Path(each.parameters["models_conf"].string_value) for each in (first, second)]
    assert paths[0] != paths[1]
    assert all([model.name for model in read_models_conf(path)] == ["a"] for path in paths)


@pytest.mark.parametrize(("batch_sizes", "requests"), [((), 64), ((1,), 64), ((8, 16), 8), ((100,), 1)])
def test_no_more_requests_meet_than_one_call_holds(batch_sizes: tuple[int, ...], requests: int, tmp_path: Path) -> None:
    """Triton gives the backend together what fits one TensorFlow call of 64 images; more would be copied early."""
    calls = tuple(WarmUp("a", "predict_images", {"images": np.zeros((size, 1), np.uint8)}) for size in batch_sizes)
    asked = replace(options(tmp_path, "a"), warm_up=calls)
    assert model_config(asked, served(asked), tmp_path).max_batch_size == requests


def test_triton_listens_where_it_is_asked() -> None:
    """An IPv6 address reaches Triton's three servers in the form that each takes, and the urls are usable."""
    with running_triton(TritonOptions(models_conf=Path(), models=(), bind="::1")) as triton:
        assert all("[::1]:" in url for url in triton.urls.values())
        with urlopen(triton.metrics_url, timeout=10) as page:
            assert page.status == 200


def test_what_lies_in_the_users_folder_is_no_part_of_triton(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module in the working directory with the name of one that the backend imports does not take its place."""
    (tmp_path / "numpy.py").write_text("raise RuntimeError('not this one')")
    monkeypatch.chdir(tmp_path)
    with running_triton(TritonOptions(models_conf=Path(), models=())) as triton:
        assert triton.is_ready()


def test_echo_alone_has_the_instances_that_were_asked_for(tmp_path: Path) -> None:
    """`-m echo --instances 4` measures four instances, as its row says."""
    (echo,) = assemble(replace(options(tmp_path), models=(), instances=4), tmp_path / "triton").iterdir()
    config = text_format.Parse((echo / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert config.instance_group[0].count == 4


@pytest.mark.parametrize("layout", ["multi", "per-model"])
def test_a_ceiling_is_found_against_as_many_instances_as_serve(layout: str, tmp_path: Path) -> None:
    """What does nothing has the instances of the model under test, merges no requests, and loads no model."""
    asked = replace(options(tmp_path, "a"), instances=4, does_nothing=True, layout=layout)
    (echo,) = assemble(asked, tmp_path / "triton").iterdir()
    config = text_format.Parse((echo / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    assert (config.name, config.instance_group[0].count) == ("echo", 4)
    assert not config.HasField("dynamic_batching")


@pytest.mark.parametrize("layout", ["multi", "per-model"])
def test_inputs_stay_on_a_gpu_where_that_is_asked_for(layout: str, tmp_path: Path) -> None:
    """For inputs on GPU 0 all instances are there and Triton leaves them; any other model is placed by Triton, and has
    its inputs on the host."""
    asked = replace(options(tmp_path, "a"), layout=layout, instances=2)
    found = [config_of(replace(asked, keeps_gpu_inputs=keeps), tmp_path / str(keeps)) for keeps in (True, False)]
    (group,), (plain,) = (each.instance_group for each in found)
    assert (group.kind, list(group.gpus), group.count) == (group.KIND_GPU, [0], 2)
    assert (plain.kind, list(plain.gpus), plain.count) == (plain.KIND_AUTO, [], 2)
    name = "FORCE_CPU_ONLY_INPUT_TENSORS"
    assert [each.parameters[name].string_value for each in found if name in each.parameters] == ["no"]


def config_of(options: TritonOptions, folder: Path) -> model_config_pb2.ModelConfig:
    """The config of the one model that is served."""
    folder.mkdir()
    name = "saved_model" if options.layout == "multi" else "a"
    text = (assemble(options, folder) / name / "config.pbtxt").read_text()
    return text_format.Parse(text, model_config_pb2.ModelConfig())

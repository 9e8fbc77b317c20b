"""docs/migrate.md: from Triton's TensorFlow backend to this one, run as it is written."""

import os
import re
import subprocess
from pathlib import Path
from textwrap import dedent

import pytest
import tritonclient.grpc as triton_grpc
from google.protobuf import text_format
from own_triton import own_triton
from readme import ROOT
from real_parts import BIN
from reported_models import save
from tritonclient.grpc import model_config_pb2

from raybench.config import PER_MODEL
from raybench.servers import repository
from raybench.servers.triton_options import TritonOptions

BLOCKS = re.findall(r"```(sh|python)\n(.*?)```", (ROOT / "docs" / "migrate.md").read_text(encoding="utf-8"), re.DOTALL)
SHELL, PYTHON = ([text for kind, text in BLOCKS if kind == wanted] for wanted in ("sh", "python"))
# As a user of Triton's TensorFlow backend has it.
CONFIG = dedent(
    """\
    name: "ranker"
    platform: "tensorflow_savedmodel"
    default_model_filename: "model.savedmodel"
    max_batch_size: 8
    dynamic_batching { max_queue_delay_microseconds: 100 }
    version_policy { latest { num_versions: 1 } }
    model_warmup [ {
      name: "zeros" batch_size: 4
      inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 2 ] zero_data: true } }
    } ]
    """
)


@pytest.fixture
def users(tmp_path: Path) -> Path:
    """A folder with the user's model repository."""
    import tensorflow as tf

    ranker = tmp_path / "repository" / "ranker"
    x = tf.TensorSpec([None, 2], tf.float32, name="x")
    save(ranker / "1" / "model.savedmodel", lambda x: {"y": 2 * x, "sum": tf.reduce_sum(x, -1)}, x)
    (ranker / "config.pbtxt").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def shell(script: str, cwd: Path) -> None:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["sh", "-e", "-c", script], cwd=cwd, env={**os.environ, "PATH": path}, check=True, timeout=60)


@pytest.mark.slow
def test_a_repository_of_tritons_tensorflow_backend_goes_on(users: Path) -> None:
    """After the steps of the page a plain Triton serves the model with the user's own config."""
    for script in SHELL[:2]:
        shell(script, users)
    with own_triton(users / "repository") as running:
        script = PYTHON[0].replace("localhost:8001", running.url)
        done = subprocess.run([BIN / "python", "-c", script], capture_output=True, text=True, check=True, timeout=60)
        with triton_grpc.InferenceServerClient(running.url) as client:
            config = client.get_model_config("ranker").config
            warmed = client.get_inference_statistics("ranker").model_stats[0].inference_count
    assert done.stdout.split() == ["[[2.", "4.]", "[6.", "8.]]"]
    assert config.max_batch_size == 8
    assert config.dynamic_batching.max_queue_delay_microseconds == 100
    assert {each.name: (list(each.dims), each.HasField("reshape")) for each in config.output} == {
        "y": ([2], False),
        "sum": ([1], True),
    }
    assert warmed >= 1


def test_raybench_takes_the_same_config(users: Path) -> None:
    """`serve --layout per-model` keeps what the user configured beside a SavedModel but for the platform."""
    shell(SHELL[2], users)
    options = TritonOptions(models_conf=users / "models" / "models.conf", layout=PER_MODEL)
    folder = repository.assemble(options, users / "scratch")
    text = (folder / "ranker" / "config.pbtxt").read_text(encoding="utf-8")
    config, before = (text_format.Parse(each, model_config_pb2.ModelConfig()) for each in (text, CONFIG))
    assert (config.backend, config.platform, config.default_model_filename) == ("python", "", "")
    for field in ("max_batch_size", "dynamic_batching", "version_policy", "model_warmup"):
        assert getattr(config, field) == getattr(before, field)
    assert (folder / "ranker" / "1" / "model.savedmodel" / "saved_model.pb").is_file()

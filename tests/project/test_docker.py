"""The images and compose file of docker/: versions agree, nothing is open, and their commands are real ones.

No engine is needed, and none is used: images are not built and containers are not started here.
"""

import http.server
import os
import re
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import docker_parts
import numpy as np
import psutil
import pytest
import yaml
from docker_parts import DOCKER, DOCKERFILES, ROOT, copies, instructions, pins, services, variables, versions
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from real_parts import BIN, TritonUnderTest
from tfs_double import flags as known_flags

from raybench.models.saved_models import format_models_conf, read_models_conf
from raybench.servers import wheel
from raybench.servers.model_server import TF_SERVING_VERSION, ModelServer
from raybench.servers.server_process import ServerProcess, free_ports, wait_until
from raybench.servers.tfserving_server import TfServingOptions, settings_flags

TRITON, TF_SERVING = ("triton_server", "triton_server_cpu"), ("tf_serving_server", "tf_serving_server_cpu")
RAY, MONITORING = ("ray_head", "ray_worker"), ("prometheus", "grafana")


def flags(words: list[str]) -> dict[str, list[str]]:
    """Values by flag: a flag may come more than once."""
    found: dict[str, list[str]] = {}
    for name, _, value in (word.removeprefix("--").partition("=") for word in words if word.startswith("--")):
        found.setdefault(name, []).append(value)
    return found


def test_compose_is_what_the_specification_allows() -> None:
    """compose.yaml has the keys and types that docker compose takes."""
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", DOCKER / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_dockerfiles_pass_the_linter(dockerfile: Path) -> None:
    """Dockerfiles parse, and keep the practices and the shell rules that hadolint knows."""
    done = subprocess.run([BIN / "hadolint", dockerfile], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout


def test_versions_are_those_of_the_lock() -> None:
    """What .env pins is what requirements.lock installs: the exporter, its servers and every Ray node agree."""
    pinned, ours = pins(ROOT / "requirements.lock"), versions()
    assert ours["TENSORFLOW_VERSION"] == pinned["tensorflow"]
    assert ours["NUMPY_VERSION"] == pinned["numpy"]
    assert ours["RAY_VERSION"] == pinned["ray"]
    assert ours["TRITON_VERSION"] == pinned["tritonclient"]
    assert Version(ours["NUMPY_VERSION"]).major < 2
    assert Version(ours["TF_SERVING_VERSION"]) >= Version("2.18")  # before it, no XLA on a GPU
    assert ours["TF_SERVING_VERSION"] == TF_SERVING_VERSION  # which raybench starts by itself where there is Docker


def test_ray_nodes_have_a_python_that_raybench_takes() -> None:
    """The Python of Ray's image is one that raybench declares."""
    declared = re.search(r'^requires-python = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.M)
    assert declared
    assert versions()["PYTHON_TAG"].split("-")[0] in SpecifierSet(declared[1])


def test_tritons_lock_is_requirements_lock() -> None:
    """Every package of Triton's image that raybench has too is of the same version, with hashes and no address."""
    ours, tritons = pins(ROOT / "requirements.lock"), pins(DOCKER / "triton.lock")
    assert {name: tritons[name] for name in tritons.keys() & ours.keys()} == {
        name: ours[name] for name in tritons.keys() & ours.keys()
    }
    assert {"tensorflow", "numpy", "protobuf", "nvidia-cudnn-cu12"} <= tritons.keys()
    assert {name for name in tritons if not name.startswith("nvidia-")} <= ours.keys()
    assert "://" not in (DOCKER / "triton.lock").read_text()


def test_every_version_has_one_place() -> None:
    """Each variable that compose.yaml needs stands in .env, and nothing else does."""
    text = (DOCKER / "compose.yaml").read_text()
    assert variables(text) - {"HOME"} == versions().keys()
    for version in versions().values():
        others = [path.name for path in (*DOCKERFILES, DOCKER / "compose.yaml") if version in path.read_text()]
        assert others == [], version


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_build_arguments_are_given(dockerfile: Path) -> None:
    """Every ARG of a Dockerfile is one that compose.yaml passes from .env, and it passes no other."""
    builds = [service["build"] for service in services().values() if "build" in service]
    (given, *others) = [build["args"] for build in builds if Path(build["dockerfile"]).name == dockerfile.name]
    assert all(other == given for other in others)
    assert set(instructions(dockerfile, "ARG")) == given.keys() <= versions().keys()
    assert given == {name: versions()[name] for name in given}


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_what_is_copied_is_there(dockerfile: Path) -> None:
    """Every COPY takes something that the repository has and .dockerignore lets through."""
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for source, _ in copies(dockerfile):
        assert (ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in allowed), source


@pytest.mark.parametrize("name", services())
def test_nothing_is_open(name: str) -> None:
    """Services run as a user without privileges on a read-only root, and publish on this host's loopback alone."""
    service = services()[name]
    assert int(service["user"].split(":")[0]) > 0
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not service.keys() & {"privileged", "cap_add", "network_mode", "pid", "devices"}
    assert "ipc" not in service or name in TRITON
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in service.get("ports", []))
    assert all(isinstance(volume, dict) for volume in service["volumes"])
    writable = {volume["target"] for volume in service["volumes"] if not volume.get("read_only")}
    assert writable <= {"/raybench/results"}
    assert not any("docker.sock" in volume["source"] for volume in service["volumes"])


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_not_run_as_root(dockerfile: Path) -> None:
    """An image ends with a user by number that is not root's."""
    assert int(instructions(dockerfile, "USER")[-1]) > 0


@pytest.mark.parametrize("name", [name for name in services() if name not in MONITORING])
def test_models_are_read_only(name: str) -> None:
    """Every service that measures or serves sees the models, and none can write them; a missing folder is not made."""
    target = "/raybench/models" if name in RAY else "/models"
    (volume,) = [volume for volume in services()[name]["volumes"] if volume["target"] == target]
    assert volume["read_only"] is True
    assert volume["bind"] == {"create_host_path": False}
    assert (DOCKER / volume["source"]).resolve() == ROOT / "models"


@pytest.mark.parametrize("name", services())
def test_services_say_when_they_are_ready(name: str) -> None:
    """Every service has a health check, a bounded end, and is not started again by itself."""
    service = services()[name]
    assert service["healthcheck"]["test"][0] == "CMD"
    assert re.fullmatch(r"\d+s", service["stop_grace_period"])
    assert service["restart"] == "no"
    assert service["init"] is True


@pytest.mark.parametrize(("gpu", "cpu"), [TRITON, TF_SERVING])
def test_cpu_variants_differ_in_the_gpu_alone(gpu: str, cpu: str) -> None:
    """The plain name takes a GPU; its variant in profile cpu takes none and is otherwise the same server."""
    there = {key: value for key, value in services()[gpu].items() if key not in ("deploy", "image")}
    here = {key: value for key, value in services()[cpu].items() if key not in ("profiles", "image", "networks")}
    assert here == there
    assert services()[gpu]["deploy"]["resources"]["reservations"]["devices"][0]["capabilities"] == ["gpu"]
    assert "profiles" not in services()[gpu]  # `docker compose build` builds it
    assert services()[cpu]["profiles"] == ["cpu"]
    assert "deploy" not in services()[cpu]
    assert services()[cpu]["networks"] == {"default": {"aliases": [gpu]}}
    assert services()[gpu]["image"].removesuffix("-gpu") == services()[cpu]["image"]


def test_triton_has_shared_memory() -> None:
    """Triton and Ray get more shared memory than Docker's 64 MiB: a 15 MB request passes through it."""
    assert {services()[name]["shm_size"] for name in (*TRITON, *RAY)} == {"4gb"}
    for name in RAY:
        assert int(flags(services()[name]["command"])["object-store-memory"][0]) < 4 * 2**30


@pytest.mark.parametrize("name", TRITON)
def test_triton_reads_what_a_client_on_this_host_shares(name: str) -> None:
    """`--shared-memory system` works with Triton's container: it lets clients share memory, and has this host's."""
    assert flags(services()[name]["command"])["allow-client-shm"] == ["true"]
    assert services()[name]["ipc"] == "host"


def test_triton_runs_as_the_launcher_runs_it(triton: TritonUnderTest) -> None:
    """Triton's flags in compose are the launcher's, but for addresses, folders, the prefix in a shared /dev/shm, and
    the one that the wheel's does not need."""
    command = services()["triton_server"]["command"]
    own = re.compile(
        r"--(model-repository|backend-directory|(grpc|http|metrics)-(address|port)|.*-prefix-name|allow-client-shm)=?"
    )
    running = psutil.Process(triton.process.pid).cmdline()
    assert [command[0], Path(running[0]).name] == ["tritonserver"] * 2
    assert [flag for flag in command[1:] if not own.match(flag)] == [
        flag for flag in running[1:] if not own.match(flag)
    ]
    assert "--model-repository=/opt/raybench/triton_models" in command


def test_triton_knows_its_flags() -> None:
    """Every flag is one that tritonserver has; asked of the wheel's 2.51, which is older than the image's, and that of
    2.68."""
    tritonserver = wheel.find()
    known = subprocess.run(
        [tritonserver / "bin" / "tritonserver", "--help"], env=wheel.environment(tritonserver), capture_output=True,
        text=True, timeout=60, check=False,
    )  # fmt: skip
    names = set(re.findall(r"^\s*--([a-z-]+)", known.stdout + known.stderr, re.M))
    assert len(names) > 50
    assert flags(services()["triton_server"]["command"]).keys() <= names | {"allow-client-shm"}


def test_tritons_models_are_where_its_configuration_says() -> None:
    """config.pbtxt looks for models.conf where compose mounts it, and Triton for models where the image has them."""
    config = (ROOT / "triton_models" / "saved_model" / "config.pbtxt").read_text()
    assert '"models_conf" value { string_value: "/models/models.conf" }' in config
    (repository,) = flags(services()["triton_server"]["command"])["model-repository"]
    targets = dict(copies(DOCKER / "triton.Dockerfile"))
    for model in ("saved_model", "echo"):
        assert targets[f"triton_models/{model}"] == f"{repository}/{model}"


def test_tf_serving_has_xla_and_grows() -> None:
    """TF Serving gets flags of its release alone, XLA on, its metrics, and GPU memory as it needs it."""
    service = services()["tf_serving_server"]
    given = flags(service["command"])
    assert given.keys() <= known_flags.KNOWN
    assert given["xla_gpu_compilation_enabled"] == given["xla_cpu_compilation_enabled"] == ["true"]
    assert service["environment"]["TF_FORCE_GPU_ALLOW_GROWTH"] == "true"
    (mounted,) = [v for v in service["volumes"] if v["target"] == "/opt/raybench"]
    for path in (given["monitoring_config_file"][0], service["entrypoint"][1], service["healthcheck"]["test"][2]):
        assert (DOCKER / mounted["source"] / Path(path).relative_to(mounted["target"])).is_file()


def test_tf_serving_runs_as_raybench_starts_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """TF Serving's flags in compose are those that raybench gives it for 128 requests in flight."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    started = settings_flags(ModelServer("binary", "2.20.0"), TfServingOptions(models_conf=Path("a"), in_flight=128))
    given = flags(services()["tf_serving_server"]["command"])
    assert {name: given.get(name) for name in started} == {name: [value] for name, value in started.items()}


@pytest.fixture
def serving(tmp_path: Path) -> Any:
    """start.sh, run with a stand-in for tensorflow_model_server that prints its flags and its models.conf."""
    stand_in = tmp_path / "bin" / "tensorflow_model_server"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/bash\nprintf "%s\\n" "${@:2}"\ncat "${1#--model_config_file=}"\n')
    stand_in.chmod(0o755)
    environment = {"PATH": f"{stand_in.parent}:/usr/bin:/bin", "TMPDIR": str(tmp_path)}

    def start(conf: Path, *words: str) -> "subprocess.CompletedProcess[str]":
        command = ["bash", DOCKER / "tfserving" / "start.sh", conf, *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)

    return start


def test_tf_serving_gets_absolute_base_paths(serving: Any, tmp_path: Path) -> None:
    """The resolved copy names the folders that raybench reads from the same models.conf, which is not touched."""
    conf = tmp_path / "models & co" / "models.conf"
    conf.parent.mkdir()
    text = """
    model_config_list {
      config { name: "a" base_path: "a" model_platform: "tensorflow" } config { name: "b" base_path:'sub/b' }
      config {
        name: "base_path"
        base_path : "./c"
        model_version_policy { specific { versions: 3 } }
      }
      config { name: "d", base_path: "/elsewhere/d" }
    }
    """
    conf.write_text(text)
    done = serving(conf, "--port=8500", "--max_num_load_retries=0")
    assert done.stdout.splitlines()[:2] == ["--port=8500", "--max_num_load_retries=0"], done.stderr
    resolved = tmp_path / "elsewhere.conf"
    resolved.write_text(done.stdout.partition("retries=0\n")[2])
    assert "./" not in format_models_conf(read_models_conf(resolved))
    assert re.findall(r"base_path ?: ?[\"'](.)", resolved.read_text()) == ["/"] * 4
    assert read_models_conf(resolved) == read_models_conf(conf)
    assert conf.read_text() == text


def test_tf_serving_takes_addresses_as_they_are(serving: Any, tmp_path: Path) -> None:
    """A base path in a bucket stays what it is."""
    conf = tmp_path / "models.conf"
    conf.write_text('model_config_list { config { name: "a" base_path: "gs://bucket/a" } }')
    assert 'base_path: "gs://bucket/a"' in serving(conf).stdout


def test_tf_serving_without_models_says_so(serving: Any, tmp_path: Path) -> None:
    """Where nothing was exported, the server ends with the way to do it."""
    done = serving(tmp_path / "models.conf")
    assert done.returncode == 2
    assert "raybench export" in done.stderr


@pytest.mark.parametrize(("status", "is_ready"), [(200, True), (404, False), (None, False)])
def test_tf_servings_health_check_tells(status: int | None, is_ready: bool) -> None:
    """ready.sh succeeds where the metrics answer 200, and fails for another answer or none."""

    class Metrics(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/monitoring/prometheus/metrics" else 500)
            self.end_headers()

        def log_message(self, *words: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Metrics) as server:
        if status:
            threading.Thread(target=server.serve_forever, daemon=True).start()
        else:
            server.socket.close()
        command = ["bash", DOCKER / "tfserving" / "ready.sh", str(server.server_port)]
        done = subprocess.run(command, timeout=20, capture_output=True, check=False)
        if status:
            server.shutdown()
    assert (done.returncode == 0) is is_ready, done.stderr


def test_metrics_are_where_the_health_check_looks() -> None:
    """monitoring.config turns on the path that ready.sh asks."""
    (path,) = re.findall(r'enable: true path: "(.*)"', (DOCKER / "tfserving" / "monitoring.config").read_text())
    assert f"GET {path} " in (DOCKER / "tfserving" / "ready.sh").read_text()


@pytest.mark.parametrize("name", RAY)
def test_ray_knows_its_flags(name: str) -> None:
    """Every flag of Ray's nodes is one that `ray start` has."""
    from ray.scripts.scripts import start

    known = {flag.removeprefix("--") for option in start.params for flag in option.opts}
    command = services()[name]["command"]
    assert command[:2] == ["ray", "start"]
    assert flags(command).keys() <= known
    assert "block" in flags(command)


@pytest.mark.parametrize("name", RAY)
def test_rays_token_is_never_baked_in(name: str) -> None:
    """Ray's nodes ask for a token, and it comes from the user's own file at start."""
    service = services()[name]
    assert service["environment"]["RAY_AUTH_MODE"] == "token"
    assert service["environment"]["RAY_AUTH_TOKEN_PATH"] == "/run/secrets/ray_auth_token"
    assert service["secrets"] == ["ray_auth_token"]
    assert "RAY_AUTH_TOKEN" not in service["environment"]
    texts = [path.read_text() for path in (*DOCKERFILES, DOCKER / ".env")]
    assert not any("TOKEN" in text or "ray_auth" in text for text in texts)


@pytest.mark.parametrize("name", MONITORING)
def test_what_watches_cannot_change(name: str) -> None:
    """Prometheus and Grafana see their own configuration alone, read-only, and keep what they write in memory."""
    service = services()[name]
    (volume,) = service["volumes"]
    assert (DOCKER / volume["source"]).is_dir()
    assert volume["read_only"] is True
    assert service["tmpfs"]


def test_grafana_is_for_looking() -> None:
    """Whoever is on this host may look without a password, and nobody can log in with Grafana's own."""
    environment = services()["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"


def test_prometheus_finds_ray() -> None:
    """Prometheus asks the service that is Ray's head for its nodes, on the dashboard's port, with Ray's own token."""
    (scraped,) = yaml.safe_load((DOCKER / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]
    (discovery,) = scraped["http_sd_configs"]
    port = services()["ray_head"]["ports"][0].rpartition(":")[2]
    assert discovery["url"] == f"http://ray_head:{port}/api/prometheus/sd"
    assert discovery["authorization"]["credentials_file"] == f"/run/secrets/{services()['prometheus']['secrets'][0]}"


def test_the_page_names_services_that_exist() -> None:
    """Every docker compose line of docs/docker.md starts, builds or enters a service that compose.yaml has."""
    lines = re.findall(r"^docker compose -f docker/compose.yaml (.*)$", (ROOT / "docs" / "docker.md").read_text(), re.M)
    named = {word for line in lines for word in line.partition("#")[0].split() if "_" in word and ":" not in word}
    assert {"triton_server", "tf_serving_server"} <= named
    assert named <= services().keys()


def test_interpolation_is_that_of_compose() -> None:
    """What these tests read for a variable is what docker compose puts there."""
    assert docker_parts.interpolated("${A:?} ${B:-x} ${C:-${A}/y}", {"A": "a"}) == "a x a/y"
    with pytest.raises(KeyError):
        docker_parts.interpolated("${A:?}", {})


@pytest.mark.slow
def test_tritons_image_serves_outside_a_container(models: Path, tmp_path: Path) -> None:
    """With triton.lock's packages alone, the image's model repository and compose's flags answer as a model should.

    The tritonserver is the wheel's, the Python this one; left out are the packages for CUDA, and a flag that it
    is too old for.
    """
    python = _environment_of_the_image(tmp_path / "venv")
    repository = _repository_of_the_image(tmp_path, models)
    tritonserver = wheel.find()
    grpc, rest, metrics = free_ports(3)
    flags_of_compose = [word for word in services()["triton_server"]["command"][1:] if "client-shm" not in word]
    command = [
        str(tritonserver / "bin" / "tritonserver"),
        *(word.replace("/opt/raybench/triton_models", str(repository)) for word in flags_of_compose),
        f"--backend-directory={wheel.assemble_backends(tritonserver, tmp_path / 'backends')}",
        f"--backend-config=python,shm-region-prefix-name=raybench-docker-{os.getpid()}",
        "--grpc-address=127.0.0.1", "--http-address=127.0.0.1", "--metrics-address=127.0.0.1",
        f"--grpc-port={grpc}", f"--http-port={rest}", f"--metrics-port={metrics}",
    ]  # fmt: skip
    environment = wheel.environment(tritonserver)
    environment["PATH"] = f"{python.parent}:{environment['PATH']}"
    health = [word.replace(":8000/", f":{rest}/") for word in services()["triton_server"]["healthcheck"]["test"][1:]]
    process = ServerProcess(
        command, env=environment, folder=tmp_path, reason=re.compile(r"(failed to load .*)()"),
        sweep=f"/dev/shm/raybench-docker-{os.getpid()}*",
    )  # fmt: skip
    try:
        is_healthy = lambda: subprocess.run(health, capture_output=True, check=False).returncode == 0  # noqa: E731
        wait_until(is_healthy, process, what="Triton", timeout_s=200)
        server = TritonUnderTest(f"127.0.0.1:{grpc}", models, process)
        x = np.array([[1, 2], [3, 4]], np.float32)
        np.testing.assert_array_equal(server.call("scale", "times", x=x)["y"], 3 * x)
    finally:
        process.stop(20)


def _environment_of_the_image(venv: Path) -> Path:
    """A Python with what the Dockerfile installs, CUDA left out."""
    requirements = re.split(r"\n(?=[a-z])", (DOCKER / "triton.lock").read_text())
    lock = venv.with_suffix(".lock")
    lock.write_text("\n".join(each for each in requirements if not each.startswith("nvidia-")))
    python = venv / "bin" / "python"
    subprocess.run([BIN / "uv", "venv", "--python", sys.executable, venv], check=True, timeout=60, capture_output=True)
    install = [BIN / "uv", "pip", "install", "--system-certs", "--python", python, "--no-deps", "--require-hashes"]
    subprocess.run([*install, "-r", lock], check=True, timeout=600, capture_output=True)
    return python


def _repository_of_the_image(folder: Path, models: Path) -> Path:
    """The model repository as the Dockerfile lays it out, below `folder`; /models is `models`."""
    for source, target in copies(DOCKER / "triton.Dockerfile"):
        if source.startswith("triton_models/"):
            shutil.copytree(ROOT / source, folder / target.lstrip("/"), ignore=shutil.ignore_patterns("__pycache__"))
    repository = folder / "opt" / "raybench" / "triton_models"
    config = repository / "saved_model" / "config.pbtxt"
    (folder / "models").symlink_to(models)  # the image's has a plain name
    config.write_text(config.read_text().replace('"/models/models.conf"', f'"{folder / "models" / "models.conf"}"'))
    return repository

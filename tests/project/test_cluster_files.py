"""cluster.yaml, its twin for machines of one's own and the RayJob: held against Ray's loader and Kubernetes's schemas.

Nothing is started, and no network is used.
"""

import copy
import json
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import jsonschema
import kubernetes_validate
import pytest
import ray.scripts.scripts
import yaml
from docker_parts import pins, versions
from ray.autoscaler._private.util import prepare_config, validate_config
from readme import ROOT, lines
from real_parts import BIN

from raybench.cli import main

AWS, ON_PREMISE = ROOT / "cluster.yaml", ROOT / "examples" / "cluster-on-premise.yaml"
CLUSTERS = [AWS, ON_PREMISE]
MANIFEST = ROOT / "examples" / "kuberay-rayjob.yaml"
RAYJOB = json.loads((ROOT / "tests" / "data" / "kuberay-rayjob.schema.json").read_text())
PINNED = pins(ROOT / "requirements.lock")
RAY = ray.scripts.scripts.cli
KUBERNETES = "1.34"
Change = Callable[[dict[str, Any]], object]


def loaded(config: dict[str, Any]) -> dict[str, Any]:
    """A cluster's configuration as `ray up` has it before it asks a cloud: with Ray's defaults, and valid."""
    prepared = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def read(path: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(path.read_text()))


def each_id(value: Any) -> str:
    return value.name if isinstance(value, Path) else ""


@pytest.mark.parametrize("path", CLUSTERS, ids=each_id)
def test_ray_takes_the_cluster(path: Path) -> None:
    """`ray up` loads the file, fills in its defaults, and finds the result valid."""
    config = loaded(read(path))
    workers = {name: t for name, t in config["available_node_types"].items() if t["max_workers"]}
    assert sum(each["max_workers"] for each in workers.values()) == config["max_workers"] > 1


BROKEN: list[tuple[str, Path, Change]] = [
    ("a key that Ray does not know", AWS, lambda c: c.update(spot=False)),
    ("a head that is no type", AWS, lambda c: c.update(head_node_type="heads")),
    ("fewer workers in all than of the types", AWS, lambda c: c.update(max_workers=4)),
    ("a type without a configuration", AWS, lambda c: c["available_node_types"]["client"].pop("node_config")),
    ("a count that is none", AWS, lambda c: c["available_node_types"]["client"].update(min_workers="4")),
    ("a command that is no text", AWS, lambda c: c["setup_commands"].append({"pip": "raybench"})),
    ("no address of a head", ON_PREMISE, lambda c: c["provider"].pop("head_ip")),
    ("types of nodes on premise", ON_PREMISE, lambda c: c.update(available_node_types={"client": {}})),
    ("a user's key of another name", ON_PREMISE, lambda c: c["auth"].update(ssh_key="~/.ssh/id_ed25519")),
]


@pytest.mark.parametrize(("path", "change"), [pytest.param(*each[1:], id=each[0]) for each in BROKEN])
def test_ray_refuses_a_broken_cluster(path: Path, change: Change) -> None:
    """The check above sees a mistake: Ray's loader or its schema refuses the file with it."""
    config = read(path)
    change(config)
    with pytest.raises((ValueError, jsonschema.ValidationError, click.ClickException)):
        loaded(config)


@pytest.mark.parametrize("path", CLUSTERS, ids=each_id)
def test_nodes_neither_come_nor_go(path: Path) -> None:
    """No node joins or leaves a cluster that measures: counts are fixed, and none is a spot instance."""
    types = loaded(read(path))["available_node_types"]
    assert [name for name, each in types.items() if each["min_workers"] != each["max_workers"]] == []
    assert "InstanceMarketOptions" not in json.dumps(types)


@pytest.mark.parametrize("path", CLUSTERS, ids=each_id)
def test_nodes_have_the_versions_of_the_lock(path: Path) -> None:
    """Every node installs requirements.lock into the Python of Ray's image, and nothing of Ray's own defaults."""
    config = loaded(read(path))
    commands = [*config["head_setup_commands"], *config["worker_setup_commands"]]
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True, timeout=60)
        if "pip install" in command:
            assert re.search(r"--require-hashes|--no-deps|\w==\d", command), command
    assert {found for c in commands for found in re.findall(r"--python (\d\S*)", c)} == {
        versions()["PYTHON_TAG"].split("-")[0]
    }
    assert not re.search(r"nightly|latest|dev0|anaconda", " ".join(commands))
    assert config["file_mounts"]["~/raybench/requirements.lock"] == "requirements.lock"
    assert set(re.findall(r"boto3==[\d.]+", path.read_text())) == ({"boto3==1.44.5"} if path == AWS else set())


def test_both_clusters_are_set_up_alike() -> None:
    """Where machines come from changes nothing in what is installed on them."""
    aws, ours = map(read, CLUSTERS)
    assert aws["setup_commands"] == ours["setup_commands"]
    assert aws["file_mounts"] == ours["file_mounts"]


@pytest.mark.parametrize("path", CLUSTERS, ids=each_id)
def test_a_token_is_asked_for(path: Path) -> None:
    """Every node starts with token authentication and the user's token, and shows its dashboard to itself alone."""
    config = loaded(read(path))
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    for commands in (config["head_setup_commands"], config["worker_setup_commands"]):
        assert any("RAY_AUTH_MODE=token" in command and ">> ~/.bashrc" in command for command in commands)
    assert "--dashboard-host=127.0.0.1" in config["head_start_ray_commands"][-1]


def started(line: str, folder: Path) -> list[str]:
    """The words with which a line calls `ray`, as a shell splits them on a node with a GPU."""
    (folder / "ray").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (folder / "ray").chmod(0o755)
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "RAY_HEAD_IP": "192.0.2.10"}
    shell = ["bash", "-c", line.replace("/dev/nvidia0", "/dev/null").replace("ulimit -n 65536; ", "")]
    return subprocess.run(shell, env=environment, check=True, capture_output=True, text=True).stdout.splitlines()


def flags_of(command: click.Command, words: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """The flags in words that follow a group's name, and those that the command has which they name."""
    rest = list(words)
    while isinstance(command, click.Group):
        command = command.commands[rest.pop(0)]
    return {word.split("=")[0] for word in rest if word.startswith("--")}, {o for p in command.params for o in p.opts}


@pytest.mark.parametrize("path", CLUSTERS, ids=each_id)
def test_ray_starts_with_flags_that_it_has(path: Path, tmp_path: Path) -> None:
    """The lines that start Ray have flags of the pinned Ray; a node with a GPU is the servers', by either file."""
    config = read(path)
    for role in ("head", "worker"):
        words = started(config[f"{role}_start_ray_commands"][-1], tmp_path)
        given, known = flags_of(RAY, tuple(words))
        assert given <= known
    resources = [word.partition("=")[2] for word in words if word.startswith("--resources=")]
    ours = [json.loads(each) for each in resources] or [config["available_node_types"]["server"]["resources"]]
    assert [each["server"] for each in ours] == [1]


def test_the_pages_call_ray_as_it_is() -> None:
    """The `ray` commands of the docs have words of the pinned Ray, and the jobs that they submit those of raybench."""
    ours = [line.words for line in lines() if line.words[0] == "ray"]
    assert {"up", "job", "down"} <= {words[1] for words in ours}
    for words in ours:
        mine, theirs = words[1:], ()
        if "--" in words:
            mine, theirs = words[1 : words.index("--")], words[words.index("raybench", words.index("--")) + 1 :]
        for command, each in ((RAY, mine), *([(main, theirs)] if theirs else [])):
            given, known = flags_of(command, each)
            assert given <= known, words


def test_what_is_mounted_is_enough(tmp_path: Path) -> None:
    """The parts of the checkout that are copied to a node are all that raybench is built from."""
    for remote, local in read(AWS)["file_mounts"].items():
        if remote.startswith("~/raybench/"):
            copy_to = shutil.copytree if (ROOT / local).is_dir() else shutil.copy
            copy_to(ROOT / local, tmp_path / remote.removeprefix("~/raybench/"))
    build = [BIN / "uv", "build", "--offline", "--wheel", "--no-build-isolation", "--python", sys.executable]
    subprocess.run([*build, "-o", tmp_path / "dist", tmp_path], check=True, timeout=120, capture_output=True)
    with zipfile.ZipFile(next((tmp_path / "dist").glob("raybench-*.whl"))) as wheel:
        assert {"raybench/models/saved_models.py", "triton_models/saved_model/1/model.py"} <= set(wheel.namelist())


def pods(manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The pods that a RayJob describes, the head's first."""
    cluster = manifest["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    templates = [{"metadata": {}, **group["template"]} for group in groups]
    return [{"apiVersion": "v1", "kind": "Pod", **template} for template in templates]


def check(manifest: dict[str, Any]) -> None:
    """Raise where KubeRay or Kubernetes would refuse a manifest, or drop a part of it."""
    jsonschema.validate(manifest, RAYJOB)
    for pod in pods(manifest):
        kubernetes_validate.validate(pod, KUBERNETES, strict=True)


def container(manifest: dict[str, Any], pod: int) -> dict[str, Any]:
    return dict(pods(manifest)[pod]["spec"]["containers"][0])


def test_the_manifest_is_a_rayjob() -> None:
    """The manifest has the fields and types of a RayJob, and its pods those of Kubernetes."""
    check(read(MANIFEST))


BROKEN_MANIFESTS: list[tuple[str, Change]] = [
    ("a field that KubeRay does not know", lambda m: m["spec"].update(shutdownAfterJob=True)),
    ("a deadline that is text", lambda m: m["spec"].update(activeDeadlineSeconds="2h")),
    ("a number for ray start", lambda m: m["spec"]["rayClusterSpec"]["headGroupSpec"].update(rayStartParams={"a": 0})),
    ("a group without its least size", lambda m: m["spec"]["rayClusterSpec"]["workerGroupSpecs"][0].pop("minReplicas")),
    ("a pod's field in the wrong place", lambda m: pods(m)[0]["spec"].update(volumeMounts=[])),
    ("a container's field misspelt", lambda m: pods(m)[1]["spec"]["containers"][0].update(resource={})),
    ("a variable that is no text", lambda m: pods(m)[1]["spec"]["containers"][0]["env"][0].update(value=0)),
]


@pytest.mark.parametrize("change", [pytest.param(change, id=name) for name, change in BROKEN_MANIFESTS])
def test_a_broken_manifest_is_seen(change: Change) -> None:
    """The check above sees a mistake in KubeRay's part and in Kubernetes's."""
    manifest = read(MANIFEST)
    change(manifest)
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError)):
        check(manifest)


def test_the_manifest_measures_once_on_a_fixed_cluster() -> None:
    """The RayJob never measures a second time by itself, and its cluster neither grows nor outlives it."""
    spec = read(MANIFEST)["spec"]
    assert spec["backoffLimit"] == spec["submitterConfig"]["backoffLimit"] == 0
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["activeDeadlineSeconds"] > 0
    for group in spec["rayClusterSpec"]["workerGroupSpecs"]:
        assert group["replicas"] == group["minReplicas"] == group["maxReplicas"]
    for resources in (container(read(MANIFEST), pod)["resources"] for pod in (0, 1)):
        assert resources["requests"] == resources["limits"]  # no pod gets more or less than it asked for


def test_the_manifest_has_the_versions_of_the_lock() -> None:
    """The cluster runs the Ray of requirements.lock, from the image of docker/raybench.Dockerfile, with a token."""
    manifest = read(MANIFEST)
    cluster = manifest["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == PINNED["ray"] == versions()["RAY_VERSION"]
    images = {container(manifest, pod)["image"] for pod in (0, 1)}
    assert images == {f"registry.example/raybench/ray:{PINNED['ray']}"}
    assert cluster["authOptions"] == {"mode": "token"}


def test_the_manifest_runs_a_command_that_there_is() -> None:
    """The entrypoint is a `raybench run` with flags that it has, and as many workers as the clients have CPUs."""
    manifest = read(MANIFEST)
    _, command, *words = shlex.split(manifest["spec"]["entrypoint"])
    known = main.commands[command].make_context("run", words).params
    (group,) = manifest["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert known["workers"] == group["replicas"] * int(container(manifest, 1)["resources"]["limits"]["cpu"])
    mounts = {mount["mountPath"] for mount in container(manifest, 0)["volumeMounts"]}
    assert {known["models"], known["out"]} == mounts


def test_clients_stay_apart() -> None:
    """Every client pod is on a node of its own, and none beside Triton; no pod runs as root."""
    head, client = pods(read(MANIFEST))
    (term,) = client["spec"]["affinity"]["podAntiAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    (expression,) = term["labelSelector"]["matchExpressions"]
    assert {client["metadata"]["labels"]["app"], "triton"} == set(expression["values"])
    assert all(pod["spec"]["securityContext"]["runAsNonRoot"] for pod in (head, client))

"""What one run does: frozen values, declared once for the flags, the YAML and its schema."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, cast

from pydantic import AfterValidator, BaseModel, Field, model_validator

from raybench.config.credentials import Headers
from raybench.config.input_texts import InputText
from raybench.config.input_values import Ranges, Shapes, TextLength
from raybench.config.load_settings import LOAD_SETTINGS, LoadSettings, alternatives
from raybench.config.model_folders import ModelFolders, named_folders
from raybench.config.protocols import is_json
from raybench.config.server_settings import KNOBS
from raybench.config.server_spec import Layout, ServerKind, ServerSpec, Urls, labelled, server_specs
from raybench.config.setting import (
    DECLARED,
    LONGEST_S,
    AnyOf,
    Flag,
    Name,
    Remedy,
    Setting,
    SomeOf,
    Text,
    Unit,
    settings_of,
)
from raybench.config.threshold import threshold

CONTINUE: Final = "continue"  # where a run lost a worker or a node
STOP: Final = "stop"
PRELOAD: Final = "preload"  # inputs are encoded before the start
STREAM: Final = "stream"  # or read and encoded while they are sent
VARIANTS = ("no-opt", "xla-amp")
LARGEST_SEED = 2**32 - 1  # of Keras and of numpy
EXPORTED = "predict_images"  # the main signature of the models that `raybench export` writes
_DEFAULT_BUDGET = "1GiB"
_UNIT_BYTES = {"MiB": 2**20, "GiB": 2**30}


def _threshold(text: str) -> str:
    if threshold(text) is None:
        raise ValueError("write one like p50<50ms, error_rate<1% or throughput>100")
    return text


_MOST_CHOICE = 10_000_000
Choice = Annotated[int, Field(ge=0, le=_MOST_CHOICE), Remedy("give a whole number, or 0 for the server's own choice")]
Instances = Annotated[int, Field(ge=1, le=1_000)]
ThresholdText = Annotated[str, AfterValidator(_threshold)]


class Benchmark(BaseModel):
    """One run. Field names are the flags' and the YAML keys' words.

    It is made from the keys of a YAML: load settings beside the run's are the defaults of each of `loads`, which may be
    left out; all are resolved. Raises pydantic's ValidationError, which `config.load` turns into sentences.
    """

    model_config = DECLARED

    server: Annotated[SomeOf[ServerKind], Flag(short="-s")] = Field(
        ("local", "triton"), description="Servers to measure: triton, tfserving, local (TensorFlow in process) or fake."
    )
    url: Urls = Field(
        default={},
        description="Measure already running servers, as KIND=HOST:PORT (gRPC) or KIND=http://HOST:PORT; separate "
        "both ports of one, or several that share the load, by commas.",
    )
    tls_ca: Annotated[Text | None, Flag(shown="plain text")] = Field(
        None, description="Use TLS to servers given by url: PEM file of the certificate authority, or system."
    )
    tls_cert: Text | None = Field(None, description="PEM file with the client certificate, for mutual TLS.")
    tls_key: Text | None = Field(None, description="PEM file with the private key of --tls-cert.")
    tls_server_name: Annotated[Text | None, Flag(shown="the host of the url")] = Field(
        None, description="Host name to expect in the server's certificate."
    )
    header: Annotated[Headers, Flag(short="-H")] = Field(
        default={},
        description="Send KEY=VALUE with every call to a server given by url; $NAME is an environment variable.",
    )
    instances: SomeOf[Instances] = Field(
        (1,), description="Model instances in Triton; each number, such as 1,2, is measured as a server of its own."
    )
    layout: Annotated[AnyOf[Layout], Flag(shown="multi; a Triton given by url keeps its own")] = Field(
        (), description="Serve all SavedModels behind one Triton model (multi), or each as its own (per-model)."
    )
    merge_max: SomeOf[Choice] = Field(
        (0,),
        description="Most items that a server may merge into one TensorFlow call; 1: none, 0: its own choice "
        "(Triton 64, TensorFlow Serving none). Several values, such as 1,64, are servers of their own, here and below.",
    )
    merge_delay: SomeOf[Choice] = Field((0,), description="Microseconds that a server waits for requests to merge.")
    merge_threads: SomeOf[Choice] = Field(
        (0,), description="Threads with which TensorFlow Serving computes merged requests; 0: one for each core."
    )
    intra_op_threads: SomeOf[Choice] = Field(
        (0,), description="TensorFlow's threads inside an operation; 0: one for each core."
    )
    inter_op_threads: SomeOf[Choice] = Field(
        (0,), description="TensorFlow's threads between operations; 0: one for each core."
    )
    pipeline_depth: SomeOf[Choice] = Field(
        (0,),
        description="TensorFlow calls in progress in a Triton instance, one of them computing; 0: 3 on a GPU, else 1.",
    )
    mix: bool = Field(False, description="Send requests round robin over all models in one trial.")
    models: Text = Field("models", description="Folder that holds models.conf.")
    saved_models: Annotated[ModelFolders, Flag(is_absent=True)] = Field(
        default={}, description="Folders of SavedModels by model name, like -m NAME=FOLDER."
    )
    stability_percentage: Annotated[float, Remedy("give a percentage above 0, such as 10"), Unit("percent")] = Field(
        10.0, gt=0, le=1e6, description="Largest spread between windows that still counts as steady, in percent."
    )
    rounds: int = Field(1, ge=1, le=1_000, description="Measure every row this many times; verdicts need 2 or more.")
    baseline: Annotated[str | None, Flag(shown="local, else the first")] = Field(
        None, description="Server that the others are compared with."
    )
    seed: int = Field(0, ge=0, le=LARGEST_SEED, description="Seed of the made inputs and of the order of trials.")
    input: Annotated[AnyOf[InputText], Flag(shown="made from the signature: photos, random values")] = Field(
        (),
        description=(
            "Where inputs come from, SOURCE or NAME=SOURCE for one input: photos, noise, random, zero, a folder of "
            "images, .npz, .npy, perf_analyzer's .json or folder, .parquet, .jsonl, .csv or .tfrecord."
        ),
    )
    images: InputText = Field("photos", description="Old name of --input, for photos, noise, or a folder.")
    shape: Shapes = Field(
        default={}, description="Sizes of one item of an input, as NAME:D,D; of the whole input without a batch axis."
    )
    range: Ranges = Field(
        default={}, description="Make an input's values in [LOW, HIGH), as NAME:LOW,HIGH; pixels include HIGH."
    )
    string_length: Annotated[TextLength | None, Flag(shown="16 letters")] = Field(
        None, description="Number of letters in each made string."
    )
    string_data: Text | None = Field(None, description="Send this text as every string, instead of made ones.")
    feed: Literal["preload", "stream"] = Field(
        PRELOAD, description="Encode all inputs before the start (preload), or read them during the trial (stream)."
    )
    memory_budget: Annotated[
        str | None,
        Flag(shown="1GiB; beyond that a part is sent again"),
        Remedy("write a size such as 512MiB"),
        Unit("size"),
    ] = Field(
        None,
        pattern=r"^[1-9][0-9]{0,8}(MiB|GiB)$",
        description="Memory for inputs over all workers, such as 512MiB.",
    )
    jpeg_quality: int = Field(90, ge=1, le=100, description="Quality of JPEG files, for inputs that take them.")
    heartbeat_timeout: Annotated[float, Remedy("give a time in seconds of 1 or more"), Unit("seconds")] = Field(
        10.0, ge=1, le=LONGEST_S, description="Consider a worker lost after this many seconds without a sign of life."
    )
    on_loss: Literal["continue", "stop"] = Field(
        CONTINUE, description="What to do when a worker or a node is lost: continue or stop."
    )
    address: Annotated[Text | None, Flag(shown="raybench starts its own")] = Field(
        None, description="Address of the Ray cluster to join."
    )
    wait_for_workers: Annotated[float, Remedy(f"give a time in seconds, at most {LONGEST_S}"), Unit("seconds")] = Field(
        0.0, ge=0, le=LONGEST_S, description="Seconds to wait until the Ray cluster has enough CPUs for the workers."
    )
    server_node: Annotated[Text | None, Flag(shown="this host")] = Field(
        None, description="Start servers on the cluster's node that has this custom Ray resource."
    )
    server_bind: Text = Field("127.0.0.1", description="Address on which the servers that raybench starts listen.")
    out: Text = Field("results", description="Folder for results folders.")
    name: Name = Field("run", description="Name of the run, and of its results folder.")
    ui: Annotated[Literal["live", "plain", "none"], Flag(is_menu=True)] = Field(
        "live", description="Show progress as live bars, plain lines or not at all."
    )
    max_error_rate: Annotated[float, Remedy("give a share between 0 and 1")] = Field(
        0.0, ge=0, le=1, description="Exit with 5 above this share of failed requests."
    )
    threshold: AnyOf[ThresholdText] = Field(
        (), description="Exit with 99 where a row misses this or cannot be judged, such as p50<50ms."
    )
    verify: bool = Field(True, description="Compare sampled answers with TensorFlow's.")
    calibrate: Annotated[bool | None, Flag(shown="if raybench starts Triton")] = Field(
        None, description="Send the same load to a model that does nothing, to find the client's ceiling."
    )
    tolerance: Annotated[
        float | None, Remedy("give a share above 0"), Flag(shown="0.0001 to 0.3, by precision and device")
    ] = Field(None, gt=0, lt=1e9, description="Largest difference from TensorFlow's answer, relative to its values.")
    require_gpu: bool = Field(False, description="Exit with 2 where TensorFlow computes on the CPU.")
    strict: bool = Field(False, description="Exit with 3 if a trial is skipped, degraded or unstable.")
    loads: tuple[LoadSettings, ...]

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, values: Mapping[str, object]) -> dict[str, object]:
        return resolved(values)

    @property
    def sources(self) -> tuple[str, ...]:
        """Where inputs come from, as --input has it; nothing where they are made from the signature."""
        is_default = self.images == RUN_SETTINGS["images"].default
        return self.input or (() if is_default else (self.images,))

    @property
    def budget(self) -> str:
        """How much the workers of a trial may hold of inputs, encoded or about to be."""
        return self.memory_budget or _DEFAULT_BUDGET

    @property
    def budget_bytes(self) -> int:
        return int(self.budget[:-3]) * _UNIT_BYTES[self.budget[-3:]]

    @property
    def most_workers(self) -> int:
        return max(load.workers for load in self.loads)

    @property
    def all_models(self) -> tuple[str, ...]:
        """The models of every load, each once."""
        return tuple(dict.fromkeys(model for load in self.loads for model in load.model))

    @property
    def servers(self) -> tuple[ServerSpec, ...]:
        """The servers under test."""
        knobs = {knob.name: getattr(self, knob.name) for knob in KNOBS}
        return server_specs(self.server, self.url, self.instances, self.layout, knobs)

    def transport(self, load: LoadSettings, server: ServerSpec, protocol: str) -> str:
        """How what requests of a load hold travels to a server."""
        return load.transport(server, protocol, is_encrypted=self.tls_ca is not None)

    def sends_json(self, load: LoadSettings) -> bool:
        """Whether a server gets the tensors of a load as text."""
        return any(is_json(server.kind, each) for server in self.servers for each in load.protocols(server))

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the servers in the table, each once."""
        return tuple(
            dict.fromkeys(
                labelled(server, self.transport(load, server, protocol), protocol, client)
                for server in self.servers
                for load in self.loads
                for protocol in load.protocols(server)
                for client in load.clients(server, protocol)
            )
        )

    @property
    def models_conf(self) -> Path:
        return Path(self.models) / "models.conf"

    def by_model(self, choose: Callable[[LoadSettings, str], Mapping[str, object]]) -> Self:
        """The same run with loads in which settings follow from the model: one is split where its models differ."""
        loads = []
        for load in self.loads:
            chosen = {model: dict(choose(load, model)) for model in load.model}
            for changes in [each for n, each in enumerate(chosen.values()) if each not in list(chosen.values())[:n]]:
                models = tuple(model for model, its in chosen.items() if its == changes)
                loads.append(load.model_copy(update={"model": models, **changes}))
        return self.with_loads(*loads)

    def with_loads(self, *loads: LoadSettings) -> Self:
        """The same run under other loads."""
        return self.model_copy(update={"loads": loads})

    def only(self, server: ServerSpec, models: tuple[str, ...], *, protocol: str, client: str, rounds: int) -> Self:
        """The run of one server with its settings and these models, reached in one way, and the folders of models by
        their full paths."""
        knobs = {knob.name: (getattr(server.settings, knob.name),) for knob in KNOBS}
        triton = {"instances": (server.instances,), "layout": (server.layout,)} if server.kind == "triton" else {}
        folders = {name: str(Path(folder).resolve()) for name, folder in self.saved_models.items() if name in models}
        changes = {"server": (server.kind,), "rounds": rounds, "models": str(Path(self.models).resolve())}
        url = {"url": {server.kind: server.url}} if server.url else {}
        alone = self.model_copy(update={**changes, **knobs, **triton, **url, "saved_models": folders})
        way = {} if server.is_in_process else {"protocol": (protocol,), "client": (client,)}
        return alone.with_loads(*(load.model_copy(update={"model": models, **way}) for load in self.loads))

    def written(self) -> dict[str, object]:
        """As a YAML has it, resolved: load settings beside the run's where there is one load, else complete `loads`."""
        run = self.model_dump(mode="json", exclude={"loads"})
        loads = [load.model_dump(mode="json") for load in self.loads]
        return {**run, **loads[0]} if len(loads) == 1 else {**run, "loads": loads}


RUN_SETTINGS = {name: setting for name, setting in settings_of(Benchmark).items() if name != "loads"}
SETTINGS: dict[str, Setting] = {**LOAD_SETTINGS, **RUN_SETTINGS}


def resolved(values: Mapping[str, object]) -> dict[str, object]:
    """Values as a user gives them -> the fields of a Benchmark: every load complete, and a url names its server."""
    run = {name: value for name, value in values.items() if name not in LOAD_SETTINGS}
    shared = {name: value for name, value in values.items() if name in LOAD_SETTINGS}
    loads = cast("Sequence[LoadSettings | Mapping[str, object]]", values.get("loads") or ({},))
    folders = dict(cast("Mapping[str, str]", values.get("saved_models") or {}))
    shared, loads = _without_folders(shared, folders), [_without_folders(load, folders) for load in loads]
    run["loads"] = tuple(load if isinstance(load, LoadSettings) else _completed(load, shared) for load in loads)
    if folders:
        run["saved_models"] = folders
    if urls := cast("Mapping[str, str]", values.get("url")):
        server = cast("Sequence[str]", values.get("server", RUN_SETTINGS["server"].default))
        run["server"] = (*server, *(kind for kind in urls if kind not in server))
    return run


def _completed(load: Mapping[str, object], shared: Mapping[str, object]) -> dict[str, object]:
    """A load over the values that all share; its duration, for example, replaces a shared request count."""
    put_aside = alternatives(load)
    return {**{name: value for name, value in shared.items() if name not in put_aside}, **load}


def _without_folders(load: "LoadSettings | Mapping[str, object]", folders: dict[str, str]) -> Any:
    """A load whose models are names; folders that stood among them are added to `folders`."""
    if isinstance(load, LoadSettings) or "model" not in load:
        return load
    models = load["model"]
    return {**load, "model": named_folders(models if isinstance(models, list | tuple) else (models,), folders)}

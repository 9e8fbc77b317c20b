"""The servers under test: their kinds, urls, and names in the table."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, Field

from raybench.config.protocols import GRPC, GRPCIO, HTTP, known_to, urls_of, without_scheme
from raybench.config.refusal import is_text, require
from raybench.config.server_settings import OWN_CHOICE, ServerSettings, settings_of
from raybench.config.setting import Form

ServerKind = Literal["triton", "tfserving", "local", "fake"]
SERVER_KINDS = get_args(ServerKind)
_STARTED_KINDS = ("triton", "tfserving")  # those that raybench starts as processes of their own
Layout = Literal["multi", "per-model"]
MULTI: Layout = "multi"  # one Triton model, `saved_model`, answers for every SavedModel
PER_MODEL: Layout = "per-model"  # each has a Triton model under its own name
SAVED_MODEL = "saved_model"  # the Triton model of layout multi
ECHO = "echo"  # Triton's model that does nothing: what the client and the transport cost
IN_PROCESS = "in process"  # how inputs travel, where not over the network
SHARED_MEMORY, CUDA_SHARED_MEMORY = "shared memory", "cuda shared memory"  # of the host, or of its GPU
IN_MEMORY = (SHARED_MEMORY, CUDA_SHARED_MEMORY)
_ADDRESS = re.compile(r"([\w.-]+|\[[0-9a-fA-F:.]+\]):\d{1,5}", re.ASCII)
_LONGEST_URL = 200  # of one replica
_BETWEEN = {"fake": "+"}  # replicas in a url, where it is not a comma


@dataclass(frozen=True, kw_only=True)
class ServerSpec:
    """A server under test; one with a `url` is already running, the others are started for the run."""

    kind: str
    instances: int = 1
    url: str | None = None
    number: int | None = None  # of scripted servers, where there are several
    layout: str = MULTI  # of a Triton
    settings: ServerSettings = OWN_CHOICE

    @property
    def is_ours(self) -> bool:
        """Whether raybench starts it, as a process of its own."""
        return self.kind in _STARTED_KINDS and not self.url

    @property
    def replicas(self) -> tuple[str, ...]:
        """The url of each server behind it, at which it is asked about itself: its gRPC port where one is named; empty
        without a url."""
        return self.urls(GRPC) or self.urls(HTTP)

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols by which it can be reached: those that it has and, by url, whose ports are named."""
        return tuple(each for each in known_to(self.kind) if not self.url or self.urls(each))

    @property
    def control_url(self) -> str:
        """Where it is asked about itself; of a scripted server its script."""
        return (self.url or "") if self.is_in_process else ",".join(self.replicas)

    def urls(self, protocol: str) -> tuple[str, ...]:
        """The urls at which it speaks a protocol."""
        return urls_of(replica_urls(self.kind, self.url or ""), protocol)

    @property
    def is_in_process(self) -> bool:
        """Whether the worker itself is the server: nothing travels."""
        return self.kind in ("local", "fake")

    @property
    def label(self) -> str:
        if self.number:
            return f"{self.kind} {self.number}"
        parts = [self.kind, self.settings.label]
        if self.kind == "triton" and self.is_ours:
            parts = [f"triton x{self.instances}", "" if self.layout == MULTI else self.layout, self.settings.label]
        return " ".join(filter(None, parts))


def server_specs(
    kinds: tuple[str, ...],
    urls: dict[str, str],
    instances: tuple[int, ...],
    layouts: tuple[str, ...],
    knobs: Mapping[str, tuple[int, ...]],
) -> tuple[ServerSpec, ...]:
    """The servers under test; each layout, number of Triton instances and combination of `knobs`, and each script of
    the fake, is one of its own."""
    specs = []
    for kind in kinds:
        if kind == "fake":
            specs += _scripted(urls.get(kind))
            continue
        counts = instances if kind == "triton" and kind not in urls else (1,)
        of_kind = layouts if kind == "triton" and layouts else (MULTI,)
        settings = (OWN_CHOICE,) if kind in urls else tuple(settings_of(kind, knobs))
        specs += [
            ServerSpec(kind=kind, instances=n, url=urls.get(kind), layout=layout, settings=each)
            for layout in of_kind
            for n in counts
            for each in settings
        ]
    return tuple(specs)


def _scripted(url: str | None) -> list[ServerSpec]:
    """The scripted servers of a url such as `service_ms=20; service_ms=22`; they are numbered where there are many."""
    scripts = [script.strip() for script in (url or "").split(";") if script.strip()]
    if len(scripts) < 2:
        return [ServerSpec(kind="fake", url=url)]
    return [ServerSpec(kind="fake", url=script, number=number) for number, script in enumerate(scripts, 1)]


def labelled(server: ServerSpec, transport: str, protocol: str, client: str) -> str:
    """A server's name in the table, which names how requests travel where that is not gRPC over the network by our own
    client."""
    parts = (
        protocol if protocol != GRPC else "",
        transport if transport in IN_MEMORY else "",
        client if client == GRPCIO else "",
    )
    shown = ", ".join(filter(None, parts))
    return f"{server.label} ({shown})" if shown else server.label


def triton_model(server: ServerSpec, model: str) -> str:
    """The name of the Triton model that serves a model of the run."""
    return model if model == ECHO or server.layout == PER_MODEL else SAVED_MODEL


def replica_urls(kind: str, url: str) -> tuple[str, ...]:
    """The urls in a url that names several servers of a kind, such as host1:8001,host2:8001."""
    return tuple(part.strip() for part in url.split(_BETWEEN.get(kind, ","))) if url else ()


def _check_urls(urls: dict[str, str]) -> dict[str, str]:
    for kind, url in urls.items():
        require(kind in SERVER_KINDS, "server", kind, f"choose from {', '.join(SERVER_KINDS)}")
        replicas = replica_urls(kind, url)
        is_url = is_text(url) and all(_is_url(kind, each) for each in replicas)
        remedy = "write KIND=HOST:PORT (gRPC) or KIND=http://HOST:PORT, separated by commas where there are several"
        require(is_url, "url", f"{kind}={url}", remedy)
        is_each_once = kind == "fake" or len(set(replicas)) == len(replicas)
        require(is_each_once, "url", f"{kind}={url}", "name each server once")
    require(
        "local" not in urls,
        "url",
        urls.get("local"),
        "local is TensorFlow inside the worker and has no url: leave it out",
    )
    return urls


def _is_url(kind: str, url: str) -> bool:
    address = without_scheme(url)
    is_address = kind == "fake" or (bool(_ADDRESS.fullmatch(address)) and 0 < int(address.rpartition(":")[2]) < 2**16)
    return bool(url) and len(url) <= _LONGEST_URL and is_address


Urls = Annotated[
    dict[str, str],
    AfterValidator(_check_urls),
    Field(json_schema_extra={"propertyNames": {"enum": list(SERVER_KINDS)}}),
    Form("write 'url: {triton: HOST:PORT}'"),
]

"""The settings of a load: how many workers send what, how fast and for how long."""

import os
from collections.abc import Iterable, Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, Field, model_validator

from raybench.config.protocols import GRPC, OWN_CLIENT, GrpcClient, Protocol
from raybench.config.server_spec import CUDA_SHARED_MEMORY, IN_PROCESS, SHARED_MEMORY, ServerSpec
from raybench.config.setting import DECLARED, AnyOf, Flag, ModelName, Name, Remedy, Seconds, SomeOf, settings_of

JPEGS = "predict_jpegs"  # the signature that takes JPEG files in place of pixels
LANES = 64  # of a worker in an open loop, where nothing else is asked
MOST_LANES = 1_000  # of a worker: each is a thread of it
MOST_DUE = 10**7  # due times of a trial; each worker draws them all
ALTERNATIVES = (("request_count", "duration"), ("concurrency", "request_rate"))  # of each pair a load has one
_DURATION_S = 10.0  # where no count is given either
_IN_FLIGHT = 4  # where neither workers nor lanes are given
_BATCH_SIZE = 8
_RATES = "give rates in requests per second above 0, each once"


def _each_once(rates: tuple[float, ...]) -> tuple[float, ...]:
    if len(set(rates)) < len(rates):
        raise ValueError(_RATES)
    return rates


Rate = Annotated[float, Field(gt=0, le=MOST_DUE), Remedy(_RATES)]


class LoadSettings(BaseModel):
    """One load, resolved: it has a length, and one kind of loop. Counts and rates are totals over all workers."""

    model_config = DECLARED

    model: Annotated[SomeOf[ModelName], Flag(short="-m")] = Field(
        ("efficientnetb0-no-opt",),
        description="Models: a name in models.conf or of a running server, or FOLDER or NAME=FOLDER of a SavedModel.",
    )
    signature: Annotated[Name | None, Flag(shown="the model's only one, or serving_default")] = Field(
        None, description="Signature of the model to call."
    )
    workers: Annotated[int, Flag(shown="1, 2 or 4, leaving a core free")] = Field(
        _IN_FLIGHT, ge=1, le=10_000, description="Number of workers (Ray actors) that send requests."
    )
    concurrency: Annotated[int | None, Flag(shown="4 over all workers; 1 if --workers is given")] = Field(
        None, ge=1, le=MOST_LANES, description="Closed loop: requests that each worker keeps in flight."
    )
    request_rate: Annotated[AnyOf[Rate], AfterValidator(_each_once), Flag(shown="closed loop")] = Field(
        (), description="Open loop: requests per second; each rate, such as 50,100, is measured on its own."
    )
    request_distribution: Literal["constant", "poisson"] = Field(
        "poisson", description="Open loop: gaps between requests, constant or random (poisson)."
    )
    max_in_flight: Annotated[int | None, Flag(shown=f"{LANES} per worker")] = Field(
        None, ge=1, le=10**6, description="Open loop: most requests in flight at once, over all workers."
    )
    batch_size: Annotated[int | None, Flag(short="-b", shown="8, or as many as the model takes")] = Field(
        None,
        ge=1,
        le=10_000,  # a message of protobuf holds 2 GiB
        description="Items (such as images) per request.",
    )
    request_count: Annotated[int | None, Flag(shown="as many as fit in --duration")] = Field(
        None, ge=1, le=10**9, description="Send this many requests per trial, over all workers."
    )
    duration: Annotated[Seconds | None, Flag(shown=f"{_DURATION_S:g}, unless --request-count is given")] = Field(
        None, description="Seconds that a trial sends requests."
    )
    warmup_request_count: Annotated[int | None, Flag(shown="until steady")] = Field(
        None, ge=0, le=10**9, description="Send exactly this many requests before measuring."
    )
    warmup_timeout: Seconds = Field(5.0, description="Seconds after which warm-up ends, steady or not.")
    timeout: Seconds = Field(60.0, description="Deadline of each request, in seconds.")
    shared_memory: Literal["none", "system", "cuda"] = Field(
        "none",
        description="Pass inputs to a Triton on this host through shared memory, of the host (system) or of its GPU "
        "(cuda), not the network.",
    )
    protocol: Annotated[AnyOf[Protocol], Flag(shown="grpc; http where a url names that port")] = Field(
        (),
        description="Reach servers by grpc, http (Triton: binary tensors; TensorFlow Serving: JSON rows), http-json or "
        "http-columns (TensorFlow Serving); each gives rows of its own.",
    )
    client: SomeOf[GrpcClient] = Field(
        (OWN_CLIENT,),
        description="Send gRPC requests by raybench's own HTTP/2 (http2) or by grpcio; each gives rows of its own.",
    )

    @model_validator(mode="before")
    @classmethod
    def _resolved(cls, values: Mapping[str, object]) -> dict[str, object]:
        """A trial lasts 10 s unless a count or a duration is given; a closed loop has 4 requests in flight unless
        workers or lanes are given."""
        resolved = dict(values)
        if resolved.get("request_count") is None and resolved.get("duration") is None:
            resolved["duration"] = _DURATION_S
        lanes = 1 if "workers" in resolved else _IN_FLIGHT // default_workers()
        resolved.setdefault("workers", default_workers())
        if resolved.get("concurrency") is None and not resolved.get("request_rate"):
            resolved["concurrency"] = lanes
        return resolved

    @property
    def items(self) -> int:
        """Of a request."""
        return self.batch_size or _BATCH_SIZE

    @property
    def in_flight(self) -> int:
        """The most requests that are in flight at once, over all workers."""
        if self.request_rate:
            return self.max_in_flight or LANES * self.workers
        return self.workers * (self.concurrency or 1)

    def protocols(self, server: ServerSpec) -> tuple[str, ...]:
        """The protocols by which the load reaches a server, each a row of its own; in process it is the first of all,
        for one row."""
        if server.is_in_process:
            return (GRPC,)
        if not self.protocol:
            return server.protocols[:1]
        return tuple(each for each in server.protocols if each in self.protocol)

    def clients(self, server: ServerSpec, protocol: str) -> tuple[str, ...]:
        """What sends the requests of a protocol, each a row of its own; only gRPC has several."""
        return self.client if protocol == GRPC and not server.is_in_process else (OWN_CLIENT,)

    def transport(self, server: ServerSpec, protocol: str, *, is_encrypted: bool) -> str:
        """How what requests hold travels to a server."""
        if server.is_in_process:
            return IN_PROCESS
        if server.kind == "triton" and self.shared_memory != "none":
            return CUDA_SHARED_MEMORY if self.shared_memory == "cuda" else SHARED_MEMORY
        return f"{protocol} over TLS" if is_encrypted else protocol

    def changed(self, **changes: object) -> Self:
        """The load with other values; a rate takes the place of lanes, a duration that of a count, and so on."""
        put_aside = {name: type(self).model_fields[name].default for name in alternatives(changes)}
        return self.model_copy(update={**put_aside, **changes})


LOAD_SETTINGS = settings_of(LoadSettings)


def default_workers() -> int:
    """The largest share of 4 requests in flight that leaves one of this process's cores to others: 1, 2 or 4."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(workers for workers in (1, 2, _IN_FLIGHT) if workers < max(2, cores))


def alternatives(names: Iterable[str]) -> set[str]:
    """The names, and those that they stand in place of: a trial has one length and one kind of loop."""
    given = set(names)
    return given.union(*(pair for pair in ALTERNATIVES if given & set(pair)))

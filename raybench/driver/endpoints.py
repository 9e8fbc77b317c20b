"""The endpoints of a run, and what the signature of each takes; known before any server starts."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from raybench.clients import connect
from raybench.clients.base import ClientError
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.config import ECHO, Benchmark, ConfigError, LoadSettings, ServerSpec
from raybench.inputs.photo_source import demo_signature
from raybench.inputs.source import BoundSource, InputSource
from raybench.models.saved_models import ModelConfig, Signature, read_signatures
from raybench.servers.declarable import undeclarable


@dataclass(frozen=True)
class Endpoint:
    """A model and a signature on a server under test."""

    server: ServerSpec
    model: str
    signature: str


Signatures = Mapping[Endpoint, Signature]


def endpoints(benchmark: Benchmark) -> tuple[Endpoint, ...]:
    """Every endpoint that a run loads, each once."""
    return tuple(
        dict.fromkeys(
            Endpoint(server, model, load.signature)
            for server in benchmark.servers
            for load in benchmark.loads
            for model in load.model
        )
    )


def loads_of(benchmark: Benchmark, endpoint: Endpoint) -> Iterator[LoadSettings]:
    """The loads that an endpoint gets."""
    return (load for load in benchmark.loads if endpoint.signature == load.signature and endpoint.model in load.model)


def signature_by_url(
    endpoint: Endpoint, benchmark: Benchmark, source: InputSource, credentials: ConnectionCredentials
) -> Signature:
    """Ask a server that somebody else runs for the endpoint; raises ConfigError where it cannot be loaded."""
    url = endpoint.server.url or ""
    try:
        client = connect(
            endpoint.server,
            url=url,
            model=endpoint.model,
            signature=endpoint.signature,
            models=benchmark.models,
            credentials=credentials,
        )
        with closing(client):
            found = client.describe()
    except ClientError as error:
        raise ConfigError(str(error)) from error
    return _bindable(endpoint, {endpoint.signature: found.signature, **found.signatures}, source)


def starts_here(endpoint: Endpoint) -> bool:
    """Whether raybench starts the endpoint's server, or is it, from a model of models.conf."""
    return endpoint.server.kind != "fake" and not endpoint.server.url


def signature_here(
    endpoint: Endpoint, models_conf: Path, there: Mapping[str, ModelConfig], source: InputSource
) -> Signature:
    """Read what a SavedModel's signature takes; raises ConfigError where every request would be refused.

    A model without a version is refused too. One that cannot be read is not: its server says why, and others can still
    be measured.
    """
    if endpoint.model == ECHO:
        return demo_signature(endpoint.signature)
    entry = there[endpoint.model]
    try:
        versions = entry.versions()
    except ValueError as error:
        raise ConfigError(f"{models_conf}: {error}") from error
    try:
        signatures = read_signatures(entry.version_folder(versions[-1]))
    except ValueError:
        return demo_signature(endpoint.signature)
    found = _bindable(endpoint, signatures, source)
    if endpoint.server.kind == "triton" and (why := undeclarable(found)):
        raise ConfigError(
            f"signature is {endpoint.signature}; of model {endpoint.model} {why}: export it with another name or type, "
            "or leave out -s triton"
        )
    return found


def check_mixes(benchmark: Benchmark, sources: Mapping[Endpoint, BoundSource]) -> None:
    """Raise ConfigError where models that are mixed in one trial take unlike inputs."""
    for endpoint, source in sources.items() if benchmark.mix else ():
        for other, its in sources.items():
            if (other.server, other.signature) == (endpoint.server, endpoint.signature) and its != source:
                raise ConfigError(
                    f"mix is true; models {endpoint.model} and {other.model} take unlike inputs: name models that take "
                    "the same, or leave it out"
                )


def bound(source: InputSource, signatures: Signatures, seed: int) -> dict[Endpoint, BoundSource]:
    """The source for each endpoint; raises ConfigError where it does not fit one."""
    return {endpoint: source.bind(signature, seed) for endpoint, signature in signatures.items()}


def _bindable(endpoint: Endpoint, there: Mapping[str, Signature], source: InputSource) -> Signature:
    name, model = endpoint.signature, endpoint.model
    fitting = [other for other, signature in there.items() if _fits(source, signature)]
    if name not in there:
        usable = ", ".join(fitting) or "none"
        raise ConfigError(f"signature is {name}; model {model} has {usable} that takes images alone")
    try:
        source.bind(there[name], seed=0)
    except ConfigError as error:
        names = " or ".join(fitting) or "another model, for this one has no such signature"
        raise ConfigError(f"signature is {name}; of model {model} {error}: name {names}") from error
    return there[name]


def _fits(source: InputSource, signature: Signature) -> bool:
    try:
        source.bind(signature, seed=0)
    except ConfigError:
        return False
    return True

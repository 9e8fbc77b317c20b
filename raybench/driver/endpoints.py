"""The endpoints of a run, and what the signature of each takes; known before any server starts."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from raybench.clients import connect
from raybench.clients.base import ClientError, Description
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.config import ECHO, PER_MODEL, Benchmark, ConfigError, LoadSettings, ServerSpec
from raybench.inputs.file_locations import InputFileError
from raybench.inputs.photo_source import demo_signature
from raybench.inputs.source import BoundSource, InputSource
from raybench.models.default_signature import default_signature
from raybench.models.saved_models import ModelConfig, Signature, read_signatures
from raybench.servers.declarable import undeclarable


@dataclass(frozen=True)
class Endpoint:
    """A model and a signature on a server under test."""

    server: ServerSpec
    model: str
    signature: str


Signatures = Mapping[Endpoint, Signature]
_NOT_ON_A_GPU = ("BYTES", "BOOL")  # DLPack, by which TensorFlow takes them there, has no strings; Triton's, no booleans


def endpoints(benchmark: Benchmark) -> tuple[Endpoint, ...]:
    """Every endpoint that a run loads, each once."""
    return tuple(
        dict.fromkeys(
            Endpoint(server, model, load.signature or "")
            for server in benchmark.servers
            for load in benchmark.loads
            for model in load.model
        )
    )


def loads_of(benchmark: Benchmark, endpoint: Endpoint) -> Iterator[LoadSettings]:
    """The loads that an endpoint gets."""
    return (
        load
        for load in benchmark.loads
        if endpoint.signature == (load.signature or "") and endpoint.model in load.model
    )


def signature_by_url(endpoint: Endpoint, benchmark: Benchmark, credentials: ConnectionCredentials) -> Signature:
    """Ask an already running server for the endpoint; raises ConfigError where it is not there."""
    found = _described(endpoint, benchmark, credentials)
    return _of(endpoint, {**found.signatures, endpoint.signature: found.signature})


def default_by_url(model: str, benchmark: Benchmark, credentials: ConnectionCredentials) -> str | None:
    """The signature of a model on servers by url; None where no server is asked or reports one, and empty for a Triton
    model of another backend, which has no signatures.

    Raises ConfigError where a server cannot be asked, or leaves the choice open.
    """
    for server in benchmark.servers:
        if not server.url or server.is_in_process:
            continue
        found = _described(Endpoint(server, model, ""), benchmark, credentials).signatures
        if chosen := default_signature(found):
            return chosen
        if found:
            raise ConfigError(f"model is {model}; it has signatures {', '.join(found)}: choose one with --signature")
        if server.layout == PER_MODEL:
            return ""
    return None


def starts_here(endpoint: Endpoint) -> bool:
    """Whether raybench starts the endpoint's server, or is it, from a model of models.conf."""
    return endpoint.server.kind != "fake" and not endpoint.server.url


def signature_here(endpoint: Endpoint, models_conf: Path, there: Mapping[str, ModelConfig]) -> Signature:
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
    found = _of(endpoint, signatures)
    if endpoint.server.kind == "triton" and (why := undeclarable(found, endpoint.server.layout)):
        raise ConfigError(f"signature is {endpoint.signature}; of model {endpoint.model} {why}, or leave out -s triton")
    return found


def check_layouts(signatures: Signatures) -> None:
    """Raise ConfigError where a Triton model that raybench starts in layout per-model is to answer signatures that it
    cannot declare together: it declares the first of them."""
    first: dict[tuple[ServerSpec, str], tuple[str, Signature]] = {}
    for endpoint, signature in sorted(signatures.items(), key=lambda pair: pair[0].signature):
        server = endpoint.server
        if not server.is_ours or server.layout != PER_MODEL or endpoint.model == ECHO:
            continue
        name, declared = first.setdefault((server, endpoint.model), (endpoint.signature, signature))
        if signature.inputs != declared.inputs or not signature.outputs.keys() <= declared.outputs.keys():
            raise ConfigError(
                f"signature is {endpoint.signature}; in layout {PER_MODEL} the Triton model {endpoint.model} serves "
                f"signature {name}, which has other tensors: measure one of them, or use --layout multi"
            )


def check_gpu_inputs(benchmark: Benchmark, signatures: Signatures) -> None:
    """Raise ConfigError where inputs are to lie on a GPU whose type no GPU holds."""
    asked = {load.signature or "" for load in benchmark.loads if load.shared_memory == "cuda"}
    for endpoint, signature in signatures.items():
        inputs = signature.inputs.items() if endpoint.signature in asked and endpoint.server.kind == "triton" else ()
        for name, spec in inputs:
            if spec.datatype in _NOT_ON_A_GPU:
                raise ConfigError(
                    f"shared-memory is cuda; input {name} of model {endpoint.model} is {spec.datatype}, which does not "
                    "go to a GPU: use --shared-memory system"
                )


def check_mixes(benchmark: Benchmark, sources: Mapping[Endpoint, BoundSource]) -> None:
    """Raise ConfigError where models that are mixed in one trial take unlike inputs."""
    for endpoint, source in sources.items() if benchmark.mix else ():
        for other, its in sources.items():
            if (other.server, other.signature) == (endpoint.server, endpoint.signature) and its != source:
                raise ConfigError(
                    f"mix is true; models {endpoint.model} and {other.model} take different inputs: name models that "
                    "take the same, or leave it out"
                )


def bound(source: InputSource, signatures: Signatures, seed: int) -> dict[Endpoint, BoundSource]:
    """The source for each endpoint; raises ConfigError where it does not fit one."""
    found: dict[Endpoint, BoundSource] = {}
    for endpoint, signature in signatures.items():
        try:
            found[endpoint] = source.bind(signature, seed)
        except InputFileError:
            raise
        except ConfigError as error:
            raise ConfigError(f"signature is {endpoint.signature}; of model {endpoint.model} {error}") from error
    return found


def _described(endpoint: Endpoint, benchmark: Benchmark, credentials: ConnectionCredentials) -> Description:
    server, url = endpoint.server, endpoint.server.control_url
    try:
        client = connect(
            server,
            url=url,
            model=endpoint.model,
            signature=endpoint.signature,
            models=benchmark.models,
            credentials=credentials,
        )
        with closing(client):
            return client.describe()
    except ClientError as error:
        raise ConfigError(str(error)) from error


def _of(endpoint: Endpoint, there: Mapping[str, Signature]) -> Signature:
    """A signature of a model; raises ConfigError, which lists them, where the model does not have it."""
    if not (found := there.get(endpoint.signature)):
        listed = ", ".join(sorted(name for name in there if name)) or "none"
        raise ConfigError(f"signature is {endpoint.signature}; model {endpoint.model} has {listed}: choose one of them")
    return found

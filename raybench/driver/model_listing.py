"""What there is to measure: the models of models.conf, of folders and of running servers, and what each would get."""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from raybench.clients import connect
from raybench.clients.base import ClientError
from raybench.clients.grpc.connection_credentials import ConnectionCredentials
from raybench.clients.triton_models import model_names, names_behind_saved_model
from raybench.config import ECHO, MULTI, PER_MODEL, SAVED_MODEL, Benchmark, ConfigError, ServerSpec
from raybench.driver.resolved_loads import models_conf_of, models_there
from raybench.inputs.batch_axis import has_item_axis, items_of_a_request
from raybench.inputs.source import InputSource
from raybench.models.default_signature import default_signature
from raybench.models.saved_models import ModelConfig, Signature, read_signatures


@dataclass(frozen=True)
class Sent:
    """What raybench would send: how an item is encoded, its bytes, and how many a request has (None: any number)."""

    encoding: str
    item_bytes: int
    items: int | None


@dataclass(frozen=True)
class ListedSignature:
    """A signature of a model; `sent` is None for a `reason` that the user can do something about."""

    name: str
    is_default: bool
    signature: Signature
    sent: Sent | None
    reason: str | None


@dataclass(frozen=True)
class ListedModel:
    """A model, where it is, and its versions as far as they are known; a `reason` where it cannot be read."""

    name: str
    where: str
    versions: tuple[int, ...] = ()
    signatures: tuple[ListedSignature, ...] = ()
    reason: str | None = None


def listed_models(
    benchmark: Benchmark, asked: tuple[str, ...], source: InputSource, credentials: ConnectionCredentials
) -> list[ListedModel]:
    """The asked models, or all that there are, of this host or of the servers by url.

    Raises ConfigError where there is none, or a server does not say which it has.
    """
    by_url = [server for server in benchmark.servers if server.url and not server.is_in_process]
    if not by_url:
        return list(_here(benchmark, asked, source))
    return [each for server in by_url for each in _by_url(server, benchmark, asked, source, credentials)]


def _here(benchmark: Benchmark, asked: tuple[str, ...], source: InputSource) -> Iterator[ListedModel]:
    with models_conf_of(benchmark) as models_conf:
        there = models_there(models_conf)
        if not there:
            raise ConfigError(
                f"models is {benchmark.models}; {benchmark.models_conf} has no models: make some with raybench export, "
                "or name a SavedModel's folder with -m, or a running server with --url"
            )
        for name in asked or there:
            if name not in there:
                raise ConfigError(
                    f"model is {name}; {benchmark.models_conf} has {', '.join(there)}: choose one of them"
                )
            yield _read(there[name], benchmark.saved_models.get(name, _shown(there[name].base_path)), source)


def _shown(path: Path) -> str:
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)


def _read(model: ModelConfig, where: str, source: InputSource) -> ListedModel:
    try:
        versions = model.versions()
        signatures = read_signatures(model.version_folder(versions[-1]))
    except ValueError as error:
        return ListedModel(model.name, where, reason=str(error))
    return ListedModel(model.name, where, versions, _listed(signatures, source))


def _by_url(
    server: ServerSpec,
    benchmark: Benchmark,
    asked: tuple[str, ...],
    source: InputSource,
    credentials: ConnectionCredentials,
) -> Iterator[ListedModel]:
    url = server.replicas[0]
    if server.kind == "triton":
        behind, there = names_behind_saved_model(url, credentials), model_names(url, credentials)
        names = asked or (*behind, *(name for name in there if name not in (ECHO, SAVED_MODEL)))
        if not names:
            silent = _described(server, SAVED_MODEL, benchmark, source, credentials).reason
            raise ConfigError(silent or f"url is triton={url}; it lists no models: name one with -m")
        servers = {name: replace(server, layout=MULTI if name in behind else PER_MODEL) for name in names}
    elif asked:
        servers = dict.fromkeys(asked, server)
    else:
        raise ConfigError(f"url is tfserving={url}; TensorFlow Serving does not list its models: name them with -m")
    for name, its_server in servers.items():
        found = _described(its_server, name, benchmark, source, credentials)
        if found.reason and asked:
            raise ConfigError(found.reason)
        yield found


def _described(
    server: ServerSpec, name: str, benchmark: Benchmark, source: InputSource, credentials: ConnectionCredentials
) -> ListedModel:
    where = f"{server.kind} at {server.url}"
    try:
        client = connect(
            server, url=server.control_url, model=name, signature="", models=benchmark.models, credentials=credentials
        )
        with closing(client):
            found = client.describe()
    except ClientError as error:
        return ListedModel(name, where, reason=str(error))
    signatures = found.signatures or {"": found.signature}
    versions = () if found.model_version is None else (found.model_version,)
    return ListedModel(name, where, versions, _listed(signatures, source))


def _listed(signatures: Mapping[str, Signature], source: InputSource) -> tuple[ListedSignature, ...]:
    default = default_signature(signatures)
    return tuple(_signature(name, signatures[name], name == default, source) for name in sorted(signatures))


def _signature(name: str, signature: Signature, is_default: bool, source: InputSource) -> ListedSignature:
    try:
        bound = source.bind(signature, seed=0)
    except ConfigError as error:
        return ListedSignature(name, is_default, signature, None, str(error))
    items = items_of_a_request(signature) if has_item_axis(signature) else 1
    return ListedSignature(name, is_default, signature, Sent(bound.encoding, bound.item_bytes, items), None)

"""Clients of the servers under test, by kind."""

import os
from contextlib import ExitStack, closing
from functools import partial
from typing import TYPE_CHECKING

from raybench.clients.base import Client, InputRegion
from raybench.clients.grpc.connection_credentials import NO_CREDENTIALS, ConnectionCredentials
from raybench.clients.replicas import ReplicatedClient, Turns, in_turn
from raybench.config import CUDA_SHARED_MEMORY, HTTP, OWN_CLIENT, PER_MODEL, ServerSpec, is_http, replica_urls

if TYPE_CHECKING:
    from raybench.clients.triton_echo import TritonEcho
    from raybench.models.saved_models import Signature

os.environ.setdefault("GRPC_VERBOSITY", "ERROR")  # else it logs each failed handshake, which a sentence tells


def connect(
    server: ServerSpec,
    *,
    url: str,
    model: str,
    signature: str,
    models: str,
    spec: "Signature | None" = None,
    region: InputRegion | None = None,
    credentials: ConnectionCredentials = NO_CREDENTIALS,
    turns: Turns | None = None,
    protocol: str | None = None,
    client: str = OWN_CLIENT,
) -> Client:
    """The client of a server's kind; a kind's module is imported only where it is used.

    `spec` is what the signature takes, where requests are to be encoded. Where the url names several servers, `turns`
    says which of them gets the next request (None: each in turn). `protocol` says how requests are written, where the
    url is one of HTTP, and `client` what sends them, where it is one of gRPC.
    """

    to = partial(
        _connected,
        server,
        model=model,
        signature=signature,
        models=models,
        spec=spec,
        region=region,
        credentials=credentials,
        protocol=protocol,
        client=client,
    )
    replicas = replica_urls(server.kind, url)
    if len(replicas) < 2:
        return to(url=url)
    with ExitStack() as opened:
        clients = [opened.enter_context(closing(to(url=each))) for each in replicas]
        opened.pop_all()
    return ReplicatedClient(replicas, clients, turns or in_turn(len(replicas)))


def _connected(
    server: ServerSpec,
    *,
    url: str,
    model: str,
    signature: str,
    models: str,
    spec: "Signature | None",
    region: InputRegion | None,
    credentials: ConnectionCredentials,
    protocol: str | None,
    client: str,
) -> Client:
    if server.kind == "triton":
        from raybench.clients.triton_client import TritonClient

        return TritonClient(
            url,
            model=model,
            signature=signature,
            spec=spec,
            is_direct=server.layout == PER_MODEL,
            region=region,
            credentials=credentials,
            protocol=protocol,
            client=client,
        )
    if server.kind == "tfserving" and is_http(url):
        from raybench.clients.tfserving_rest_client import TfServingRestClient

        return TfServingRestClient(
            url, model=model, signature=signature, spec=spec, protocol=protocol or HTTP, credentials=credentials
        )
    if server.kind == "tfserving":
        from raybench.clients.tfserving_client import TfServingClient

        return TfServingClient(url, model=model, signature=signature, spec=spec, credentials=credentials, client=client)
    if server.kind == "local":
        from raybench.clients.local_client import LocalClient

        return LocalClient(models, model=model, signature=signature, threads=server.settings.environment)
    if server.kind == "fake":
        from raybench.clients.fake_client import FakeClient

        return FakeClient(url, signature=signature)
    raise ValueError(f"no client for server kind {server.kind!r}")


def connect_echo(
    url: str,
    credentials: ConnectionCredentials = NO_CREDENTIALS,
    *,
    protocol: str | None = None,
    client: str = OWN_CLIENT,
) -> "TritonEcho":
    """The client of the models that do nothing, in the Triton at a url; raises ClientError where it does not answer."""
    from raybench.clients.triton_echo import TritonEcho
    from raybench.clients.triton_service import triton_service

    return TritonEcho(url, triton_service(url, credentials, protocol=protocol, client=client))


def shared_region(
    transport: str, url: str, name: str, *, lanes: int, credentials: ConnectionCredentials = NO_CREDENTIALS
) -> InputRegion:
    """Memory of this host, or of its GPU, that the Triton at a url is to read; raises ClientError where there is
    none."""
    if transport == CUDA_SHARED_MEMORY:
        from raybench.clients.device_regions import DeviceRegions, device_memory

        return DeviceRegions(url, name, device_memory(), lanes=lanes, credentials=credentials)
    from raybench.clients.shared_memory import Region

    return Region(url, name, credentials)

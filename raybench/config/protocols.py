"""How requests travel to a server: protocols and gRPC clients, and which of them a kind of server has."""

from collections.abc import Iterable
from typing import Literal, get_args

Protocol = Literal["grpc", "http", "http-json", "http-columns"]
GrpcClient = Literal["http2", "grpcio"]
PROTOCOLS: tuple[str, ...] = get_args(Protocol)
GRPC, HTTP, HTTP_JSON, HTTP_COLUMNS = PROTOCOLS
OWN_CLIENT, GRPCIO = get_args(GrpcClient)
SCHEMES = ("http://", "https://")  # of a url's part that names an HTTP port
_OF_KIND = {"triton": (GRPC, HTTP, HTTP_JSON), "tfserving": (GRPC, HTTP, HTTP_JSON, HTTP_COLUMNS)}


def is_http(url: str) -> bool:
    return url.startswith(SCHEMES)


def without_scheme(url: str) -> str:
    """HOST:PORT of a url that may say http:// or https:// before it."""
    return url.partition("://")[2] if is_http(url) else url


def known_to(kind: str) -> tuple[str, ...]:
    """The protocols of a kind of server; none where it is in the worker's process."""
    return _OF_KIND.get(kind, ())


def is_json(kind: str, protocol: str) -> bool:
    """Whether a kind of server gets its tensors as text by a protocol."""
    return protocol in (HTTP_JSON, HTTP_COLUMNS) or (kind, protocol) == ("tfserving", HTTP)


def urls_of(urls: Iterable[str], protocol: str) -> tuple[str, ...]:
    """Those of the urls of a server that speak a protocol."""
    return tuple(url for url in urls if is_http(url) == (protocol != GRPC))

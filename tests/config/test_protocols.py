"""Protocols and clients of a load: rows of their own, urls that name ports, and what does not go together."""

from typing import Any

import pytest

from raybench.config import ConfigError, load, plan


def benchmark(**values: object) -> Any:
    return load(None, {"server": ("triton",), **values})


def labels(**values: object) -> list[str]:
    """The rows of a run."""
    made = benchmark(**values)
    cells = [cell for server in made.servers for cell in plan.cells(made, server)]
    assert len({cell.id for cell in cells}) == len(cells)
    assert sorted({cell.label for cell in cells}) == sorted(made.labels)
    return [cell.label for cell in cells]


def test_each_protocol_and_client_is_a_row() -> None:
    """A row's name says how requests travel where that is not gRPC by our own client; http has one client."""
    asked = {"protocol": ("grpc", "http", "http-json"), "client": ("http2", "grpcio")}
    assert labels(**asked) == ["triton x1", "triton x1 (grpcio)", "triton x1 (http)", "triton x1 (http-json)"]
    assert labels(protocol=("http",), shared_memory="system") == ["triton x1 (http, shared memory)"]


def test_a_server_gets_the_protocols_that_it_has() -> None:
    """Columns of JSON are TensorFlow Serving's; TensorFlow in process has no protocol, and stays one row."""
    found = labels(server=("local", "triton", "tfserving"), protocol=("grpc", "http-columns"), client=("grpcio",))
    assert found == ["local", "triton x1 (grpcio)", "tfserving (grpcio)", "tfserving (http-columns)"]


def test_a_url_says_which_port_it_names() -> None:
    """Requests go to the port of their protocol; the gRPC port, where there is one, is asked about the server."""
    both = benchmark(url={"triton": "h:8001,http://h:8000"}, protocol=("grpc", "http")).servers[0]
    assert (both.control_url, both.urls("grpc"), both.urls("http")) == ("h:8001", ("h:8001",), ("http://h:8000",))
    assert labels(url={"triton": "http://h:8000"}) == ["triton (http)"]
    assert labels(url={"triton": "h:8001"}) == ["triton"]
    several = benchmark(url={"triton": "http://h:8000,http://g:8000"}, protocol=("http-json",)).servers[0]
    assert several.replicas == ("http://h:8000", "http://g:8000")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"protocol": ("http-columns",)}, "protocol is http-columns; it only works with TensorFlow Serving"),
        ({"server": ("local",), "protocol": ("http",)}, "it only works with Triton or TensorFlow Serving"),
        (
            {"server": ("triton", "tfserving"), "protocol": ("http-columns",)},
            "triton has grpc, http, http-json: add one of them",
        ),
        ({"url": {"triton": "h:8001"}, "protocol": ("http",)}, "names no HTTP port: add it after a comma, as http://"),
        ({"url": {"triton": "http://h:8000"}, "protocol": ("grpc",)}, "names no gRPC port: add it after a comma"),
        ({"protocol": ("http",), "client": ("grpcio",)}, "client is grpcio; it is a client of gRPC"),
        ({"url": {"triton": "ftp://h:8000"}}, "write KIND=HOST:PORT (gRPC) or KIND=http://HOST:PORT"),
        ({"url": {"triton": "http://h:8000/v2"}}, "write KIND=HOST:PORT (gRPC) or KIND=http://HOST:PORT"),
    ],
)
def test_what_does_not_go_together_is_refused(asked: dict[str, object], sentence: str) -> None:
    """A protocol that no server of the run has, or whose port the url does not name, is one sentence with a remedy."""
    with pytest.raises(ConfigError) as refused:
        benchmark(**asked)
    assert sentence in str(refused.value)


def test_a_search_goes_through_each_way() -> None:
    """Each protocol has a highest rate of its own, in the order in which servers and protocols are named."""
    made = benchmark(server=("triton", "fake"), protocol=("http", "grpc"), client=("http2", "grpcio"))
    firsts = [trial.cell.label for trial in plan.first_trials(made)]
    assert firsts == ["triton x1", "triton x1 (grpcio)", "triton x1 (http)", "fake"]


def test_a_run_of_one_way_measures_that_way_alone() -> None:
    """What a tuning leaves to measure its winner has the winner's protocol and client, and no other."""
    made = benchmark(server=("local", "triton"), protocol=("grpc", "http"), client=("http2", "grpcio"))
    local, triton = made.servers
    model = made.all_models
    assert made.only(triton, model, protocol="http", client="http2", rounds=1).labels == ("triton x1 (http)",)
    assert made.only(triton, model, protocol="grpc", client="grpcio", rounds=1).labels == ("triton x1 (grpcio)",)
    assert made.only(local, model, protocol="grpc", client="http2", rounds=1).labels == ("local",)

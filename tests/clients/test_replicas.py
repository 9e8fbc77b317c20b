"""Several servers behind one url."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from itertools import pairwise

import pytest
from helpers import images

from raybench.clients import connect
from raybench.clients.base import ClientError, Description
from raybench.clients.fake_client import FakeClient
from raybench.clients.replicas import ReplicatedClient, at_random, in_turn
from raybench.config import Benchmark, ConfigError, ServerSpec, replica_urls
from raybench.config.validation import checked, validated

FAKE = ServerSpec(kind="fake", url="service_ms=0")


class Described(FakeClient):
    """A fake that says something else of itself."""

    def __init__(self, signature: str = "", **changes: object) -> None:
        super().__init__("service_ms=0", signature=signature)
        self._changes = changes

    def describe(self) -> Description:
        return replace(super().describe(), **self._changes)


@pytest.mark.parametrize(
    ("kind", "url", "expected"),
    [
        ("triton", "a:1", ("a:1",)),
        ("triton", "a:1,b:2, [::1]:3", ("a:1", "b:2", "[::1]:3")),
        ("fake", "service_ms=5,at_once=2", ("service_ms=5,at_once=2",)),
        ("fake", "service_ms=5,at_once=2 + service_ms=6", ("service_ms=5,at_once=2", "service_ms=6")),
        ("triton", "", ()),
    ],
)
def test_a_url_names_servers(kind: str, url: str, expected: tuple[str, ...]) -> None:
    """A comma separates addresses; scripts have commas, and a plus between them."""
    assert replica_urls(kind, url) == expected


@pytest.mark.parametrize("url", ["a:1,", "a:1,b", "a:1,a:1", "a:1,b:99999", "a:1;b:2"])
def test_a_wrong_list_is_refused(url: str) -> None:
    """Each address of a list is checked, and may be there once."""
    with pytest.raises(ConfigError, match=r"^url is triton="):
        validated({"server": ("triton",), "url": {"triton": url}})


@pytest.mark.parametrize("asked", [{"calibrate": True}, {"shared_memory": "system"}])
def test_what_takes_one_triton_refuses_several(asked: dict[str, object]) -> None:
    """Shared memory and the ceiling are of one Triton: with several they are refused, not measured on the first."""
    several = {"server": ("triton",), "url": {"triton": "127.0.0.1:1,127.0.0.1:2"}}
    checked(validated(several))
    with pytest.raises(ConfigError, match="the url names several"):
        checked(validated({**several, **asked}))


def test_each_replica_has_its_turn() -> None:
    """In turn, each of three replicas gets every third request, also from several lanes at once."""
    turns = in_turn(3)
    with ThreadPoolExecutor(8) as pool:
        assert Counter(pool.map(lambda _: turns(), range(300))) == {0: 100, 1: 100, 2: 100}


@pytest.mark.parametrize(("workers", "replicas"), [(1, 2), (2, 2), (2, 3), (2, 4), (3, 2), (4, 6), (6, 4)])
def test_workers_in_turn_keep_one_order(workers: int, replicas: int) -> None:
    """Workers that take every W-th request of a schedule send request i to replica i mod n: constant gaps stay so."""
    each = [in_turn(replicas, first=worker, step=workers) for worker in range(workers)]
    assert [each[number % workers]() for number in range(100)] == [number % replicas for number in range(100)]


def test_random_turns_come_from_the_seed() -> None:
    """The same seed draws the same replicas again, another draws others, and each replica gets its share."""
    one, again, other = (at_random(4, seed) for seed in ((1, 2), (1, 2), (1, 3)))
    drawn = [one() for _ in range(4000)]
    assert drawn == [again() for _ in range(4000)] != [other() for _ in range(4000)]
    assert all(900 < count < 1100 for count in Counter(drawn).values())


def test_a_random_share_of_a_poisson_stream_is_poisson() -> None:
    """Runs of the same replica are as long as chance has them: turns at random are independent of each other."""
    turns = at_random(2, (0,))
    drawn = [turns() for _ in range(10_000)]
    same = sum(a == b for a, b in pairwise(drawn))
    assert 4800 < same < 5200


def test_a_request_goes_to_one_of_them() -> None:
    """What is encoded once goes to each server in turn; each answers as itself, and a failure is that server's own."""
    client = connect(
        FAKE, url="service_ms=0 + service_ms=0,fail_every=1", model="m", signature="", models="models", turns=in_turn(2)
    )
    with closing(client):
        client.prepare(2)
        body = client.encode({"images": images(1)})
        replies = [client.send(body, 1.0) for _ in range(4)]
        assert [reply.status for reply in replies] == ["OK", "UNAVAILABLE"] * 2
        assert client.decode(replies[0])["count"] == [len(body)]


def test_servers_must_be_alike() -> None:
    """A replica with another signature is refused by name; a version that differs is not known."""
    alike = ReplicatedClient(("a", "b"), (Described(version="1"), Described(version="1")), in_turn(2))
    assert alike.describe().version == "1"
    updated = ReplicatedClient(("a", "b"), (Described(version="1"), Described(version="2")), in_turn(2))
    assert updated.describe().version is None
    unlike = ReplicatedClient(("a", "b"), (Described(), Described("predict_jpegs")), in_turn(2))
    with pytest.raises(ClientError, match="the model at b has another signature than at a"):
        unlike.describe()


def test_a_list_is_one_row() -> None:
    """Servers behind one url are one endpoint; a semicolon still separates scripted servers that are compared."""
    url = {"fake": "service_ms=1 + service_ms=1; service_ms=2"}
    servers = Benchmark(server=("fake",), url=url).servers
    assert [(server.label, len(server.replicas)) for server in servers] == [("fake 1", 2), ("fake 2", 1)]

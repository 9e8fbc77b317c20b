"""The server that is none: scripted times and faults."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from raybench.clients.base import ClientError, Reply
from raybench.clients.fake_client import FakeClient, Script, read_script


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("", Script(service_ms=1.0, fail_every=0, hang_every=0)),
        ("service_ms=2.5", Script(service_ms=2.5)),
        ("service_ms=5,fail_every=10", Script(service_ms=5.0, fail_every=10)),
        ("hang_every=3,", Script(hang_every=3)),
        ("stall_at=9,stall_ms=50", Script(stall_at=9, stall_ms=50.0)),
        ("at_once=1,oom_above=5", Script(at_once=1, oom_above=5)),
        ("times=bimodal,seed=7", Script(times="bimodal", seed=7)),
    ],
)
def test_a_script_is_read(text: str, script: Script) -> None:
    """A script is key=value pairs; what is left out neither fails nor hangs."""
    assert read_script(text) == script


def test_no_time_is_no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    """A service time of 0 takes none: a sleep of 0 s costs 70 us, and the client would be measured with it."""
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it slept"))
    assert FakeClient("service_ms=0").send(b"", 1.0).is_ok


@pytest.mark.parametrize(
    "text",
    [
        "speed=9",
        "times=slow",
        "seed=-1",
        "service_ms",
        "service_ms=fast",
        "fail_every=1.5",
        "127.0.0.1:8001",
        "service_ms=-1",
        "service_ms=nan",
    ],
)
def test_a_wrong_script_is_refused(text: str) -> None:
    """A script that cannot be obeyed is refused, with the part that is wrong and what there is."""
    with pytest.raises(ClientError) as refusal:
        read_script(f"service_ms=1,{text}")
    assert text in str(refusal.value)
    assert "service_ms, fail_every, hang_every" in str(refusal.value)


def test_every_nth_request_fails() -> None:
    """Faults are where the script puts them: every third reply is UNAVAILABLE with an error, the others are OK."""
    client = FakeClient("service_ms=0,fail_every=3")
    replies = [client.send(b"12345678", 1.0) for _ in range(6)]
    assert [reply.status for reply in replies] == ["OK", "OK", "UNAVAILABLE"] * 2
    assert [reply.is_ok for reply in replies] == [reply.error is None for reply in replies]


def test_a_hanging_request_ends_at_the_deadline() -> None:
    """A scripted hang is answered by the deadline's status, and the next request is served again."""
    client = FakeClient("service_ms=0,hang_every=2")
    assert [client.send(b"x", 0.01).status for _ in range(4)] == ["OK", "DEADLINE_EXCEEDED"] * 2


def sent_at_once(client: FakeClient, count: int) -> list[Reply]:
    together = Barrier(count)

    def send(_: int) -> Reply:
        together.wait()
        return client.send(b"x", 5.0)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(send, range(count)))


def test_memory_runs_out_above_a_number_in_flight() -> None:
    """What comes while the scripted number is in flight is refused at once; afterwards there is room again."""
    client = FakeClient("service_ms=300,oom_above=3")
    for count, refused in ((3, 0), (5, 2), (3, 0)):
        statuses = [reply.status for reply in sent_at_once(client, count)]
        assert statuses.count("RESOURCE_EXHAUSTED") == refused
        assert statuses.count("OK") == count - refused


def test_requests_wait_for_their_turn() -> None:
    """A server that serves one at a time takes as long as all of them, and a turn that does not come is a deadline."""
    client = FakeClient("service_ms=20,at_once=1")
    began = time.perf_counter()
    assert {reply.status for reply in sent_at_once(client, 5)} == {"OK"}
    assert time.perf_counter() - began >= 0.1
    client = FakeClient("service_ms=300,at_once=1")
    with ThreadPoolExecutor(2) as pool:
        statuses = [reply.status for reply in pool.map(client.send, [b"x", b"x"], [1.0, 0.01])]
    assert statuses == ["OK", "DEADLINE_EXCEEDED"]


@pytest.mark.parametrize(
    ("times", "mean_ms", "deviation_ms"), [("constant", 5, 0), ("exponential", 5, 5), ("bimodal", 5, 7.5)]
)
def test_times_are_drawn_from_the_seed(
    times: str, mean_ms: float, deviation_ms: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Times have the scripted mean and spread, and one seed draws the same ones again."""
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    script, count = f"service_ms=5,times={times},seed=1", 20_000
    for client in (FakeClient(script), FakeClient(script)):
        for _ in range(count):
            client.send(b"x", 60.0)
    assert slept[:count] == slept[count:]
    assert np.mean(slept) * 1e3 == pytest.approx(mean_ms, rel=0.05)
    assert np.std(slept) * 1e3 == pytest.approx(deviation_ms, rel=0.1)


def test_a_stall_holds_what_comes_until_its_end() -> None:
    """From the scripted request on the server stands still for the scripted time, once; then it serves as before."""
    client = FakeClient("service_ms=0,stall_at=2,stall_ms=100")
    began = time.perf_counter()
    client.send(b"x", 1.0)
    client.send(b"x", 0.02)
    client.send(b"x", 1.0)
    assert time.perf_counter() - began >= 0.1
    again = time.perf_counter()
    client.send(b"x", 1.0)
    assert time.perf_counter() < again + 0.1


def test_a_reply_slower_than_the_deadline_is_not_ok() -> None:
    """A reply that takes longer than the deadline of its request is a DEADLINE_EXCEEDED, as with every server."""
    assert FakeClient("service_ms=5000").send(b"x", 0.01).status == "DEADLINE_EXCEEDED"


def test_two_clients_count_apart() -> None:
    """Each client obeys its script from the beginning: one's requests do not move another's faults."""
    first, second = FakeClient("service_ms=0,fail_every=2"), FakeClient("service_ms=0,fail_every=2")
    assert [client.send(b"x", 1.0).status for client in (first, second, first)] == ["OK", "OK", "UNAVAILABLE"]


def test_the_fake_says_that_it_is_one() -> None:
    """The fake describes itself as fake, without a version: it is never taken for a real server."""
    described = FakeClient("").describe()
    assert (described.server, described.version) == ("fake", None)


def test_a_request_is_the_bytes_of_its_images() -> None:
    """A request carries the whole batch; the answer decodes to its size."""
    client, batch = FakeClient("service_ms=0"), np.arange(24, dtype=np.uint8).reshape(2, 2, 2, 3)
    request = client.encode({"images": batch})
    assert request == bytes(range(24))
    assert client.decode(client.send(request, 1.0))["count"].tolist() == [24]


def test_a_start_takes_its_time_once() -> None:
    """What answers is said when the server has started, and at once from then on."""
    client = FakeClient("start_ms=200")
    took_s = [_took_s(client.describe) for _ in range(2)]
    assert took_s[0] == pytest.approx(0.2, abs=0.05)
    assert took_s[1] < 0.05


def test_the_first_reply_takes_longer() -> None:
    """One reply takes `first_ms` beside its service time, however times are drawn."""
    for times in ("constant", "bimodal"):
        client = FakeClient(f"service_ms=10,first_ms=200,times={times}")
        took_s = [_took_s(lambda: client.send(b"", 5.0)) for _ in range(2)]  # noqa: B023
        assert 0.2 < took_s[0] < 0.31
        assert took_s[1] < 0.11


def _took_s(call: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    call()
    return time.perf_counter() - began_s

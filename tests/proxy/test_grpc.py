"""Real gRPC through the proxy: every kind of call, statuses, metadata, deadlines, cancellation, size."""

from __future__ import annotations

import hashlib
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import grpc
import pytest

from tests.proxy.harness import Client, Echo, Proxy, client, echo_server, free_port, proxy
from tests.support import wait_until


@pytest.fixture(scope="module")
def fleet() -> Iterator[tuple[Proxy, list[tuple[str, Echo]]]]:
    with ExitStack() as stack:
        servers = [stack.enter_context(echo_server(f"pod-{i}")) for i in range(3)]
        p = stack.enter_context(proxy([a for a, _ in servers]))
        yield p, servers


@pytest.fixture
def caller(fleet: tuple[Proxy, list[tuple[str, Echo]]]) -> Iterator[Client]:
    with client(fleet[0].port) as c:
        yield c


def test_one_channel_is_spread_over_all_servers(caller: Client) -> None:
    pods: Counter[str] = Counter()
    for _ in range(300):
        call = caller.unary.with_call(b"vote")[1]
        pods[dict(call.initial_metadata())["pod"]] += 1
    assert len(pods) == 3
    assert min(pods.values()) > 60, pods


def test_metadata_passes_both_ways_binary_included(caller: Client) -> None:
    sent = (("x-text", "plain"), ("x-data-bin", bytes(range(256))), ("x-text", "twice"))
    _, call = caller.unary.with_call(b"", metadata=sent)
    assert [(k, v) for k, v in call.trailing_metadata() if k.startswith("x-")] == list(sent)


def test_a_failed_call_keeps_its_status_and_message(caller: Client) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        caller.fail(b"")
    assert failed.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    assert failed.value.details() == "as äsked, 100 %"


def test_all_kinds_of_streams_work(caller: Client) -> None:
    assert [int(r) for r in caller.server(b"100")] == list(range(100))
    assert caller.client(bytes(i) for i in range(100)) == str(sum(range(100))).encode()
    words = [f"word{i}".encode() for i in range(100)]
    assert list(caller.bidi(iter(words))) == [w[::-1] for w in words]


def test_a_bidirectional_stream_answers_before_the_next_question(caller: Client) -> None:
    answered: list[bytes] = []

    def questions() -> Iterator[bytes]:
        for i in range(20):
            wait_until(lambda i=i: len(answered) == i, 5, f"answer {i}")
            yield str(i).encode()

    for answer in caller.bidi(questions()):
        answered.append(answer)
    assert len(answered) == 20


def test_64_mib_pass_both_ways_beside_small_calls(fleet: tuple[Proxy, list[tuple[str, Echo]]], caller: Client) -> None:
    before = fleet[0].rss_mib()
    body = random.Random(1).randbytes(64 << 20)
    big = caller.unary.future(body)
    small = [caller.unary(b"x", timeout=10) for _ in range(100)]
    assert len(small) == 100
    assert hashlib.sha256(big.result(timeout=60)).digest() == hashlib.sha256(body).digest()
    assert fleet[0].rss_mib() < before + 12, "the proxy buffers windows, not messages"


def test_an_unknown_method_is_unimplemented_as_it_is_directly(caller: Client) -> None:
    with pytest.raises(grpc.RpcError) as failed:
        caller.nonsense(b"")
    assert failed.value.code() == grpc.StatusCode.UNIMPLEMENTED


def test_the_metrics_count_each_call_once_by_pod_route_and_code() -> None:
    with echo_server("a") as (addr, _), proxy([addr]) as p, client(p.port) as c:
        for _ in range(7):
            c.unary(b"x")
        for _ in range(3):
            with pytest.raises(grpc.RpcError):
                c.fail(b"x")
        wait_until(lambda: p.counts() == {(addr, "OK"): 7, (addr, "FAILED_PRECONDITION"): 3}, 5, "10 calls")
        assert 'route="/echo.Echo/unary",code="OK"} 7' in p.get("/metrics")
        assert p.metric("ewma_proxy_request_duration_seconds_count") == 10


def test_a_deadline_ends_the_call_at_client_and_server() -> None:
    with echo_server("a") as (addr, echo), proxy([addr]) as p, client(p.port) as c:
        with pytest.raises(grpc.RpcError) as failed:
            c.slow(b"", timeout=0.3)
        assert failed.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert echo.cancelled.acquire(timeout=5), "the server was not told"
        wait_until(lambda: p.metric("ewma_proxy_requests_in_flight") == 0, 5, "nothing in flight")


def test_a_cancelled_call_is_cancelled_at_the_server() -> None:
    with echo_server("a") as (addr, echo), proxy([addr]) as p, client(p.port) as c:
        call = c.slow.future(b"")
        assert echo.started.acquire(timeout=5)
        call.cancel()
        assert echo.cancelled.acquire(timeout=5)
        wait_until(lambda: p.counts() == {(addr, "CANCELLED"): 1}, 5, "counted as cancelled")


def test_no_server_gives_unavailable_with_a_reason() -> None:
    with proxy([f"127.0.0.1:{free_port()}"]) as p, client(p.port) as c:
        with pytest.raises(grpc.RpcError) as failed:
            c.unary(b"", timeout=10)
        assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "ewma-proxy" in failed.value.details()


def test_a_server_that_stops_gracefully_loses_no_call() -> None:
    with echo_server("a") as (a, _), ExitStack() as stack:
        b, _ = stack.enter_context(echo_server("b"))
        p = stack.enter_context(proxy([a, b]))
        c = stack.enter_context(client(p.port))
        done = [c.unary.future(b"x") for _ in range(200)]
        [d.result(timeout=10) for d in done]
        # Age out connections as MAX_CONNECTION_AGE does: GOAWAY while calls are on their way.
    with (
        echo_server("a", options=[("grpc.max_connection_age_ms", 200), ("grpc.max_connection_age_grace_ms", 5000)]) as (
            a,
            _,
        ),
        proxy([a]) as p,
        client(p.port) as c,
    ):
        ok = 0
        while p.metric("ewma_proxy_upstream_connects_total") < 4:
            futures = [c.unary.future(b"x", timeout=10) for _ in range(20)]
            ok += sum(1 for f in futures if f.result() == b"x")
        assert ok > 0


def test_sigterm_finishes_the_calls_under_way_and_exits_0() -> None:
    with echo_server("a") as (addr, echo):
        p = Proxy([addr])
        with client(p.port) as c:
            call = c.slow.future(b"")
            assert echo.started.acquire(timeout=5)
            p.process.terminate()
            wait_until(lambda: _refused(p.port), 5, "no new connection is taken")
            assert not call.done()
            echo.release.set()
            assert call.result(timeout=10) == b"a"
            assert p.process.wait(timeout=10) == 0
            p.kill()


def test_a_second_sigterm_ends_at_once() -> None:
    with echo_server("a") as (addr, echo):
        p = Proxy([addr])
        with client(p.port) as c:
            call = c.slow.future(b"")
            assert echo.started.acquire(timeout=5)
            p.process.terminate()
            wait_until(lambda: _refused(p.port), 5, "draining")
            p.process.terminate()
            assert p.process.wait(timeout=3) == 0
            call.cancel()
            p.kill()


def _refused(port: int) -> bool:
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False

"""Redirected connections end where they should: rules, original destination, Services, strangers, restarts."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netns.support import ADMIN, PEERS, PORT, UID, World, skip_unless_possible, world

CLIENT_HELLO = "16030100a5010000a10303" + bytes(range(32)).hex()


@pytest.fixture(scope="module")
def pod() -> Iterator[World]:
    skip_unless_possible()
    with world() as w:
        w.init("--skip-ports", "7000-7009,7778", "--skip-cidrs", "10.77.1.3/32,fd77:1::3/128", "--skip-uids", "4242")
        w.start_proxy()
        yield w


@pytest.mark.parametrize("target", ["10.96.0.10:80", "[fd96::10]:80"])
def test_one_grpc_channel_to_a_cluster_ip_is_spread_over_the_pods(pod: World, target: str) -> None:
    seen = pod.client("grpc", target, "60")
    assert sum(seen.values()) == 60
    assert len(seen) == 3
    assert min(seen.values()) >= 8, seen


@pytest.mark.parametrize("address", ["10.77.1.2:8081", "[fd77:1::2]:8081"])
def test_a_headless_services_name_is_balanced_and_a_pods_own_goes_there(pod: World, address: str) -> None:
    for name in ("headless:8081", "headless.lab.svc.cluster.local:8081"):
        assert len(pod.client("grpc", address, "30", name)) == 3, name
    for name in ("pod-1.headless.lab.svc.cluster.local:8081", address):
        assert pod.client("grpc", address, "10", name) == {"pod-1": 10}, name


@pytest.mark.parametrize("host", ["10.77.1.2", "fd77:1::2"])
def test_http_1_finds_a_headless_service_by_its_host_too(pod: World, host: str) -> None:
    assert len(pod.client("http", host, "8082", "30", "web.lab.svc:8082")) == 3
    assert pod.client("http", host, "8082", "10", "pod-1.web.lab.svc:8082") == {"pod-1": 10}


def test_a_pod_that_no_headless_service_has_gets_its_connection_untouched(pod: World) -> None:
    assert pod.client("grpc", "10.77.1.2:8080", "10", "voting") == {"pod-1": 10}


@pytest.mark.parametrize("host", ["10.77.0.1", "fd77::1"])
def test_an_unknown_destination_passes_through(pod: World, host: str) -> None:
    before = passed(pod)
    assert pod.client("echo", host, "7777", "00616263") == "00616263"
    assert passed(pod) == before + 1


@pytest.mark.parametrize("host", ["10.96.0.25", "fd96::25"])
def test_a_greeting_is_through_within_200_ms(pod: World, host: str) -> None:
    took = []
    for _ in range(3):
        said, seconds = pod.client("greeting", host, "25")
        assert said == "220 hello\r\n"
        took.append(seconds)
    assert min(took) < 0.2, took


def test_tls_passes_as_it_is(pod: World) -> None:
    assert pod.client("echo", "10.96.0.43", "443", CLIENT_HELLO) == CLIENT_HELLO


def passed(pod: World) -> int:
    """Connections that the proxy has passed through so far; the question itself stays on loopback."""
    code = (
        f"import urllib.request as u; print(u.urlopen('http://127.0.0.1:{ADMIN}/metrics', timeout=5).read().decode())"
    )
    text = pod.run(sys.executable, "-c", code)
    return int(next(x for x in text.splitlines() if x.startswith("ewma_proxy_opaque_connections_total")).split()[-1])


@pytest.mark.parametrize(
    ("uid", "host", "port"),
    [(UID, "10.77.0.1", "7777"), (4242, "10.77.0.1", "7777"), (0, "10.77.1.3", "7777"), (0, "fd77:1::3", "7777")],
    ids=["own UID", "skipped UID", "skipped network", "skipped IPv6 network"],
)
def test_what_is_exempt_does_not_meet_the_proxy(pod: World, uid: int, host: str, port: str) -> None:
    before = passed(pod)
    assert pod.client("echo", host, port, "0061", uid=uid) == "0061"
    assert passed(pod) == before


def test_skipped_ports_are_refused_by_whoever_they_belong_to(pod: World) -> None:
    before = passed(pod)
    for port in ("7000", "7009", "7778"):
        assert pod.client("outcome", "10.77.0.1", port) == "ConnectionRefusedError"
    assert passed(pod) == before
    assert pod.client("outcome", "10.77.0.1", "7010") == "ConnectionResetError", "redirected, and nobody there"


def test_loopback_is_untouched(pod: World) -> None:
    assert pod.client("outcome", "127.0.0.1", "7777") == "ConnectionRefusedError"
    assert pod.client("outcome", "::1", "7777") == "ConnectionRefusedError"


def test_what_comes_in_is_untouched(pod: World) -> None:
    server = pod.start(sys.executable, str(PEERS), "accept", "9000")
    assert server.stdout
    assert server.stdout.readline() == "ready\n"
    pod.run(sys.executable, str(PEERS), "outcome", "10.77.0.2", "9000", ns=pod.world)
    assert server.communicate(timeout=10)[0].strip() == '"10.77.0.1"', "the client's own address"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "10.77.0.2"])
def test_a_connection_to_the_listener_itself_is_refused(pod: World, host: str) -> None:
    assert pod.client("outcome", host, str(PORT)) in {"ConnectionResetError", "ConnectionRefusedError"}


def test_a_dead_proxy_means_refused_connections_and_a_client_recovers_within_2_s(pod: World) -> None:
    pod.kill_proxy()
    for host, port in (("10.96.0.10", "80"), ("fd96::10", "80"), ("10.77.0.1", "7777")):
        assert pod.client("outcome", host, port) == "ConnectionRefusedError", "at once: a loop would time out"
    client = pod.start(sys.executable, str(PEERS), "until", "10.96.0.43", "443")
    assert client.stdout
    assert client.stdout.readline() == "trying\n"
    begin = time.monotonic()
    pod.start_proxy()
    assert client.stdout.readline() == '"open"\n'
    assert time.monotonic() - begin < 2
    assert len(pod.client("grpc", "10.96.0.10:80", "30")) == 3


def test_before_the_first_list_connections_are_held_and_then_pass_through_as_strangers(pod: World) -> None:
    pod.kill_proxy()
    pod.start_proxy("--wait-ms", "700", kubeconfig="no-api", ready=False)
    client = pod.start(sys.executable, str(PEERS), "until", "10.77.0.1", "7777")
    assert client.stdout
    assert client.stdout.readline() == "trying\n"
    begin = time.monotonic()
    assert client.stdout.readline() == '"open"\n'
    assert 0.5 < time.monotonic() - begin < 3
    pod.kill_proxy()
    pod.start_proxy()
    assert len(pod.client("grpc", "10.96.0.10:80", "30")) == 3


def test_the_proxy_runs_as_a_user_without_rights(pod: World) -> None:
    assert pod.proxy
    status = Path(f"/proc/{pod.proxy.pid}/status").read_text()
    assert f"Uid:\t{UID}\t{UID}" in status
    assert "CapEff:\t0000000000000000" in status

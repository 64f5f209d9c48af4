"""Limits that hold for all clients together: connections, descriptors, memory, idleness."""

from __future__ import annotations

import contextlib
import resource
import socket
import threading

from hyperframe.frame import DataFrame, SettingsFrame

from tests.proxy.harness import Proxy, client, echo_server, proxy
from tests.proxy.raw import Raw
from tests.support import wait_until


def closed(s: socket.socket, seconds: float = 5) -> bool:
    """Does the other side close, whatever it says before?"""
    s.settimeout(seconds)
    with contextlib.suppress(ConnectionError):
        while s.recv(65536):
            pass
    return True


def test_a_client_too_many_is_closed_at_once_and_one_less_makes_room() -> None:
    with echo_server("a") as (addr, _), proxy([addr], "--max-connections", "5") as p:
        some = [Raw(p.port) for _ in range(5)]
        wait_until(lambda: p.metric("ewma_proxy_connections") == 5, 5, "five clients")
        assert closed(socket.create_connection(("127.0.0.1", p.port), timeout=5))
        assert p.metric("ewma_proxy_connections_refused_total") == 1
        for raw in some[:2]:
            raw.close()
        wait_until(lambda: p.metric("ewma_proxy_connections") == 3, 5, "two have gone")
        with client(p.port) as c:
            assert c.unary(b"x", timeout=5) == b"x"


def flood(p: Proxy, n: int) -> list[socket.socket]:
    found = []
    for _ in range(n):
        with contextlib.suppress(OSError):
            found.append(socket.create_connection(("127.0.0.1", p.port), timeout=5))
    return found


def busy(p: Proxy, seconds: float) -> float:
    """Share of one core that the proxy uses."""
    before = p.cpu_seconds()
    threading.Event().wait(seconds)
    return (p.cpu_seconds() - before) / seconds


def test_few_descriptors_leave_some_for_the_admin_pages_and_endpoints() -> None:
    with echo_server("a") as (addr, _), proxy([addr], nofile=64) as p:
        many = flood(p, 200)
        assert busy(p, 2) < 0.2
        assert p.get("/live") == "live\n"
        assert p.metric("ewma_proxy_connections_refused_total") >= 100
        for s in many:
            s.close()
        with client(p.port) as c:
            wait_until(lambda: c.unary(b"x", timeout=2) == b"x", 10, "served again")


def test_accepting_survives_a_lack_of_descriptors() -> None:
    with echo_server("a") as (addr, _), proxy([addr]) as p:
        resource.prlimit(p.process.pid, resource.RLIMIT_NOFILE, (24, 24))
        many = flood(p, 100)
        assert busy(p, 2) < 0.2
        for s in many:
            s.close()
        with client(p.port) as c:
            wait_until(lambda: c.unary(b"x", timeout=2) == b"x", 10, "served again")
        assert p.get("/live") == "live\n"


def test_an_idle_client_is_told_and_comes_back_without_a_failed_call() -> None:
    with echo_server("a") as (addr, _), proxy([addr], "--idle-seconds", "1") as p, client(p.port) as c:
        assert c.unary(b"x") == b"x"
        raw = Raw(p.port)
        assert raw.goaway_code() == 0
        wait_until(lambda: p.metric("ewma_proxy_connections") == 0, 5, "both were idle")
        for _ in range(10):
            assert c.unary(b"x", timeout=5) == b"x"
        assert p.metric("ewma_proxy_idle_closed_total") >= 2


def test_an_idle_connection_to_an_endpoint_is_closed() -> None:
    with echo_server("a") as (addr, _), proxy([addr], "--upstream-idle-seconds", "1") as p, client(p.port) as c:
        for n in (1, 2):
            assert c.unary(b"x") == b"x"
            assert p.metric("ewma_proxy_upstream_connects_total") == n
            wait_until(lambda n=n: p.metric("ewma_proxy_idle_closed_total") == n, 5, "closed")


def test_memory_stays_near_its_cap_while_peers_do_not_read() -> None:
    """A server that reads nothing and a hundred clients with eight 256 KiB bodies each: 200 MiB on offer."""
    listener = socket.create_server(("127.0.0.1", 0))
    kept: list[socket.socket] = []

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                s, _ = listener.accept()
                s.sendall(SettingsFrame(0, settings={3: 100_000}).serialize())
                kept.append(s)

    threading.Thread(target=accept, daemon=True).start()
    addr = f"127.0.0.1:{listener.getsockname()[1]}"
    with proxy([addr], "--max-held-mib", "16", "--ping-after-seconds", "0") as p:
        before = p.rss_mib()
        raws = [Raw(p.port) for _ in range(100)]
        peak = 0.0
        for raw in raws:
            raw.socket.settimeout(0.5)
            for stream in range(1, 17, 2):
                raw.send(raw.head(stream, end=False))
                for _ in range(16):
                    if not raw.send(DataFrame(stream, data=b"x" * 16000).serialize()):
                        break
            peak = max(peak, p.rss_mib())
        assert p.metric("ewma_proxy_shed_total") > 0
        assert p.metric("ewma_proxy_held_bytes") < 24 << 20
        assert peak < before + 48, f"{peak:.0f} MiB, {before:.0f} before"
        for raw in raws:
            raw.close()
        wait_until(lambda: p.metric("ewma_proxy_held_bytes") < 1 << 20, 10, "all given back")
    listener.close()
    for s in kept:
        s.close()


PAUSE_S = 13
BODY = 16 << 20


def test_a_server_that_reads_nothing_for_a_while_gets_all_of_it_in_the_end() -> None:
    """Longer than unacknowledged bytes may be under way with HTTP/2: a paused reader is not a dead one."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)

    def serve(s: socket.socket) -> None:
        with s, contextlib.suppress(OSError):
            if not s.recv(1, socket.MSG_PEEK):
                return
            threading.Event().wait(PAUSE_S)
            n = 0
            while n < BODY and (data := s.recv(1 << 20)):
                n += len(data)
            text = f"{n >= BODY}".encode()
            s.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%s" % (len(text), text))
            while s.recv(1 << 20):
                pass

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    with proxy([f"127.0.0.1:{listener.getsockname()[1]}"]) as p:

        def send(head: bytes, answers: dict[bytes, bytes]) -> None:
            with socket.create_connection(("127.0.0.1", p.port), timeout=PAUSE_S + 20) as s:
                try:
                    s.sendall(head + b"z" * BODY)
                    answers[head] = s.recv(4096)
                except OSError as e:
                    answers[head] = repr(e).encode()

        answers: dict[bytes, bytes] = {}
        heads = [b"\x00\x01 no HTTP", b"POST /x HTTP/1.1\r\nhost: a\r\ncontent-length: %d\r\n\r\n" % BODY]
        senders = [threading.Thread(target=send, args=(head, answers)) for head in heads]
        for sender in senders:
            sender.start()
        for sender in senders:
            sender.join()
        assert [answers[head].startswith(b"HTTP/1.1 200 OK") for head in heads] == [True, True], answers
    listener.close()

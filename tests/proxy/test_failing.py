"""A pod that fails fast, with real gRPC: it is left, and back soon after it works."""

from __future__ import annotations

import time

import grpc

from tests.proxy.harness import Client, Echo, client, echo_server, proxy
from tests.support import wait_until


def call(c: Client, seconds: float) -> None:
    """Calls one after the other for so long; some fail."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done = c.unary.future(b"x", timeout=5)
        assert done.code() in (grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE)


def share(c: Client, one: Echo, *others: Echo) -> float:
    """What part of a second's calls this server gets."""
    before = [e.calls for e in (one, *others)]
    call(c, 1)
    got = [e.calls - b for e, b in zip((one, *others), before, strict=True)]
    return got[0] / sum(got)


def test_a_pod_that_fails_fast_is_left_and_is_back_when_it_works() -> None:
    with (
        echo_server("well") as (a, well),
        echo_server("well too") as (b, too),
        echo_server("failing", broken=True) as (f, failing),
        proxy([a, b, f]) as p,
        client(p.port) as c,
    ):
        call(c, 1)
        left = share(c, failing, well, too)
        assert left < 0.02, f"{left:.1%} of the calls still fail"
        failing.broken = False
        # One probe a second finds that it works; from then on it is one of three.
        wait_until(lambda: share(c, failing, well, too) > 0.2, 5, "it has its share again")

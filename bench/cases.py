"""What is run against each proxy, and for how long. Knows numbers only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """One kind of load. `rate`: requests a second in all, 0 for as many as go; `seconds`: of one round."""

    name: str
    title: str
    connections: int = 8
    streams: int = 16
    size: int = 10
    rate: int = 0
    endpoints: int = 3
    seconds: float = 1.0
    generator: str = "h2load"
    #: Response times are kept; writing them down costs the load's core some of what it could send.
    timed: bool = False
    #: Peers that this case is for; all if empty.
    peers: tuple[str, ...] = ()


_SOME = ("ours", "tcp", "nghttpx")

CASES = {
    case.name: case
    for case in (
        Case("8x16", "8 connections × 16 streams, saturated"),
        Case("1x16", "1 connection × 16 streams, saturated", connections=1, peers=_SOME),
        Case("100x1", "100 connections × 1 stream, saturated", connections=100, streams=1, timed=True),
        Case("8x16-1k", "8 × 16, 1 KiB bodies", size=1024),
        Case("8x4-64k", "8 × 4, 64 KiB bodies", streams=4, size=65536),
        Case("8x16-e1000", "8 × 16, 1,000 endpoints", endpoints=1000, peers=_SOME),
        Case("r500", "500 requests/s, 8 connections", rate=500, seconds=1.5, timed=True),
        Case("r2000", "2,000 requests/s, 8 connections", rate=2000, seconds=1.5, timed=True),
        Case("r10000", "10,000 requests/s, 8 connections", rate=10_000, seconds=1.2, timed=True),
        Case("g2000", "gRPC, 2,000 calls/s, open loop", rate=2000, seconds=1.5, generator="ghz", timed=True),
    )
}

#: What `--quick` runs unless told otherwise.
QUICK = ("8x16", "100x1", "r2000", "8x4-64k")
QUICK_PEERS = ("ours", "tcp", "nghttpx")

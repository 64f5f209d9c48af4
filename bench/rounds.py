"""The order of things: rounds, cases, peers, rotated; one record per run of load.

Within a round each case meets all peers one right after the other, so a ratio compares what the machine did within
seconds; the peers' order rotates from round to round. Proxies are started anew in each round.
Knows nothing of what records mean.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench import backends, held, load, measure
from bench.cases import Case
from bench.peers import Peer

Record = dict[str, Any]
#: Connections, and connections × streams, that are held open for their memory.
CONNECTIONS, CARRIERS = 400, 10
#: Memory hardly differs from round to round: it is looked at in the first few.
MEMORY_ROUNDS = 2
#: So many endpoints no case has.
_FRESH = "4"
_PORT = 8000


class Proxies:
    """The proxies of one round, started when they are first wanted. One for each kind of endpoints."""

    def __init__(self, folder: Path, core: int, stack: contextlib.ExitStack) -> None:
        self.folder, self.core, self.stack = folder, core, stack
        self.started: dict[tuple[str, str], tuple[int, int]] = {}

    def get(self, peer: Peer, kind: str) -> tuple[int, int]:
        """Port and process."""
        if (peer.name, kind) not in self.started:
            port = _PORT + 10 * len(self.started)
            listed = backends.GRPC_ENDPOINTS if kind == "ghz" else backends.endpoints(int(kind))
            folder = self.folder / f"{peer.name}-{kind}"
            folder.mkdir(exist_ok=True)
            command = peer.command(folder, port, listed)
            child = self.stack.enter_context(backends.process(command, self.core, port, folder / "log"))
            self.started[peer.name, kind] = (port, child.pid)
        return self.started[peer.name, kind]


def rotated(peers: Sequence[Peer], by: int) -> list[Peer]:
    """The peers in turn, beginning with another one each time."""
    by %= len(peers)
    return [*peers[by:], *peers[:by]]


def run(
    peers: Sequence[Peer],
    cases: Sequence[Case],
    count: int,
    folder: Path,
    raw: Path,
    say: Callable[[str], None],
    memory: bool = True,
) -> list[Record]:
    """All rounds. Each record is appended to `raw`, a line of JSON, as soon as it is known."""
    proxy_core, load_core = measure.cores()
    files = backends.write_files(folder)
    records: list[Record] = []
    with raw.open("w") as out, backends.running(folder, load_core):

        def note(record: Record) -> None:
            records.append(record)
            out.write(json.dumps(record) + "\n")
            out.flush()

        for number in range(count):
            with contextlib.ExitStack() as stack:
                proxies = Proxies(folder, proxy_core, stack)
                order = rotated(peers, number)
                watched = order if memory and number < MEMORY_ROUNDS else []
                for peer in watched:
                    note({"round": number, "peer": peer.name, "case": "memory", **_idle(peer, proxies)})
                for at, case in enumerate(cases):
                    say(f"round {number + 1}/{count}: {case.title}")
                    for peer in rotated(order, at):
                        if not case.peers or peer.name in case.peers:
                            note({"round": number, **_one(peer, case, proxies, files[case.size], load_core)})
                    if case.timed and case.rate:
                        note({"round": number, **_direct(case, files[case.size], load_core)})
                for peer in watched:
                    say(f"round {number + 1}/{count}: connections and streams of {peer.title}")
                    note({"round": number, "peer": peer.name, "case": "memory", **_held(peer, proxies)})
    return records


def _kind(case: Case) -> str:
    return "ghz" if case.generator == "ghz" else str(case.endpoints)


def _generate(port: int, case: Case, body: Path, core: int, seconds: float) -> load.Result:
    if case.generator == "ghz":
        return load.ghz(port, connections=case.connections, seconds=seconds, rate=case.rate, size=case.size, core=core)
    log = body.with_suffix(".log") if case.timed else None
    return load.h2load(
        port,
        connections=case.connections,
        streams=case.streams,
        seconds=seconds,
        body=body,
        core=core,
        rate=case.rate,
        log=log,
    )


def _one(peer: Peer, case: Case, proxies: Proxies, body: Path, core: int) -> Record:
    port, pid = proxies.get(peer, _kind(case))
    if case.generator == "h2load":
        warm = {"connections": case.connections, "streams": case.streams, "body": body, "core": core}
        load.h2load(port, seconds=0.2, log=None, **warm)  # type: ignore[arg-type]
    measure.reset_peak(pid)
    before = measure.cpu_ns(pid)
    result = _generate(port, case, body, core, case.seconds)
    used = measure.cpu_ns(pid) - before
    return {
        "peer": peer.name,
        "case": case.name,
        "cpu_us": used / 1e3 / result.requests,
        "busy": used / 1e9 / result.seconds,
        "peak": measure.memory(pid).peak,
        **_numbers(result),
    }


def _direct(case: Case, body: Path, core: int) -> Record:
    port = backends.GRPC_PORT if case.generator == "ghz" else backends.PORTS[0]
    return {"peer": "direct", "case": case.name, **_numbers(_generate(port, case, body, core, case.seconds))}


def _numbers(result: load.Result) -> Record:
    times = {
        name: load.quantile(result.latencies, q)
        for name, q in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))
        if result.latencies
    }
    return {"requests": result.requests, "rps": result.rps, **times}


def _idle(peer: Peer, proxies: Proxies) -> Record:
    """KiB of a proxy that has had no client yet."""
    _, pid = proxies.get(peer, "3")
    held.settle()
    idle = measure.memory(pid)
    return {"idle": idle.rss, "idle_anon": idle.anon}


def _held(peer: Peer, proxies: Proxies) -> Record:
    """Bytes of RSS per idle connection and per idle stream, in a process of its own: memory that a load has left free
    would hide them."""
    port, pid = proxies.get(peer, _FRESH)
    with held.connections(port, 10):
        pass
    held.settle()
    base = measure.memory(pid).rss
    with held.connections(port, CONNECTIONS):
        held.settle()
        loaded = measure.memory(pid).rss
    held.settle()
    with held.connections(port, CARRIERS) as clients:
        held.settle()
        before = measure.memory(pid).rss
        for client in clients:
            client.begin(held.STREAMS)
        held.settle()
        after = measure.memory(pid).rss
    held.settle()
    return {
        "per_connection": (loaded - base) * 1024 / CONNECTIONS,
        "per_stream": (after - before) * 1024 / (CARRIERS * held.STREAMS),
    }

"""The load generators: their command lines, and what they print → one [`Result`]. Knows no proxy.

h2load saturates, or sends at a fixed rate (`--rps`, spread over the connections; a request that cannot be sent yet
is sent late, so at rates far below saturation it is open-loop, and no result counts whose rate was missed).
ghz sends real gRPC calls by a schedule that does not wait for answers (`--async`).
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from bench.tools import find


class LoadFailed(Exception):
    """Requests failed, or the generator did."""


@dataclass(frozen=True)
class Result:
    """What came of one run of load. Latencies in µs, sorted; none where they were not asked for."""

    requests: int
    seconds: float
    latencies: tuple[float, ...] = ()

    @property
    def rps(self) -> float:
        return self.requests / self.seconds


def quantile(ordered: tuple[float, ...] | list[float], q: float) -> float:
    """The smallest value that at least `q` of all do not exceed (nearest rank)."""
    if not ordered:
        raise ValueError("no values")
    rank = max(1, -(-len(ordered) * round(q * 10_000) // 10_000))
    return ordered[rank - 1]


def h2load(
    port: int, *, connections: int, streams: int, seconds: float, body: Path, core: int, rate: int = 0, log: Path | None
) -> Result:
    """Calls in gRPC's form with the file as message, saturating or at `rate` requests a second in all."""
    command = ["taskset", "-c", str(core), find("h2load"), "-t1", "-c", str(connections), "-m", str(streams)]
    if rate:
        command += ["--rps", f"{rate / connections:g}", "-n", str(int(rate * seconds))]
    else:
        command += ["-D", f"{int(seconds * 1000)}ms"]
    if log:
        log.unlink(missing_ok=True)
        command += ["--log-file", str(log)]
    command += ["-H", "content-type: application/grpc", "-H", "te: trailers", "-d", str(body)]
    command += [f"http://127.0.0.1:{port}/{body.name}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 3 + 30)
    if done.returncode:
        raise LoadFailed(f"h2load: exit {done.returncode}: {done.stderr.strip() or done.stdout[-300:]}")
    return parse_h2load(done.stdout, log.read_text() if log else "")


def parse_h2load(text: str, log: str = "") -> Result:
    """h2load's summary, and its log of single requests (start µs, status, µs). Raises LoadFailed on a failed one."""
    counts = re.search(r"requests: .* (\d+) succeeded, (\d+) failed, (\d+) errored, (\d+) timeout", text)
    time = re.search(r"finished in ([\d.]+)(us|ms|s)", text)
    if not counts or not time:
        raise LoadFailed(f"h2load said: {text[-300:]}")
    good, failed = int(counts[1]), int(counts[2])
    if good == 0 or failed > 0:
        raise LoadFailed(f"h2load: {good} requests succeeded, {failed} failed")
    seconds = float(time[1]) * {"us": 1e-6, "ms": 1e-3, "s": 1.0}[time[2]]
    latencies = sorted(float(line.split("\t")[2]) for line in log.splitlines() if line.count("\t") == 2)
    return Result(good, seconds, tuple(latencies))


def ghz(port: int, *, connections: int, seconds: float, rate: int, size: int, core: int) -> Result:
    """Real gRPC calls at a fixed rate, whether answers come or not."""
    proto = Path(__file__).with_name("echo.proto")
    command = ["taskset", "-c", str(core), find("ghz"), "--insecure", "--proto", str(proto)]
    command += ["--call", "grpc.testing.TestService.UnaryCall", "--data", json.dumps({"responseSize": size})]
    command += ["--rps", str(rate), "--total", str(int(rate * seconds))]
    command += ["--async", "--connections", str(connections), "--concurrency", str(connections * 8)]
    command += ["--format", "json", f"127.0.0.1:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=seconds * 3 + 30)
    if done.returncode:
        raise LoadFailed(f"ghz: exit {done.returncode}: {done.stderr.strip()[-300:]}")
    return parse_ghz(done.stdout)


def parse_ghz(text: str) -> Result:
    """ghz's JSON. Raises LoadFailed if a call failed."""
    said = json.loads(text)
    bad = {code: n for code, n in said["statusCodeDistribution"].items() if code != "OK"}
    if bad:
        raise LoadFailed(f"ghz: calls failed: {bad}")
    latencies = sorted(detail["latency"] / 1e3 for detail in said["details"])
    return Result(said["count"], said["total"] / 1e9, tuple(latencies))

"""`python -m bench`: runs the comparison and writes what came of it. Parses, calls, prints; nothing else."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from bench import machine, private, report, rounds, summary
from bench.backends import GRPC_PORT
from bench.cases import CASES, QUICK, QUICK_PEERS
from bench.load import LoadFailed
from bench.peers import PEERS
from bench.tools import ROOT, Missing, require

EXAMPLE = """examples:
  make bench                                        all of it, about 9 minutes; writes docs/performance.md
  python -m bench --quick                           a look, under 2 minutes; writes nothing under docs/
  python -m bench --peers ours,tcp --cases r2000 --rounds 7

Let nothing else run meanwhile. exit codes: 0 done, 2 usage, 3 something is missing or failed"""


def options(argv: list[str] | None = None) -> argparse.Namespace:
    """What was asked for. Exits with 2 if that is nonsense."""
    parser = argparse.ArgumentParser(
        prog="bench", description=__doc__, epilog=EXAMPLE, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="few cases, few peers, 3 rounds, no files under docs/")
    parser.add_argument("--peers", metavar="A,B", help=f"of {','.join(PEERS)}")
    parser.add_argument("--cases", metavar="A,B", help=f"of {','.join(CASES)}")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds (default 5)")
    parser.add_argument("--scale", type=float, default=1.0, metavar="X", help="each run of load lasts X times as long")
    parser.add_argument("--no-memory", action="store_true", help="leave out what connections and streams cost")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    parser.add_argument("--from-raw", type=Path, metavar="FILE", help="run nothing; report these records anew")
    chosen = parser.parse_args(argv)
    chosen.peers = _subset(parser, chosen.peers, PEERS, QUICK_PEERS if chosen.quick else tuple(PEERS))
    chosen.cases = _subset(parser, chosen.cases, CASES, QUICK if chosen.quick else tuple(CASES))
    chosen.rounds = chosen.rounds if chosen.rounds is not None else 3 if chosen.quick else 5
    if chosen.rounds < 1:
        parser.error("--rounds: at least 1")
    if chosen.scale <= 0:
        parser.error("--scale: above 0")
    return chosen


def _subset(
    parser: argparse.ArgumentParser, given: str | None, known: Mapping[str, object], default: tuple[str, ...]
) -> list[str]:
    names = given.split(",") if given else list(default)
    for name in names:
        if name not in known:
            parser.error(f"{name}: unknown; there are {', '.join(known)}")
    return names


def main() -> int:
    chosen = options()
    try:
        records, about = _read(chosen.from_raw) if chosen.from_raw else _run(chosen)
    except Missing as e:
        print(f"bench: programs are missing\n{e}", file=sys.stderr)
        return 3
    except (OSError, LoadFailed) as e:
        print(f"bench: {e}", file=sys.stderr)
        return 3
    result = summary.summarize(records, about)
    if chosen.json:
        print(json.dumps(result, indent=1))
    else:
        print(report.text(result))
    whole = set(chosen.peers) == set(PEERS) and set(chosen.cases) == set(CASES) and not chosen.quick
    if whole:
        written = report.write(result, ROOT / "docs")
        print(f"written: {', '.join(str(p.relative_to(ROOT)) for p in written)}", file=sys.stderr)
    return 0


def _run(chosen: argparse.Namespace) -> tuple[list[rounds.Record], dict[str, str]]:
    peers = [PEERS[name] for name in chosen.peers]
    cases = [replace(CASES[name], seconds=CASES[name].seconds * chosen.scale) for name in chosen.cases]
    require(["taskset", "unshare", "h2load", "nghttpd", "interop-server", *{p.tool for p in peers}])
    if any(c.generator == "ghz" for c in cases):
        require(["ghz"])
    private.enter()
    folder = ROOT / "build/bench"
    folder.mkdir(parents=True, exist_ok=True)
    about = machine.describe()
    (folder / "machine.json").write_text(json.dumps(about, indent=1) + "\n")
    start = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - start:5.0f} s  {line}", file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory(prefix="bench-") as work:
        say(
            f"{len(peers)} proxies, {len(cases)} cases, {chosen.rounds} rounds; back ends on port {GRPC_PORT} and below"
        )
        raw = folder / "raw.jsonl"
        records = rounds.run(peers, cases, chosen.rounds, Path(work), raw, say, memory=not chosen.no_memory)
    return records, about


def _read(raw: Path) -> tuple[list[rounds.Record], dict[str, str]]:
    about = raw.with_name("machine.json")
    records = [json.loads(line) for line in raw.read_text().splitlines()]
    return records, json.loads(about.read_text())


if __name__ == "__main__":
    sys.exit(main())

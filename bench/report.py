"""A summary → the table on the terminal, and docs/performance.md with its picture and data. Measures nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bench.cases import CASES
from bench.peers import PEERS
from bench.picture import bars

Summary = dict[str, Any]
_BEGIN, _END = "<!-- measured: written by make bench -->", "<!-- end of what make bench writes -->"
_TITLES = {name: peer.title for name, peer in PEERS.items()} | {"direct": "no proxy"}
_DIGITS = {"cpu_us": 2, "rps": 0, "busy": 2, "peak": 0, "p50": 0, "p99": 0, "p999": 0}
_COLUMNS = {
    "cpu_us": "CPU µs/request",
    "rps": "requests/s",
    "busy": "core used",
    "peak": "peak RSS KiB",
    "p50": "p50 µs",
    "p99": "p99 µs",
    "p999": "p99.9 µs",
}


def number(value: float, digits: int = 0) -> str:
    """With thousands separated."""
    return f"{value:,.{digits}f}"


def ranged(values: dict[str, float], digits: int = 2) -> str:
    """Median and, in brackets, smallest and largest."""
    return f"{number(values['median'], digits)} ({number(values['min'], digits)}–{number(values['max'], digits)})"


def goals(result: Summary) -> list[list[str]]:
    rows = [["goal", "at most", "measured: median (smallest–largest of the rounds)", ""]]
    for goal in result["goals"]:
        digits = 2 if goal["unit"] == "×" else 0
        rows.append(
            [
                goal["text"],
                f"{number(goal['limit'], digits)} {goal['unit']}",
                f"{ranged(goal['measured'], digits)} {goal['unit']}",
                "met" if goal["met"] else "**missed**",
            ]
        )
    return rows


def case_rows(of: dict[str, dict[str, dict[str, float]]]) -> list[list[str]]:
    """A case's table: a row per proxy."""
    columns = [c for c in _COLUMNS if any(c in numbers for numbers in of.values())]
    rows = [["", *(_COLUMNS[c] for c in columns)]]
    for peer in [p for p in (*PEERS, "direct") if p in of]:
        cells = [ranged(of[peer][c], _DIGITS[c]) if c in of[peer] else "–" for c in columns]
        rows.append([_TITLES[peer], *cells])
    return rows


def memory_rows(cases: dict[str, Any]) -> list[list[str]]:
    rows = [["", "idle KiB", "of that heap KiB", "B per idle connection", "B per idle stream"]]
    for peer, numbers in cases["memory"].items():
        keys = ("idle", "idle_anon", "per_connection", "per_stream")
        rows.append([_TITLES[peer], *(number(numbers[k]["median"]) for k in keys)])
    return rows


def plain(rows: list[list[str]]) -> str:
    """Columns by spaces."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)


def markdown(rows: list[list[str]]) -> str:
    head, *rest = rows
    lines = [head, ["---"] * len(head), *rest]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def sections(result: Summary) -> list[tuple[str, list[list[str]]]]:
    """Title and table of each part."""
    found = [("Goals", goals(result))] if result["goals"] else []
    for name, case in CASES.items():
        if name in result["cases"]:
            found.append((case.title, case_rows(result["cases"][name])))
    if "memory" in result["cases"]:
        found.append(("Memory", memory_rows(result["cases"])))
    return found


def text(result: Summary) -> str:
    """For a terminal."""
    return "\n\n".join(f"{title}\n{plain(rows)}" for title, rows in sections(result))


def write(result: Summary, docs: Path) -> list[Path]:
    """Writes the measured part of performance.md (what stands around it is left alone), picture and data."""
    docs.mkdir(exist_ok=True)
    page, picture, data = docs / "performance.md", docs / "performance.svg", docs / "performance.json"
    about = "\n".join(f"- {name}: {value}" for name, value in result["machine"].items())
    parts = [f"{_BEGIN}\n![CPU per request](performance.svg)", f"{about}\n- rounds: {result['rounds']}"]
    parts += [f"### {title}\n\n{markdown(rows)}" for title, rows in sections(result)]
    block = "\n\n".join(parts) + f"\n\n{_END}"
    page.write_text(placed(page.read_text() if page.exists() else "", block))
    picture.write_text(bars(result["cases"]))
    data.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n")
    return [page, picture, data]


def placed(old: str, block: str) -> str:
    """The page with the measured part replaced, or added at its end."""
    if _BEGIN in old and _END in old:
        return old[: old.index(_BEGIN)] + block + old[old.index(_END) + len(_END) :]
    return (old.rstrip() + "\n\n" if old.strip() else "# Performance\n\n") + block + "\n"

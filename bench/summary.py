"""Records of all rounds → medians, ratios with their spread, goals. Pure.

A ratio is taken within a round and then the median of the rounds', with the smallest and largest beside it: what
the machine did at that minute falls out of it.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from bench.goals import GOALS

Record = dict[str, Any]
Summary = dict[str, Any]


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest, largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def collect(records: Iterable[Record]) -> dict[str, dict[str, dict[str, dict[int, float]]]]:
    """case → peer → number → round → value."""
    found: dict[str, dict[str, dict[str, dict[int, float]]]] = {}
    for record in records:
        numbers = found.setdefault(record["case"], {}).setdefault(record["peer"], {})
        for name, value in record.items():
            if name not in ("case", "peer", "round"):
                numbers.setdefault(name, {})[record["round"]] = value
    return found


def ratio(mine: dict[int, float], theirs: dict[int, float]) -> dict[str, float] | None:
    """Of the rounds that both have."""
    both = [mine[r] / theirs[r] for r in mine if theirs.get(r)]
    return spread(both) if both else None


def summarize(records: Sequence[Record], about: dict[str, str]) -> Summary:
    """Everything that is reported."""
    found = collect(records)
    cases = {
        case: {peer: {name: spread(list(by.values())) for name, by in numbers.items()} for peer, numbers in of.items()}
        for case, of in found.items()
    }
    return {
        "machine": about,
        "rounds": 1 + max((r["round"] for r in records), default=-1),
        "cases": cases,
        "goals": [g for goal in GOALS if (g := judge(goal, found)) is not None],
    }


def judge(goal: Any, found: dict[str, dict[str, dict[str, dict[int, float]]]]) -> dict[str, Any] | None:
    """A goal with what was measured; None if the run does not tell."""
    mine = found.get(goal.case, {}).get("ours", {}).get(goal.number)
    if not mine:
        return None
    if goal.per_round:
        measured = spread(list(mine.values()))
    else:
        against = (
            [goal.against] if goal.against else [p for p in found[goal.case] if p not in ("ours", "tcp", "direct")]
        )
        ratios = [ratio(mine, found[goal.case].get(p, {}).get(goal.number, {})) for p in against]
        known = [r for r in ratios if r]
        if not known:
            return None
        measured = max(known, key=lambda r: r["median"])
    return {
        "text": goal.text,
        "limit": goal.limit,
        "unit": goal.unit,
        "measured": measured,
        "met": measured["median"] <= goal.limit,
    }

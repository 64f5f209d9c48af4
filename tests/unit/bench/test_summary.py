"""Ratios are taken within a round, goals are judged by their median, and the page keeps what people wrote."""

from pathlib import Path
from typing import Any

import pytest

from bench import report
from bench.goals import GOALS
from bench.measure import parse_status
from bench.rounds import rotated
from bench.summary import summarize


def records(ours: list[float], floor: list[float]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for number, (mine, theirs) in enumerate(zip(ours, floor, strict=True)):
        found.append({"round": number, "peer": "ours", "case": "8x16", "cpu_us": mine, "rps": 1e5, "peak": 3000})
        found.append({"round": number, "peer": "tcp", "case": "8x16", "cpu_us": theirs, "rps": 1e5, "peak": 16000})
    return found


def goal(result: dict[str, Any], text: str) -> dict[str, Any]:
    return next(g for g in result["goals"] if g["text"].startswith(text))


def test_a_ratio_compares_what_one_round_measured() -> None:
    # The machine slowed down to a half in the second round: the ratio does not see it.
    result = summarize(records([3, 6, 3.3], [3, 6, 3]), {})
    measured = goal(result, "CPU per request, 8 × 16, to the TCP floor")["measured"]
    assert measured == {"median": 1.0, "min": 1.0, "max": pytest.approx(1.1)}


def test_a_goal_is_met_at_its_limit_and_missed_above() -> None:
    text = "CPU per request, 8 × 16, to the TCP floor"
    assert goal(summarize(records([1.25], [1]), {}), text)["met"]
    assert not goal(summarize(records([1.26], [1]), {}), text)["met"]


def test_a_goal_without_its_case_is_left_out_not_met() -> None:
    texts = {g["text"] for g in summarize(records([1], [1]), {})["goals"]}
    assert "p99 at 2,000/s, to the TCP floor" not in texts
    assert len(texts) < len(GOALS)


def test_cost_against_all_l7_peers_is_against_the_cheapest() -> None:
    rows = [("ours", 5.0), ("nghttpx", 10.0), ("nginx", 4.0), ("tcp", 1.0)]
    found = [{"round": 0, "peer": p, "case": "8x4-64k", "cpu_us": v, "rps": 1.0} for p, v in rows]
    assert goal(summarize(found, {}), "CPU per byte")["measured"]["median"] == 1.25


def test_every_proxy_comes_first_once() -> None:
    peers: Any = ["a", "b", "c"]
    assert [rotated(peers, n)[0] for n in range(4)] == ["a", "b", "c", "a"]
    assert all(sorted(map(str, rotated(peers, n))) == ["a", "b", "c"] for n in range(4))


def test_memory_is_read_from_proc() -> None:
    text = "Name:\tx\nVmHWM:\t  4016 kB\nVmRSS:\t  3900 kB\nRssAnon:\t     476 kB\nRssFile:\t 3000 kB\n"
    memory = parse_status(text)
    assert (memory.rss, memory.peak, memory.anon) == (3900, 4016, 476)


def test_a_page_keeps_what_people_wrote_round_the_measured_part(tmp_path: Path) -> None:
    result = summarize(records([3, 3], [3, 3]), {"date": "today"})
    page = tmp_path / "performance.md"
    page.write_text("# Performance\n\nbefore\n")
    report.write(result, tmp_path)
    page.write_text(page.read_text() + "\nafter\n")
    report.write(result, tmp_path)
    text = page.read_text()
    assert text.startswith("# Performance\n\nbefore\n")
    assert text.endswith("after\n")
    assert text.count("### Goals") == 1
    assert (tmp_path / "performance.svg").read_text().startswith("<svg")


def test_a_missed_goal_stands_out() -> None:
    assert "**missed**" in report.text(summarize(records([2], [1]), {}))

"""The report's two forms: JSON that keeps to its schema and can be read again, and a picture that fits the terminal."""

from __future__ import annotations

import copy
import json
import random
import re
from datetime import UTC, datetime, timedelta, timezone
from importlib.resources import files
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.report import SCHEMA, Claim, Latency, Report, Sources, picture, side_by_side
from lab.verdict import judge

SCHEMA_JSON = json.loads((files("lab.report") / "schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA_JSON, format_checker=jsonschema.FormatChecker())

# Counts of three pods that lead to each verdict.
COUNTS = {
    "pinned": (4_000, 0, 0),
    "uneven": (6_000, 2_000, 2_000),
    "even": (3_000, 3_010, 2_990),
    "too-few-requests": (5, 4, 6),
}
REPLICA_SET = "voting-fe64ac62ec-"
WIDTHS = [60, 80, 100]
SUFFIXES = ["5czqr", "x2v9k", "mm4tb", "7hd8w", "zq6fn"]


def report_of(counts: dict[str, int], **changes: Any) -> Report:
    """A report with every field filled; changes replace fields."""
    fields: dict[str, Any] = {
        "scenario": "pinned",
        "cluster": "local",
        "mesh": False,
        "service": "voting",
        "verdict": judge(counts),
        "latencies": {name: Latency(1.234567, 12.5, 123.4) for name, n in counts.items() if n},
        "cpu_s": {name: 0.5 + n / 1_000 for name, n in counts.items()},
        "errors": {"UNAVAILABLE": 3, "DEADLINE_EXCEEDED": 1},
        "claim": Claim(True, "one pod serves at least 99 % of the requests"),
        "sources": Sources(sum(counts.values()), None, None, None, "counted by the pods themselves"),
        "window_s": 10.0321987,
        "started": datetime(2025, 3, 1, 12, 30, tzinfo=UTC),
        "notes": ("the window was cut short",),
    }
    return Report(**{**fields, **changes})


def named(*counts: int, prefix: str = REPLICA_SET) -> dict[str, int]:
    """Counts of pods named as Kubernetes names the pods of one ReplicaSet."""
    return {prefix + suffix: n for suffix, n in zip(SUFFIXES, counts, strict=False)}


def plain(text: str) -> str:
    """Without colours, which take no columns."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def rows(text: str) -> list[str]:
    """The pods' rows: only they have a bar."""
    return [line for line in plain(text).splitlines() if re.search(r"[#.|█·│]{8,}", line)]


def bar(row: str) -> str:
    runs: list[str] = re.findall(r"[#.|█·│]+", row)
    return max(runs, key=len)


def filled(row: str) -> int:
    """The bar's length: the last filled column, as the mark of the fair share may stand on any of them."""
    return max((i + 1 for i, c in enumerate(bar(row)) if c in "#█"), default=0)


def head(text: str) -> str:
    (line,) = [line for line in plain(text).splitlines() if "interval " in line and "share" in line]
    return line


# JSON


@pytest.mark.parametrize("verdict", COUNTS)
def test_the_json_of_every_verdict_keeps_to_the_schema(verdict: str) -> None:
    report = report_of(named(*COUNTS[verdict]))
    assert report.verdict.verdict == verdict
    value = json.loads(json.dumps(report.to_json()))
    VALIDATOR.validate(value)
    assert (value["schema"], value["verdict"]) == (SCHEMA, verdict)


def test_a_report_without_pods_scenario_or_latencies_keeps_to_the_schema() -> None:
    report = report_of({}, scenario=None, latencies={}, cpu_s={}, errors={}, notes=())
    VALIDATOR.validate(report.to_json())
    assert Report.from_json(report.to_json()).to_json() == report.to_json()


def test_what_the_sidecars_counted_is_kept() -> None:
    sources = Sources(3_000, 2_990, True, 0.00333333, "the sidecars agree")
    report = report_of(named(1_000, 1_000, 1_000), mesh=True, sources=sources)
    VALIDATOR.validate(report.to_json())
    assert report.to_json()["sources"]["difference"] == 0.0033
    assert Report.from_json(report.to_json()).sources.sidecars == 2_990


def test_the_start_is_written_in_utc_whatever_the_zone() -> None:
    started = datetime(2025, 3, 1, 14, 30, tzinfo=timezone(timedelta(hours=2)))
    assert report_of(named(1, 2), started=started).to_json()["started"] == "2025-03-01T12:30:00+00:00"


milliseconds = st.none() | st.floats(0, 1e6)
latencies = st.builds(Latency, milliseconds, milliseconds, milliseconds)
pod_names = st.from_regex(r"\A[a-z][a-z0-9-]{0,58}[a-z0-9]\Z")


@st.composite
def reports(draw: st.DrawFn) -> Report:
    counts = draw(st.dictionaries(pod_names, st.integers(0, 10**6), max_size=8))
    return report_of(
        counts,
        scenario=draw(st.none() | st.text(max_size=20)),
        mesh=draw(st.booleans()),
        latencies={name: draw(latencies) for name in counts if draw(st.booleans())},
        cpu_s={name: draw(st.floats(0, 1e4)) for name in counts if draw(st.booleans())},
        errors=draw(st.dictionaries(st.text(min_size=1, max_size=40), st.integers(0, 1_000), max_size=20)),
        claim=Claim(draw(st.booleans()), draw(st.text(max_size=200))),
        window_s=draw(st.floats(0.1, 3_600)),
        notes=tuple(draw(st.lists(st.text(max_size=200), max_size=3))),
    )


@settings(max_examples=60, deadline=None)
@given(reports())
def test_a_report_read_from_its_json_gives_the_same_json(report: Report) -> None:
    value = json.loads(json.dumps(report.to_json()))
    VALIDATOR.validate(value)
    again = Report.from_json(value)
    assert again.to_json() == value
    assert again.started == report.started
    assert (again.verdict.verdict, again.verdict.fair) == (report.verdict.verdict, report.verdict.fair)


@pytest.mark.parametrize(
    "junk", [{}, None, 7, "report", [], [1, 2], {"schema": SCHEMA}, {"schema": "other/v1"}], ids=str
)
def test_what_is_no_report_is_refused(junk: Any) -> None:
    with pytest.raises(ValueError, match=SCHEMA):
        Report.from_json(junk)


@pytest.mark.parametrize("field", SCHEMA_JSON["required"])
def test_a_report_with_a_field_missing_is_refused(field: str) -> None:
    value = report_of(named(10, 20)).to_json()
    del value[field]
    with pytest.raises(ValueError, match=SCHEMA):
        Report.from_json(value)


@pytest.mark.parametrize("field", SCHEMA_JSON["required"])
@pytest.mark.parametrize("wrong", [[[7]], {"x": []}, b"bytes"], ids=["list", "object", "bytes"])
def test_a_report_with_a_field_of_the_wrong_type_is_refused(field: str, wrong: Any) -> None:
    value = {**report_of(named(10, 20)).to_json(), field: wrong}
    with pytest.raises(ValueError, match=SCHEMA):
        Report.from_json(value)


@pytest.mark.parametrize("field", SCHEMA_JSON["properties"]["pods"]["items"]["required"])
def test_a_pod_with_a_field_missing_or_of_the_wrong_type_is_refused(field: str) -> None:
    good = report_of(named(10, 20)).to_json()
    missing, wrong = copy.deepcopy(good), copy.deepcopy(good)
    del missing["pods"][1][field]
    wrong["pods"][1][field] = ["junk"]
    for value in (missing, wrong):
        with pytest.raises(ValueError, match=SCHEMA):
            Report.from_json(value)


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("verdict", "fair"),
        ("started", "yesterday"),
        ("requests", "12"),
        ("claim", {"holds": True, "text": "x", "more": 1}),
        ("sources", {"pods": 3}),
    ],
)
def test_a_report_with_a_nonsensical_value_is_refused(field: str, wrong: Any) -> None:
    with pytest.raises(ValueError):
        Report.from_json({**report_of(named(10, 20)).to_json(), field: wrong})


# The picture


def some_names(rng: random.Random, pods: int) -> list[str]:
    """Names as Kubernetes makes them, up to 60 characters, of one, two or as many owners as pods."""
    longest = rng.choice([10, 30, 60])
    letters = "bcdfghjklmnpqrstvwxz2456789"
    owners = ["".join(rng.choices("abc-", k=longest - 17)).strip("-") or "a" for _ in range(rng.choice([1, 2, pods]))]
    sets = [f"{owner}-{''.join(rng.choices(letters, k=10))}" for owner in owners] if longest > 17 else ["db"]
    return [f"{rng.choice(sets)}-{''.join(rng.choices(letters, k=5))}" for _ in range(pods)]


@pytest.mark.parametrize("color", [False, True], ids=["plain", "color"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("pods", [1, 2, 3, 20])
def test_no_line_is_wider_than_the_terminal(pods: int, width: int, color: bool) -> None:
    rng = random.Random(f"{pods} {width}")
    for _ in range(25):
        names = some_names(rng, pods)
        counts = {name: rng.choice([0, 7, 3_000, 10**7]) for name in names}
        slow = {name: Latency(rng.uniform(0, 10) ** 8, None, rng.uniform(0, 10) ** 8) for name in names}
        errors = {f"CODE_NUMBER_{i}": 10**i for i in range(12)}
        notes = ("a note that goes on " * 8, "x" * 150, "two\nlines")
        report = report_of(counts, service="s" * 63, cluster="context:" + "c" * 70, latencies=slow, errors=errors)
        text = picture(Report(**{**vars(report), "notes": notes}), width=width, color=color)
        assert [line for line in plain(text).splitlines() if len(line) > width] == []
        assert len(rows(text)) == len(counts)


@settings(max_examples=60, deadline=None)
@given(reports(), st.sampled_from(WIDTHS), st.booleans())
def test_every_report_has_a_picture_that_fits(report: Report, width: int, color: bool) -> None:
    text = picture(report, width=width, color=color)
    assert all(len(line) <= width for line in plain(text).split("\n"))
    assert color or text.isascii()


@pytest.mark.parametrize("verdict", COUNTS)
def test_without_color_there_is_only_ascii_and_no_escape(verdict: str) -> None:
    changes = {"cluster": "context:zürich", "notes": ("±5 % … “quoted” → 漢",), "claim": Claim(False, "not ≤ 1 µs")}
    text = picture(report_of(named(*COUNTS[verdict]), **changes))
    assert text.isascii()
    assert "\x1b" not in text
    assert "zurich" in text
    assert "[NO]" in text


@pytest.mark.parametrize("verdict", COUNTS)
def test_with_color_the_verdict_is_colored_and_nothing_else(verdict: str) -> None:
    text = picture(report_of(named(*COUNTS[verdict])), color=True)
    assert re.findall(r"\x1b\[[0-9;]+m([A-Z-]+)\x1b\[0m", text) == [verdict.upper()]
    assert text.count("\x1b") == 2


@pytest.mark.parametrize("color", [False, True], ids=["plain", "color"])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("prefix", ["db-", REPLICA_SET, "a-very-long-service-name-that-goes-on-and-on-5d8f7b9c64-"])
def test_the_head_shows_what_the_columns_are_and_stands_over_them(prefix: str, width: int, color: bool) -> None:
    text = picture(report_of(named(4_000, 0, 0, prefix=prefix)), width=width, color=color)
    assert re.search(r"share +interval +p50 ms +p99 ms$", head(text))
    assert {len(row) for row in rows(text)} == {len(head(text))} == {width}


def test_numbers_of_a_pod_stand_in_its_row() -> None:
    row = rows(picture(report_of(named(4_000, 0, 0))))[0]
    assert re.search(r" 100\.0% +99\.\d-100\.0% +1\.2 +123\.4$", row)


def test_a_pod_without_latencies_has_dashes_for_them() -> None:
    assert re.search(r" - +-$", rows(picture(report_of(named(4_000, 0, 0))))[1])


@pytest.mark.parametrize("color", [False, True], ids=["plain", "color"])
@pytest.mark.parametrize("width", WIDTHS)
def test_bars_are_proportional_to_shares(width: int, color: bool) -> None:
    counts = named(4_000, 2_000, 1_000, 500, 0)
    lengths = [filled(row) for row in rows(picture(report_of(counts), width=width, color=color))]
    size = len(bar(rows(picture(report_of(counts), width=width, color=color))[0]))
    # The mark of the fair share may hide the last filled column.
    for length, n in zip(lengths, counts.values(), strict=True):
        assert abs(length - size * n / 4_000) <= 1.5
    assert lengths == sorted(lengths, reverse=True)


@pytest.mark.parametrize("color", [False, True], ids=["plain", "color"])
def test_the_pod_with_all_requests_has_the_longest_bar_and_the_idle_ones_none(color: bool) -> None:
    lengths = [filled(row) for row in rows(picture(report_of(named(0, 4_000, 0)), color=color))]
    assert lengths[1] == len(bar(rows(picture(report_of(named(0, 4_000, 0)), color=color))[1]))
    assert (lengths[0], lengths[2]) == (0, 0)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("verdict", COUNTS)
def test_every_bar_marks_the_fair_share_in_the_same_column(verdict: str, width: int) -> None:
    bars = [bar(row) for row in rows(picture(report_of(named(*COUNTS[verdict])), width=width))]
    assert [b.count("|") for b in bars] == [1] * len(bars)
    assert len({b.index("|") for b in bars}) == 1


@pytest.mark.parametrize("color", [False, True], ids=["plain", "color"])
@pytest.mark.parametrize("prefix", ["", "db-", REPLICA_SET, "a-very-long-service-name-that-goes-on-and-on-5d8f7b9c64-"])
def test_bars_are_at_least_25_wide_at_80_columns(prefix: str, color: bool) -> None:
    for row in rows(picture(report_of(named(5, 7, 9, prefix=prefix)), color=color)):
        assert len(bar(row)) >= 25


def test_one_pod_with_a_long_name_leaves_room_for_its_bar() -> None:
    name = "a-very-long-service-name-that-goes-on-and-on-5d8f7b9c64-5czqr"
    (row,) = rows(picture(report_of({name: 100})))
    assert len(bar(row)) >= 25
    assert row.split()[0].endswith("5czqr")


@pytest.mark.parametrize(("color", "dots"), [(False, ".."), (True, "…")])
def test_what_all_names_begin_with_is_said_once_in_the_head(color: bool, dots: str) -> None:
    text = picture(report_of(named(3_000, 3_010, 2_990)), color=color)
    assert head(text).startswith(f"pods {REPLICA_SET}{dots} ")
    assert plain(text).count(REPLICA_SET) == 1
    assert [row.split()[0] for row in rows(text)] == [dots + suffix for suffix in SUFFIXES[:3]]


@pytest.mark.parametrize("width", WIDTHS)
def test_a_prefix_too_long_for_the_head_stands_whole_above_it(width: int) -> None:
    prefix = "a-service-name-as-long-as-they-get-in-practice-5d8f7b9c-"
    lines = picture(report_of(named(5, 7, prefix=prefix)), width=width).splitlines()
    above = next(i for i, line in enumerate(lines) if "p99 ms" in line) - 1
    whole = (lines[above - 1] + lines[above]) if lines[above].startswith("  ") else lines[above]
    assert " ".join(whole.split()).replace("pods ", "") == f"{prefix}.."


def test_pods_of_two_replica_sets_are_told_apart() -> None:
    counts = {"voting-fe64ac62ec-5czqr": 5, "voting-fe64ac62ec-x2v9k": 5, "voting-7d9c5b6f44-mm4tb": 5}
    for width in WIDTHS:
        text = picture(report_of(counts), width=width)
        shown = [row.split()[0] for row in rows(text)]
        assert head(text).startswith("pods voting-.. ")
        assert [name[-5:] for name in shown] == ["5czqr", "x2v9k", "mm4tb"]
        assert all(len(bar(row)) >= 10 for row in rows(text))


def test_names_without_a_common_prefix_stay_whole_where_there_is_room() -> None:
    text = picture(report_of({"voting-5czqr": 5, "web-x2v9k": 5}))
    assert [row.split()[0] for row in rows(text)] == ["voting-5czqr", "web-x2v9k"]
    assert head(text).startswith("pod ")


def test_a_pod_named_in_the_explanation_is_never_broken_over_two_lines() -> None:
    name = REPLICA_SET + "5czqr"
    for width in range(60, 101):
        assert name in picture(report_of(named(4_000, 0, 0)), width=width)


@pytest.mark.parametrize("counts", [{}, {"only": 0}, {"a": 0, "b": 0}], ids=["no pod", "one idle pod", "idle pods"])
def test_a_report_with_nothing_counted_still_has_a_picture(counts: dict[str, int]) -> None:
    text = picture(report_of(counts))
    assert "TOO-FEW-REQUESTS" in text
    assert [filled(row) for row in rows(text)] == [0] * len(counts)


def test_errors_and_notes_and_the_claim_are_told() -> None:
    text = " ".join(picture(report_of(named(4_000, 0, 0))).split())
    assert "errors: 3 UNAVAILABLE, 1 DEADLINE_EXCEEDED (0.1% of the requests" in text
    assert "note: the window was cut short" in text
    assert "[ok] one pod serves at least 99 % of the requests" in text


def test_side_by_side_both_states_can_be_compared() -> None:
    before, after = report_of(named(4_000, 0, 0)), report_of(named(3_000, 3_010, 2_990), mesh=True)
    lines = side_by_side(before, after).splitlines()
    assert lines[0].split() == ["without", "sidecar", "with", "sidecar"]
    assert lines[1].split() == ["verdict", "pinned", "even"]
    assert lines[2].split() == ["effective", "pods", "1.00", "of", "3", "3.00", "of", "3"]
    assert lines[3].split() == ["busiest", "pod", "100.0%", "33.4%"]

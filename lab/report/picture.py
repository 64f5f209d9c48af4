"""A report as a picture for the terminal: a bar per pod, the fair share marked, the statistic under it.

Block characters and colours only where the caller says so; plain ASCII otherwise. Knows reports; prints nothing.
"""

from __future__ import annotations

from lab.report.model import Report
from lab.verdict import PodShare

_COLOURS = {"pinned": "31;1", "uneven": "33;1", "even": "32;1", "too-few-requests": "36;1"}


def picture(report: Report, *, width: int = 80, color: bool = False) -> str:
    """The picture, lines of at most `width` (60 or more) columns, without a final newline."""
    v = report.verdict
    name_width = max([len(p.name) for p in v.pods] + [4])
    bar_width = max(width - name_width - 40, 10)
    sidecar = "sidecar on" if report.mesh else "no sidecar"
    lines = [f"{report.service} on {report.cluster}, {sidecar}: {v.requests} requests in {report.window_s:.1f} s"]
    head = f"{'pod':<{name_width}}  {'':<{bar_width}}  {'share':>6}  {'interval':>13}  {'p50':>5} {'p99':>6} ms"
    lines.append(head[:width])
    lines += [_row(report, p, name_width, bar_width, color) for p in v.pods]
    verdict = v.verdict.upper()
    if color:
        verdict = f"\x1b[{_COLOURS[v.verdict]}m{verdict}\x1b[0m"
    lines.append(
        f"{verdict}: {v.effective_pods:.2f} effective pods of {len(v.pods)}; fair {v.fair:.1%} "
        f"{'±' if color else '+-'}{v.margin:.0%}, intervals at {v.confidence:.0%}"
    )
    lines += _wrap(v.explanation if color else v.explanation.replace("±", "+-"), width)
    if report.errors:
        total = sum(report.errors.values())
        errors = ", ".join(f"{n} {code}" for code, n in report.errors.items())
        lines.append(f"errors: {errors} ({total / max(v.requests, 1):.1%} of the requests; `lab stat` finds the route)")
    lines += _wrap(report.sources.text, width)
    lines += [f"note: {note}" for note in report.notes]
    mark = ("✓" if report.claim.holds else "✗") if color else ("[ok]" if report.claim.holds else "[NO]")
    lines += _wrap(f"{mark} {report.claim.text}", width)
    return "\n".join(lines)


def _row(report: Report, p: PodShare, name_width: int, bar_width: int, color: bool) -> str:
    full, mark, empty = ("█", "│", "·") if color else ("#", "|", ".")
    scale = max([q.share for q in report.verdict.pods] + [report.verdict.fair * 1.5])
    filled = round(p.share / scale * bar_width) if scale else 0
    bar = list(full * filled + empty * (bar_width - filled))
    fair = min(round(report.verdict.fair / scale * bar_width), bar_width - 1) if scale else 0
    bar[fair] = mark
    times = report.latencies.get(p.name)
    p50, p99 = (times.p50_ms, times.p99_ms) if times else (None, None)
    interval = f"{p.low:.1%}-{p.high:.1%}"
    return (
        f"{p.name:<{name_width}}  {''.join(bar)}  {p.share:>6.1%}  {interval:>13}  {_ms(p50):>5} {_ms(p99):>6}"
    ).rstrip()


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _wrap(text: str, width: int) -> list[str]:
    import textwrap

    return textwrap.wrap(text, width, subsequent_indent="  ") or [""]


def side_by_side(before: Report, after: Report) -> str:
    """Both states in a table of four lines."""
    rows = [("", "without sidecar", "with sidecar")]
    rows.append(("verdict", before.verdict.verdict, after.verdict.verdict))
    rows.append(("effective pods", _effective(before), _effective(after)))
    rows.append(("busiest pod", _busiest(before), _busiest(after)))
    rows.append(("requests", str(before.verdict.requests), str(after.verdict.requests)))
    return "\n".join(f"{a:<16}{b:>18}{c:>18}" for a, b, c in rows)


def _effective(r: Report) -> str:
    return f"{r.verdict.effective_pods:.2f} of {len(r.verdict.pods)}"


def _busiest(r: Report) -> str:
    return f"{max((p.share for p in r.verdict.pods), default=0):.1%}"

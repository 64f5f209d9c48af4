"""A report as a picture for the terminal: a bar per pod, the fair share marked, the statistic under it.

Block characters and colours only where the caller says so; plain ASCII otherwise. Knows reports; prints nothing, and
must not know the terminal or how the numbers were measured.
"""

from __future__ import annotations

import unicodedata
from textwrap import wrap

from lab.report.model import Report
from lab.verdict import PodShare

_COLOURS = {"pinned": "31;1", "uneven": "33;1", "even": "32;1", "too-few-requests": "36;1"}
_ASCII = str.maketrans({"±": "+-", "…": "..", "→": "->", "–": "-", "—": "-", "µ": "u", "’": "'", "“": '"', "”": '"'})

_NUMBERS = 40
"""Columns of a row that are neither name nor bar: share, interval, p50, p99 and the gaps."""

_BAR = 25
"""A bar of this width is preferred to a whole name; a name gets 10 columns in any case."""


def picture(report: Report, *, width: int = 80, color: bool = False) -> str:
    """The picture, lines of at most `width` (60 or more) columns, without a final newline."""
    v = report.verdict
    sidecar = "sidecar on" if report.mesh else "no sidecar"
    title = f"{report.service} on {report.cluster}, {sidecar}: {v.requests} requests in {report.window_s:.1f} s"
    lines = _wrap(title, width, color) + _table(report, width, color) + _verdict(report, width, color)
    texts = [v.explanation]
    if report.errors:
        total = sum(report.errors.values())
        errors = ", ".join(f"{n} {code}" for code, n in report.errors.items())
        texts.append(f"errors: {errors} ({total / max(v.requests, 1):.1%} of the requests; `lab stat` finds the route)")
    texts.append(report.sources.text)
    texts += [f"note: {note}" for note in report.notes]
    mark = ("✓" if report.claim.holds else "✗") if color else ("[ok]" if report.claim.holds else "[NO]")
    texts.append(f"{mark} {report.claim.text}")
    return "\n".join(lines + [line for text in texts for line in _wrap(text, width, color)])


def _table(report: Report, width: int, color: bool) -> list[str]:
    """The head and a row per pod. What all pod names begin with is said once, in the head."""
    pods = report.verdict.pods
    prefix = _prefix([p.name for p in pods])
    dots = "…" if color else ".."
    room = width - _NUMBERS
    most = max(room - _BAR, 10)
    names = [_shorten(dots + p.name[len(prefix) :] if prefix else p.name, most, dots) for p in pods]
    name_width = max([len(name) for name in names] + [4])
    bar_width = room - name_width
    title = f"pods {prefix}{dots}" if prefix else "pod"
    fits = len(title) <= room
    above = [] if fits else _wrap(title, width, color)
    head = f"{title if fits else 'pod':<{room + 2}}  {'share':>6}  {'interval':>12}  {'p50 ms':>6}  {'p99 ms':>6}"
    rows = [_row(report, p, f"{name:<{name_width}}", bar_width, color) for p, name in zip(pods, names, strict=True)]
    return [*above, head, *rows]


def _row(report: Report, p: PodShare, name: str, bar_width: int, color: bool) -> str:
    full, mark, empty = ("█", "│", "·") if color else ("#", "|", ".")
    scale = max([q.share for q in report.verdict.pods] + [report.verdict.fair * 1.5])
    filled = round(p.share / scale * bar_width)
    bar = list(full * filled + empty * (bar_width - filled))
    bar[min(round(report.verdict.fair / scale * bar_width), bar_width - 1)] = mark
    times = report.latencies.get(p.name)
    p50, p99 = (times.p50_ms, times.p99_ms) if times else (None, None)
    interval = f"{p.low * 100:.1f}-{p.high:.1%}"
    return f"{name}  {''.join(bar)}  {p.share:>6.1%}  {interval:>12}  {_ms(p50):>6}  {_ms(p99):>6}"


def _verdict(report: Report, width: int, color: bool) -> list[str]:
    v = report.verdict
    verdict = v.verdict.upper()
    lines = _wrap(
        f"{verdict}: {v.effective_pods:.2f} effective pods of {len(v.pods)}; fair {v.fair:.1%} "
        f"±{v.margin * 100:g}%, intervals at {v.confidence * 100:g}%",
        width,
        color,
    )
    if color:
        # Only after wrapping, which would count the escapes as columns.
        lines[0] = lines[0].replace(verdict, f"\x1b[{_COLOURS[v.verdict]}m{verdict}\x1b[0m", 1)
    return lines


def _prefix(names: list[str]) -> str:
    """What all names begin with, up to a '-'; "" where leaving it out would save nothing."""
    if len(names) < 2:
        return ""
    prefix = ""
    # Never the last part, or nothing would be left of a name.
    for parts in zip(*(name.split("-")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        prefix += f"{parts[0]}-"
    return prefix if len(prefix) > 2 else ""


def _shorten(name: str, width: int, dots: str) -> str:
    """The name in at most `width` columns, its middle left out: a pod is told from its siblings by its end."""
    if len(name) <= width:
        return name
    front = (width - len(dots)) // 3
    return name[:front] + dots + name[len(name) - (width - len(dots) - front) :]


def _ms(value: float | None) -> str:
    """At most 6 columns, for which the tenths go first."""
    if value is None:
        return "-"
    if value < 9999.95:
        return f"{value:.1f}"
    return f"{value:.0f}" if value < 999999.5 else f"{value:.0e}"


def _wrap(text: str, width: int, color: bool) -> list[str]:
    # Not at hyphens: a pod's name must stay whole to be copied.
    shown = text if color else _ascii(text)
    return wrap(shown, width, subsequent_indent="  ", break_on_hyphens=False) or [""]


def _ascii(text: str) -> str:
    plain = unicodedata.normalize("NFKD", text.translate(_ASCII))
    return "".join(c for c in plain if not unicodedata.combining(c)).encode("ascii", "replace").decode()


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

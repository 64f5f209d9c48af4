"""CPU per request as bars, one group per case: a small SVG, readable in light and dark. Knows numbers only."""

from __future__ import annotations

import math
from html import escape
from typing import Any

from bench.cases import CASES
from bench.peers import PEERS

_COLOURS = {
    "ours": "#1b7f4b",
    "tcp": "#8a8f98",
    "nghttpx": "#3b6fb6",
    "haproxy": "#7a9fd4",
    "nginx": "#c58b2b",
    "envoy": "#b5487b",
}
_CASES = ("8x16", "100x1", "r2000", "8x4-64k")
_LEFT, _WIDTH, _BAR, _GAP = 190, 760, 16, 34


def bars(cases: dict[str, Any]) -> str:
    """An SVG. Each group has a scale of its own: the longest bar is its dearest proxy."""
    parts: list[str] = []
    y = 10
    for name in (c for c in _CASES if c in cases):
        values = {p: cases[name][p]["cpu_us"]["median"] for p in PEERS if "cpu_us" in cases[name].get(p, {})}
        if not values:
            continue
        y += 14
        parts.append(f'<text x="10" y="{y}" font-weight="bold">{escape(CASES[name].title)}: CPU µs per request</text>')
        y += 10
        for peer, value in sorted(values.items(), key=lambda item: item[1]):
            width = max(2, math.floor((_WIDTH - _LEFT - 90) * value / max(values.values())))
            middle = y + _BAR - 4
            parts.append(f'<text x="{_LEFT - 8}" y="{middle}" text-anchor="end">{escape(PEERS[peer].title)}</text>')
            parts.append(f'<rect x="{_LEFT}" y="{y}" width="{width}" height="{_BAR - 3}" fill="{_COLOURS[peer]}"/>')
            parts.append(f'<text x="{_LEFT + width + 6}" y="{middle}">{value:.3g}</text>')
            y += _BAR
        y += _GAP - 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{y}" viewBox="0 0 {_WIDTH} {y}" '
        'font-family="sans-serif" font-size="12" role="img" aria-label="CPU per request by proxy">\n'
        f'<rect width="{_WIDTH}" height="{y}" fill="#fff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )

"""How long ago, as kubectl tells it (k8s.io/apimachinery `pkg/util/duration/duration.go`). Pure."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY, _YEAR = 60, 3600, 86_400, 365 * 86_400


def human(seconds: float) -> str:
    """A duration in two or three characters: 45s, 3m20s, 5h, 2d4h."""
    s = int(seconds)
    if s < -1:
        return "<invalid>"
    if s <= 0:
        return "0s"
    if s < 2 * _MINUTE:
        return f"{s}s"
    if s < 10 * _MINUTE:
        return _two(s, _MINUTE, "m", 1, "s")
    if s < 3 * _HOUR:
        return f"{s // _MINUTE}m"
    if s < 8 * _HOUR:
        return _two(s, _HOUR, "h", _MINUTE, "m")
    if s < 2 * _DAY:
        return f"{s // _HOUR}h"
    if s < 8 * _DAY:
        return _two(s, _DAY, "d", _HOUR, "h")
    if s < 2 * _YEAR:
        return f"{s // _DAY}d"
    return _two(s, _YEAR, "y", _DAY, "d") if s < 8 * _YEAR else f"{s // _YEAR}y"


def since(stamp: str | None) -> str:
    """How long ago a metav1 time stamp was; <unknown> without one."""
    if not stamp:
        return "<unknown>"
    then = datetime.fromisoformat(stamp.replace("z", "Z").replace("t", "T"))
    return human((datetime.now(UTC) - then).total_seconds())


def _two(s: int, big: int, big_name: str, small: int, small_name: str) -> str:
    rest = s % big // small
    return f"{s // big}{big_name}{rest}{small_name}" if rest else f"{s // big}{big_name}"

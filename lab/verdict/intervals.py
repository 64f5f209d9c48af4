"""Confidence intervals of shares: Wilson's score interval, widened so that all of them hold together.

Wilson (1927), "Probable inference, the law of succession, and statistical inference"; simultaneous by Bonferroni's
correction, as Goodman (1965) does for multinomial proportions. Numbers only.
"""

from __future__ import annotations

from math import ceil, sqrt
from statistics import NormalDist


def quantile(confidence: float, together: int) -> float:
    """The normal quantile for `together` two-sided intervals that all hold with `confidence` (0 to 1)."""
    return NormalDist().inv_cdf(1 - (1 - confidence) / (2 * together))


def wilson(count: int, total: int, z: float) -> tuple[float, float]:
    """The interval of count/total for normal quantile z; (0, 1) when nothing was counted."""
    if total == 0:
        return 0.0, 1.0
    share = count / total
    scale = 1 + z * z / total
    middle = (share + z * z / (2 * total)) / scale
    half = z / scale * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def needed(pods: int, margin: float, z: float) -> int:
    """Requests from which fair shares come out within fair·(1±margin), even where chance has used up half of it.

    The half-width of a fair share's interval is about z·sqrt(f(1−f)/n); it may fill half the margin f·margin.
    """
    fair = 1 / pods
    return ceil(4 * z * z * (1 - fair) / (fair * margin * margin))

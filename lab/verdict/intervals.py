"""Confidence intervals of shares: Wilson's score interval, widened so that all of them hold together.

Wilson (1927), "Probable inference, the law of succession, and statistical inference"; simultaneous by Bonferroni's
correction, as Goodman (1965) does for multinomial proportions. Numbers only.
"""

from __future__ import annotations

from math import ceil, sqrt
from statistics import NormalDist

EXPECTED = 5
"""Requests that each pod must have had if all were fair (Cochran 1954): below, these intervals promise too much."""


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
    # With nothing or all of the requests the share itself is an end, which rounding must not put outside.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))


def needed(pods: int, margin: float, z: float) -> int:
    """Requests from which fair shares come out within fair·(1±margin), as far as chance moves them with normal z.

    Wilson's interval ends inside a bound b where the share is z·sqrt(b(1−b)/n) away from it; chance takes
    z·sqrt(f(1−f)/n) of the way from fair f to b. Both must fit into the margin f·margin.
    """
    fair = 1 / pods
    at_fair, *at_bounds = (sqrt(p * (1 - p)) for p in (fair, fair * (1 - margin), fair * (1 + margin)))
    return max(ceil((z * (at_fair + max(at_fair, *at_bounds)) / (fair * margin)) ** 2), EXPECTED * pods)

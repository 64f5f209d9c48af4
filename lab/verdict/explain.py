"""A verdict in words, with its likely cause. Knows shares; nothing of how they were judged."""

from __future__ import annotations

from collections.abc import Sequence


def explain(
    verdict: str,
    requests: int,
    shares: Sequence[tuple[str, float]],
    fair: float,
    margin: float,
    needed: int | None,
) -> str:
    """One or two sentences. shares: (pod, 0 to 1). needed: requests that would do, if too few."""
    if len(shares) < 2:
        return f"there {'is one pod' if shares else 'is no pod'}, so there is nothing to balance"
    if requests == 0:
        return "no request was counted; is there traffic, and is this the right metric?"
    name, most = max(shares, key=lambda s: s[1])
    idle = sum(1 for _, share in shares if share == 0)
    within = f"within ±{margin:.0%} of a fair {fair:.1%}"
    if verdict == "pinned":
        return (
            f"{name} served {most:.1%} of {requests} requests while {len(shares) - 1} other "
            f"{'pod' if len(shares) == 2 else 'pods'} had next to none. Likely cause: each client keeps one long-lived "
            "HTTP/2 connection, and Kubernetes balanced that connection once, when it was opened."
        )
    if verdict == "even":
        return f"every pod's share is shown to lie {within}."
    if verdict == "uneven":
        cause = (
            f"{idle} of {len(shares)} pods got nothing: likely fewer client connections than pods"
            if idle
            else "likely a few long-lived connections, a slower pod, or clients that balance by themselves"
        )
        return f"shares are shown to lie outside ±{margin:.0%} of a fair {fair:.1%}; {name} has {most:.1%}. {cause}."
    return f"{requests} requests are too few to tell even from uneven; about {needed} would do."

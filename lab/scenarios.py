"""Reads the folders of scenarios/: settings and the numeric claim. Knows the files; runs nothing.

They are found beside this package as files: scenarios may import the lab, never the other way round.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab.errors import BadInput

HOME = Path(__file__).resolve().parent.parent / "scenarios"


@dataclass(frozen=True)
class Claim:
    """text: the claim in words. The rest: what must hold in numbers; None: not asked."""

    text: str
    verdict: str
    min_requests: int = 300
    min_largest_share: float | None = None
    max_effective_pods: float | None = None
    min_effective_pods: float | None = None


@dataclass(frozen=True)
class Scenario:
    """One folder. mesh: whether the clients have the sidecar. Times in seconds."""

    name: str
    service: str
    mesh: bool
    claim: Claim
    warm_up_s: float = 2.0
    window_s: float = 10.0
    margin: float = 0.25
    readme: str = field(default="", repr=False)


def names() -> list[str]:
    return sorted(p.parent.name for p in HOME.glob("*/scenario.toml"))


def load(name: str) -> Scenario:
    """A scenario by its folder's name, or by its number or rest alone (`01`, `pinned`). Raises BadInput."""
    all_names = names()
    matches = [n for n in all_names if name in (n, *n.split("-", 1))]
    if len(matches) != 1:
        raise BadInput(f"there is no scenario {name!r}", f"there are: {', '.join(all_names)}")
    folder = HOME / matches[0]
    try:
        settings: dict[str, Any] = tomllib.loads((folder / "scenario.toml").read_text())
        claim = Claim(**settings.pop("claim"))
        readme = folder / "README.md"
        return Scenario(matches[0], claim=claim, readme=readme.read_text() if readme.exists() else "", **settings)
    except (OSError, ValueError, TypeError, KeyError) as e:
        raise BadInput(f"{folder / 'scenario.toml'} cannot be read: {e}") from e

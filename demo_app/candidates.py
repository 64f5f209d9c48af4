"""Who can be voted for: one table that the services, the bot and the tests share. Knows no votes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Candidate:
    """id: in URLs and tallies; rpc: the method of balancelab.voting.v1.Voting that votes for it."""

    id: str
    name: str
    emoji: str
    rpc: str


CANDIDATES: tuple[Candidate, ...] = (
    Candidate("pizza", "Pizza", "🍕", "VotePizza"),
    Candidate("taco", "Taco", "🌮", "VoteTaco"),
    Candidate("sushi", "Sushi", "🍣", "VoteSushi"),
    Candidate("ramen", "Ramen", "🍜", "VoteRamen"),
    Candidate("curry", "Curry", "🍛", "VoteCurry"),
    Candidate("dumpling", "Dumpling", "🥟", "VoteDumpling"),
    Candidate("falafel", "Falafel", "🧆", "VoteFalafel"),
    Candidate("pretzel", "Pretzel", "🥨", "VotePretzel"),
    Candidate("waffle", "Waffle", "🧇", "VoteWaffle"),
    Candidate("croissant", "Croissant", "🥐", "VoteCroissant"),
)

BY_ID: dict[str, Candidate] = {c.id: c for c in CANDIDATES}

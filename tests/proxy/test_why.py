"""/why: every pick can be made again by hand, from nothing but what the page says."""

from __future__ import annotations

import itertools
import json
import math
import urllib.error
from typing import Any

import grpc
import pytest

from tests.proxy.harness import client, echo_server, proxy

Pick = dict[str, Any]


def cost(candidate: Pick) -> float:
    return float((candidate["rtt_ms"] + candidate["penalty_ms"]) * (candidate["in_flight"] + 1))


def alike_below(pick: Pick, constants: Pick) -> float:
    a, b = pick["candidates"]
    noise = constants["noise"] * math.hypot(*(c["error_ms"] * (c["in_flight"] + 1) for c in (a, b)))
    grain = constants["grain_ms"] * (max(a["in_flight"], b["in_flight"]) + 1)
    return float(max(noise, grain, constants["alike_share"] * min(cost(a), cost(b))))


def made_again(pick: Pick, constants: Pick) -> tuple[str, str]:
    """Address of the winner, and the reason, by the rules as the page states them."""
    if len(pick["candidates"]) == 1:
        return pick["candidates"][0]["address"], "the only one"
    a, b = pick["candidates"]
    fit = [c for c in (a, b) if c["state"] == "fit"]
    if len(fit) == 1:
        winner, reason = fit[0], "the other rests"
    elif abs(cost(a) - cost(b)) > alike_below(pick, constants):
        winner, reason = min(a, b, key=cost), "cheaper"
    elif a["in_flight"] != b["in_flight"]:
        winner, reason = min(a, b, key=lambda c: int(c["in_flight"])), "alike: fewer in flight"
    else:
        winner = a if a["last_request"] < b["last_request"] else b
        reason = "alike: less recently picked"
    if pick["reason"].startswith("a probe"):
        winner, reason = (b if winner is a else a), pick["reason"]
    return winner["address"], reason


def test_each_pick_can_be_made_again_from_what_the_page_says() -> None:
    with (
        echo_server("well") as (well, _),
        echo_server("well too") as (too, _),
        echo_server("failing", broken=True) as (failing, _),
        proxy([well, too, failing]) as p,
        client(p.port) as c,
    ):
        for _ in range(30):
            calls = [c.unary.future(b"x") for _ in range(8)]
            for call in calls:
                assert call.exception() is None or call.code() == grpc.StatusCode.UNAVAILABLE
        page = json.loads(p.get("/why?n=256"))
    picks = page["picks"]
    assert len(picks) >= 240
    for pick in picks:
        for candidate in pick["candidates"]:
            assert candidate["cost_ms"] == pytest.approx(cost(candidate))
        if len(pick["candidates"]) == 2:
            assert pick["alike_ms"] == pytest.approx(alike_below(pick, page["constants"]))
        assert (pick["winner_address"], pick["reason"]) == made_again(pick, page["constants"])
    reasons = {pick["reason"] for pick in picks}
    assert "the other rests" in reasons, reasons
    assert any(c["state"] == "failing" for pick in picks for c in pick["candidates"])
    assert any(r.startswith("alike") for r in reasons), reasons
    assert all(a["age_ms"] <= b["age_ms"] for a, b in itertools.pairwise(picks))


def test_the_page_is_filtered_by_number_and_target_and_says_what_it_takes() -> None:
    with echo_server("a") as (addr, _), proxy([addr]) as p, client(p.port) as c:
        for _ in range(30):
            c.unary(b"x")
        assert len(json.loads(p.get("/why"))["picks"]) == 20
        assert len(json.loads(p.get("/why?n=3&target=static"))["picks"]) == 3
        assert json.loads(p.get("/why?target=nonsense"))["picks"] == []
        with pytest.raises(urllib.error.HTTPError) as refused:
            p.get("/why?n=all")
        assert refused.value.code == 400

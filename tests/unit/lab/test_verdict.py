"""The verdict on traffic whose truth is known: how often each verdict is wrong, and what the numbers beside it mean.

The counts are drawn from given shares with fixed seeds, so a failure can be repeated. A rate of wrong verdicts is
held to the 1 % that the default confidence of 99 % promises.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from math import ceil, isclose

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.verdict import Verdict, judge
from lab.verdict.intervals import needed, quantile, wilson

MARGIN = 0.25
RUNS = 200
ALLOWED = 0.01

PODS = [2, 3, 5, 20]
counts_of_pods = st.dictionaries(st.text(min_size=1, max_size=8), st.integers(0, 100_000), max_size=25)
busy_pods = counts_of_pods.filter(lambda counts: sum(counts.values()) > 0)


def binomial(rng: random.Random, n: int, p: float) -> int:
    """One exact draw (Devroye 1986, X.4.2): where the middle one of n uniform numbers lies decides half of them.

    log n steps in place of n, without which thousands of runs with thousands of requests would take minutes.
    """
    hits = 0
    while n > 20:
        middle = (n + 1) // 2
        x = rng.betavariate(middle, n + 1 - middle)
        if x <= p:
            hits, n, p = hits + middle, n - middle, (p - x) / (1 - x)
        else:
            n, p = middle - 1, p / x
    return hits + sum(rng.random() < p for _ in range(n))


def draw(rng: random.Random, shares: Sequence[float], requests: int) -> dict[str, int]:
    """One multinomial draw: each request goes to a pod by the shares, independently of the others."""
    counts, left, rest = {}, requests, 1.0
    for i, share in enumerate(shares[:-1]):
        n = binomial(rng, left, min(share / rest, 1.0)) if rest > 1e-12 else 0
        counts[f"pod-{i}"] = n
        left, rest = left - n, rest - share
    counts[f"pod-{len(shares) - 1}"] = left
    return counts


def one_pod_at(share: float, pods: int) -> list[float]:
    """One pod with this share, the others even."""
    return [share] + [(1 - share) / (pods - 1)] * (pods - 1)


def rate(shares: Sequence[float], requests: int, when: Callable[[Verdict], bool], runs: int = RUNS) -> float:
    rng = random.Random(f"{shares} {requests}")
    return sum(when(judge(draw(rng, shares, requests), margin=MARGIN)) for _ in range(runs)) / runs


def called(*names: str) -> Callable[[Verdict], bool]:
    return lambda verdict: verdict.verdict in names


def fewest_for(pods: int) -> int:
    """Requests from which even traffic of so many pods is said to be provable."""
    return needed(pods, MARGIN, quantile(0.99, pods))


# Wrong verdicts


@pytest.mark.parametrize("pods", PODS)
@pytest.mark.parametrize("requests", [300, 2_000, 20_000])
def test_even_traffic_is_never_called_uneven_or_pinned(pods: int, requests: int) -> None:
    assert rate([1 / pods] * pods, requests, called("uneven", "pinned")) <= ALLOWED


@pytest.mark.parametrize("pods", PODS)
@pytest.mark.parametrize("requests", [300, 2_000, 20_000])
@pytest.mark.parametrize("factor", [1.3, 1.5, 2.0, 0.7, 0.0], ids="one pod at {} of fair".format)
def test_traffic_outside_the_margin_is_never_called_even(pods: int, requests: int, factor: float) -> None:
    if factor == 2.0 and pods == 2:
        factor = 1.9  # Twice fair is all there is.
    assert rate(one_pod_at(factor / pods, pods), requests, called("even"), runs=100) <= ALLOWED


@pytest.mark.parametrize("pods", PODS)
@pytest.mark.parametrize("requests", [2_000, 20_000, 200_000])
@pytest.mark.parametrize("edge", [1 + MARGIN, 1 - MARGIN], ids=["upper edge", "lower edge"])
def test_traffic_exactly_on_the_edge_of_the_margin_is_not_called_even(pods: int, requests: int, edge: float) -> None:
    assert rate(one_pod_at(edge / pods, pods), requests, called("even")) <= ALLOWED


@pytest.mark.parametrize("pods", PODS)
@pytest.mark.parametrize("edge", [1 + MARGIN, 1 - MARGIN], ids=["upper edge", "lower edge"])
def test_traffic_exactly_on_the_edge_of_the_margin_is_not_called_uneven(pods: int, edge: float) -> None:
    assert rate(one_pod_at(edge / pods, pods), 20_000, called("uneven")) <= ALLOWED


@pytest.mark.parametrize("pods", PODS)
@pytest.mark.parametrize("factor", [1.5, 0.5, 0.0])
def test_traffic_far_outside_the_margin_is_called_uneven_once_there_is_enough(pods: int, factor: float) -> None:
    assert rate(one_pod_at(factor / pods, pods), 20_000, called("uneven", "pinned")) >= 0.99


# Pinned


@pytest.mark.parametrize(("pods", "fewest"), [(2, 71), (20, 110)])
def test_a_pod_with_every_request_is_pinned_from_the_documented_number_on(pods: int, fewest: int) -> None:
    idle = {f"idle-{i}": 0 for i in range(pods - 1)}
    assert judge({"busy": fewest - 1, **idle}).verdict != "pinned"
    for requests in (fewest, fewest + 1, 1_000, 1_000_000):
        assert judge({"busy": requests, **idle}).verdict == "pinned"


@pytest.mark.parametrize("pods", PODS)
@pytest.mark.parametrize("requests", [200, 1_000, 10_000])
def test_a_pinned_pod_stays_pinned_when_a_few_requests_strayed(pods: int, requests: int) -> None:
    strayed = requests // 200
    counts = {"busy": requests - strayed, "strayed": strayed, **{f"idle-{i}": 0 for i in range(pods - 2)}}
    assert judge(counts).verdict == "pinned"


@pytest.mark.parametrize("pods", PODS)
def test_true_shares_of_which_a_half_percent_strays_come_out_pinned(pods: int) -> None:
    assert rate(one_pod_at(0.995, pods), 10_000, called("pinned")) >= 0.99


@pytest.mark.parametrize("pods", PODS)
@pytest.mark.parametrize("requests", [100, 1_000, 10_000, 1_000_000])
def test_a_pod_that_served_97_percent_is_never_called_pinned(pods: int, requests: int) -> None:
    rest = requests - requests * 97 // 100
    counts = {"busy": requests - rest, "other": rest, **{f"idle-{i}": 0 for i in range(pods - 2)}}
    assert judge(counts).verdict != "pinned"


@pytest.mark.parametrize("pods", PODS)
@pytest.mark.parametrize("requests", [71, 110, 300, 2_000])
def test_a_pod_whose_true_share_is_90_percent_is_not_called_pinned_by_luck(pods: int, requests: int) -> None:
    assert rate(one_pod_at(0.9, pods), requests, called("pinned")) <= ALLOWED


# Enough and too few


@pytest.mark.parametrize("pods", PODS)
def test_even_traffic_comes_out_even_with_as_many_requests_as_were_said_to_be_needed(pods: int) -> None:
    few = judge({f"pod-{i}": 3 for i in range(pods)}, margin=MARGIN)
    assert few.needed == fewest_for(pods)
    assert rate([1 / pods] * pods, few.needed, called("even")) >= 0.95


@pytest.mark.parametrize("margin", [0.05, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("pods", PODS)
def test_the_needed_number_is_enough_at_every_margin(pods: int, margin: float) -> None:
    few = judge({f"pod-{i}": 1 for i in range(pods)}, margin=margin)
    assert few.needed is not None
    rng = random.Random(f"{pods} {margin}")
    verdicts = [judge(draw(rng, [1 / pods] * pods, few.needed), margin=margin).verdict for _ in range(60)]
    assert verdicts.count("even") >= 57


@pytest.mark.parametrize("pods", PODS)
@pytest.mark.parametrize("requests", [1, 2, 4, 10, 40, 60])
def test_a_handful_of_even_requests_is_too_few(pods: int, requests: int) -> None:
    assert rate([1 / pods] * pods, requests, called("too-few-requests")) >= 0.99


def test_one_request_does_not_prove_that_twenty_pods_are_uneven() -> None:
    # One of one is a share of 100 %, and Wilson's interval of it begins above 1/20 + 25 %.
    assert judge({"busy": 1, **{f"idle-{i}": 0 for i in range(19)}}).verdict == "too-few-requests"


def test_one_request_each_does_not_prove_that_two_pods_are_even_at_a_wide_margin() -> None:
    assert judge({"a": 1, "b": 1}, margin=0.9).verdict == "too-few-requests"


@pytest.mark.parametrize("counts", [(5, 5), (10, 0), (3, 3, 3), (1,) + (0,) * 19])
def test_too_few_requests_come_with_the_number_that_would_do(counts: tuple[int, ...]) -> None:
    verdict = judge({f"pod-{i}": n for i, n in enumerate(counts)})
    assert verdict.verdict == "too-few-requests"
    assert verdict.needed is not None
    assert verdict.needed > sum(counts)
    assert f"about {verdict.needed} would do" in verdict.explanation


def test_shares_close_to_the_edge_ask_for_more_than_there_were() -> None:
    # 62 % lies within 50 % ± 25 %, but by too little to be shown with what is enough for fair shares.
    verdict = judge({"a": 620, "b": 380})
    assert verdict.verdict == "too-few-requests"
    assert verdict.needed == 2_000


@given(busy_pods)
def test_only_too_few_requests_name_a_needed_number_and_it_is_larger(counts: dict[str, int]) -> None:
    verdict = judge(counts)
    if verdict.needed is not None:
        assert verdict.verdict == "too-few-requests"
        assert verdict.needed > verdict.requests


# The numbers beside the verdict


@given(busy_pods)
def test_effective_pods_lie_between_one_and_the_number_of_pods(counts: dict[str, int]) -> None:
    verdict = judge(counts)
    assert 1 - 1e-9 <= verdict.effective_pods <= len(counts) + 1e-9
    assert isclose(verdict.effective_pods, 1 / sum((n / sum(counts.values())) ** 2 for n in counts.values()))


@pytest.mark.parametrize(
    ("counts", "effective"),
    [((500, 500), 2), ((1000, 0), 1), ((100,) * 20, 20), ((50, 50, 0, 0), 2), ((75, 25), 1.6)],
)
def test_effective_pods_count_the_pods_that_do_the_work(counts: tuple[int, ...], effective: float) -> None:
    verdict = judge({f"pod-{i}": n for i, n in enumerate(counts)})
    assert verdict.effective_pods == pytest.approx(effective)


@given(busy_pods, st.randoms(use_true_random=False))
def test_the_order_of_the_pods_does_not_change_the_verdict(counts: dict[str, int], rng: random.Random) -> None:
    items = list(counts.items())
    rng.shuffle(items)
    one, other = judge(counts), judge(dict(items))
    assert (one.verdict, one.requests, one.needed) == (other.verdict, other.requests, other.needed)
    assert isclose(one.effective_pods, other.effective_pods)
    assert sorted(one.pods, key=lambda p: p.name) == sorted(other.pods, key=lambda p: p.name)


@given(busy_pods)
def test_shares_sum_to_one_and_keep_the_order_of_the_counts(counts: dict[str, int]) -> None:
    verdict = judge(counts)
    assert sum(p.share for p in verdict.pods) == pytest.approx(1)
    assert [(p.name, p.requests) for p in verdict.pods] == list(counts.items())


@given(counts_of_pods, st.floats(0.5, 0.9999))
def test_every_interval_contains_its_share(counts: dict[str, int], confidence: float) -> None:
    for pod in judge(counts, confidence=confidence).pods:
        assert 0 <= pod.low <= pod.share <= pod.high <= 1


@given(st.integers(1, 5_000))
def test_an_idle_pod_and_one_with_everything_lie_in_their_intervals_in_spite_of_rounding(requests: int) -> None:
    for pods in PODS:
        z = quantile(0.99, pods)
        assert wilson(0, requests, z)[0] == 0
        assert wilson(requests, requests, z)[1] == 1


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.2] * 5, one_pod_at(0.6, 5), [0.05] * 20], ids=str)
def test_all_intervals_together_contain_the_true_shares_as_often_as_promised(shares: list[float]) -> None:
    def missed(verdict: Verdict) -> bool:
        return any(not pod.low <= share <= pod.high for pod, share in zip(verdict.pods, shares, strict=True))

    # 99 % on average; of 1000 runs, up to 20 misses are what chance allows.
    assert rate(shares, 2_000, missed, runs=1_000) <= 0.02


@settings(max_examples=50)
@given(st.integers(2, 30), st.floats(0.01, 0.9), st.integers(1, 1_000))
def test_equal_counts_are_never_called_uneven_or_pinned(pods: int, margin: float, each: int) -> None:
    verdict = judge({f"pod-{i}": each for i in range(pods)}, margin=margin)
    assert verdict.verdict in ("even", "too-few-requests")


@pytest.mark.parametrize("pods", PODS)
def test_a_wider_margin_accepts_what_a_narrow_one_rejects(pods: int) -> None:
    first = ceil(10_000 * 1.2)
    counts = {"first": first, **{f"pod-{i}": 10_000 for i in range(pods - 1)}}
    assert judge(counts, margin=0.05).verdict == "uneven"
    assert judge(counts, margin=0.5).verdict == "even"


# Little or nothing to judge


@pytest.mark.parametrize("requests", [0, 1, 100_000])
def test_one_pod_has_nothing_to_balance(requests: int) -> None:
    verdict = judge({"only": requests})
    assert (verdict.verdict, verdict.needed, verdict.fair) == ("too-few-requests", None, 1)
    assert "one pod" in verdict.explanation


def test_no_pod_is_said_to_be_no_pod() -> None:
    verdict = judge({})
    assert (verdict.verdict, verdict.requests, verdict.pods, verdict.effective_pods) == ("too-few-requests", 0, (), 0)
    assert "no pod" in verdict.explanation


@pytest.mark.parametrize("pods", PODS)
def test_no_request_at_all_is_said_and_proves_nothing(pods: int) -> None:
    verdict = judge({f"pod-{i}": 0 for i in range(pods)})
    assert (verdict.verdict, verdict.requests, verdict.effective_pods) == ("too-few-requests", 0, 0)
    assert all((p.share, p.low, p.high) == (0, 0, 1) for p in verdict.pods)
    assert "no request was counted" in verdict.explanation


@pytest.mark.parametrize("bad", [0, 1, -0.1, 1.5, float("nan"), float("inf")])
def test_a_margin_or_confidence_outside_zero_to_one_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        judge({"a": 1, "b": 1}, margin=bad)
    with pytest.raises(ValueError, match="between 0 and 1"):
        judge({"a": 1, "b": 1}, confidence=bad)


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        judge({"a": 5, "b": -1})


# The words


@pytest.mark.parametrize(
    ("counts", "verdict", "words"),
    [
        ({"a": 1_000, "b": 0, "c": 0}, "pinned", "one long-lived HTTP/2 connection"),
        ({"a": 1_000, "b": 1_000, "c": 0}, "uneven", "1 of 3 pods got nothing"),
        ({"a": 6_000, "b": 2_000, "c": 2_000}, "uneven", "slower pod"),
        ({"a": 5_000, "b": 5_000, "c": 5_000}, "even", "±25%"),
    ],
    ids=["pinned", "uneven with an idle pod", "uneven", "even"],
)
def test_the_explanation_names_the_likely_cause(counts: dict[str, int], verdict: str, words: str) -> None:
    judged = judge(counts)
    assert judged.verdict == verdict
    assert words in judged.explanation

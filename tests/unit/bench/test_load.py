"""What the load generators print is read right, and a failed request never passes as a number."""

import json

import pytest

from bench.load import LoadFailed, parse_ghz, parse_h2load, quantile

SUMMARY = """
finished in 1.50s, 162395.40 req/s, 8.37MB/s
requests: 100000 total, 100000 started, 100000 done, {good} succeeded, {failed} failed, {failed} errored, 0 timeout
status codes: 100000 2xx, 0 3xx, 0 4xx, 0 5xx
"""


def test_h2loads_summary_gives_requests_and_rate() -> None:
    result = parse_h2load(SUMMARY.format(good=1500, failed=0))
    assert (result.requests, result.seconds, result.rps) == (1500, 1.5, 1000.0)


def test_h2loads_milliseconds_are_milliseconds() -> None:
    text = SUMMARY.format(good=5, failed=0).replace("1.50s", "615.78ms")
    assert parse_h2load(text).seconds == pytest.approx(0.61578)


def test_h2loads_log_gives_sorted_latencies() -> None:
    log = "1700000000000001\t200\t30\n1700000000000002\t200\t10\n1700000000000003\t200\t20\ncut off"
    assert parse_h2load(SUMMARY.format(good=3, failed=0), log).latencies == (10.0, 20.0, 30.0)


@pytest.mark.parametrize("text", [SUMMARY.format(good=99, failed=1), SUMMARY.format(good=0, failed=0), "nonsense"])
def test_a_failed_request_is_no_result(text: str) -> None:
    with pytest.raises(LoadFailed):
        parse_h2load(text)


def test_ghz_gives_calls_and_latencies_in_microseconds() -> None:
    said = {
        "count": 2,
        "total": 1_000_000_000,
        "statusCodeDistribution": {"OK": 2},
        "details": [{"latency": 300_000}, {"latency": 100_000}],
    }
    result = parse_ghz(json.dumps(said))
    assert (result.rps, result.latencies) == (2.0, (100.0, 300.0))
    said["statusCodeDistribution"] = {"OK": 1, "Unavailable": 1}
    with pytest.raises(LoadFailed, match="Unavailable"):
        parse_ghz(json.dumps(said))


def test_quantiles_are_values_that_occurred() -> None:
    values = [float(n) for n in range(1, 1001)]
    assert [quantile(values, q) for q in (0.5, 0.99, 0.999, 1.0)] == [500, 990, 999, 1000]
    assert quantile([7.0], 0.99) == 7.0
    with pytest.raises(ValueError):
        quantile([], 0.5)

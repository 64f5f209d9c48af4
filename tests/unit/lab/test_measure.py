"""The measuring counts what happened in a window, no more and no less: pages of metrics in, a Sample out.

Pages are written by hand or by the library that the demo's servers use; the cluster is a stand-in.
"""

from __future__ import annotations

import bisect
import math
from collections import Counter
from collections.abc import Callable
from typing import Any, cast

import prometheus_client
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.errors import ApiFailure, BadInput, LabError
from lab.kube import Kube
from lab.measure import GRPC, Counters, MetricNames, Window, measure, window
from lab.measure.sample import deltas, is_ok, quantiles, routes
from lab.measure.scrape import SIDECAR, Key, parse, quantile

INF = math.inf

PAGE = """\
# HELP grpc_server_handled_total Calls done.
# TYPE grpc_server_handled_total counter
grpc_server_handled_total{grpc_method="Vote",grpc_code="OK",pod="a"} 5
grpc_server_handled_total{grpc_method="Vote",grpc_code="OK",pod="b"} 2
grpc_server_handled_total{grpc_method="Vote",grpc_code="Internal",pod="b"} 1
# TYPE grpc_server_handling_seconds histogram
grpc_server_handling_seconds_bucket{grpc_method="Vote",pod="a",le="0.01"} 3
grpc_server_handling_seconds_bucket{grpc_method="Vote",pod="a",le="+Inf"} 5
grpc_server_handling_seconds_bucket{grpc_method="Vote",pod="b",le="0.01"} 1
grpc_server_handling_seconds_bucket{grpc_method="Vote",pod="b",le="+Inf"} 3
grpc_server_handling_seconds_sum{grpc_method="Vote",pod="a"} 0.4
grpc_server_handling_seconds_count{grpc_method="Vote",pod="a"} 5
# TYPE grpc_server_started_total counter
grpc_server_started_total{grpc_method="Vote"} 99
# TYPE process_resident_memory_bytes gauge
process_resident_memory_bytes 1.5e7
"""


def counted(n: int, route: str = "Vote", code: str = "OK", **others: int) -> Counters:
    return Counters(Counter({(route, code): n, **{(route, c): k for c, k in others.items()}}))


# --- Pages -------------------------------------------------------------------------------------------------------


def test_counters_and_histograms_of_a_page_are_added_up_and_other_metrics_ignored() -> None:
    assert parse(PAGE, GRPC) == {
        "": Counters(Counter({("Vote", "OK"): 7, ("Vote", "Internal"): 1}), {"Vote": Counter({0.01: 4, INF: 8})})
    }


def test_a_page_is_told_apart_by_its_labels() -> None:
    by_pod = parse(PAGE, GRPC, lambda labels: labels["pod"])
    assert by_pod == {
        "a": Counters(Counter({("Vote", "OK"): 5}), {"Vote": Counter({0.01: 3, INF: 5})}),
        "b": Counters(Counter({("Vote", "OK"): 2, ("Vote", "Internal"): 1}), {"Vote": Counter({0.01: 1, INF: 3})}),
    }


def test_what_the_labels_leave_out_is_not_counted() -> None:
    only_a = parse(PAGE, GRPC, lambda labels: "a" if labels["pod"] == "a" else None)
    assert list(only_a) == ["a"]
    assert only_a["a"].total() == 5


def test_a_page_without_the_metrics_asked_for_has_no_counters() -> None:
    assert parse(PAGE, SIDECAR) == {}
    assert parse("", GRPC) == {}


def test_labels_that_are_missing_count_as_empty() -> None:
    assert parse("grpc_server_handled_total 3\n", GRPC) == {"": Counters(Counter({("", ""): 3}))}


def test_a_counter_without_the_usual_suffix_is_read_too() -> None:
    names = MetricNames("hits", "took", "path", "status")
    page = '# TYPE hits counter\nhits{path="/",status="200"} 4\n'
    assert parse(page, names)[""].requests == {("/", "200"): 4}


def test_a_page_of_the_prometheus_library_is_read() -> None:
    registry = prometheus_client.CollectorRegistry()
    handled = prometheus_client.Counter(GRPC.total, "Done.", [GRPC.route, GRPC.code], registry=registry)
    took = prometheus_client.Histogram(GRPC.duration, "Took.", [GRPC.route], buckets=[0.1, 1], registry=registry)
    for seconds in (0.05, 0.5, 0.6, 7):
        handled.labels("Vote", "OK").inc()
        took.labels("Vote").observe(seconds)
    page = prometheus_client.generate_latest(registry).decode()
    assert parse(page, GRPC) == {
        "": Counters(Counter({("Vote", "OK"): 4}), {"Vote": Counter({0.1: 1, 1.0: 3, INF: 4})})
    }


@pytest.mark.parametrize(
    "page",
    [
        "<html>Not found</html>",
        "404 page not found\n",
        '{"error": "no"}',
        "grpc_server_handled_total\n",
        "grpc_server_handled_total{ 5\n",
        "grpc_server_handled_total many\n",
        "grpc_server_handled_total NaN\n",
        "grpc_server_handled_total +Inf\n",
        "# TYPE grpc_server_handling_seconds histogram\ngrpc_server_handling_seconds_bucket 3\n",
        '# TYPE grpc_server_handling_seconds histogram\ngrpc_server_handling_seconds_bucket{le="?"} 3\n',
        PAGE + "}\n",
    ],
)
def test_what_is_no_page_of_metrics_is_refused_in_one_line(page: str) -> None:
    with pytest.raises(LabError, match="no Prometheus text") as e:
        parse(page, GRPC)
    assert len(str(e.value).splitlines()) == 1


@given(
    st.integers(0, len(PAGE)), st.integers(0, 5), st.sampled_from(["", "{", "}", '"', ",", "#", "\\", "\n", "é", "Inf"])
)
def test_a_damaged_page_is_read_or_refused_but_never_worse(at: int, length: int, instead: str) -> None:
    try:
        parse(PAGE[:at] + instead + PAGE[at + length :], GRPC)
    except LabError as e:
        assert "no Prometheus text" in str(e)  # noqa: PT017 - which pages stay readable is not the point


# --- Differences -------------------------------------------------------------------------------------------------

keys = st.tuples(st.sampled_from(["Vote", "List"]), st.sampled_from(["OK", "Internal", "Unavailable"]))
requests = st.dictionaries(keys, st.integers(1, 1000), max_size=6).map(Counter)


@st.composite
def counters(draw: st.DrawFn) -> Counters:
    bounds = st.dictionaries(st.sampled_from([0.01, 0.1, INF]), st.integers(1, 1000), max_size=3).map(Counter)
    return Counters(draw(requests), draw(st.dictionaries(st.sampled_from(["Vote", "List"]), bounds, max_size=2)))


@given(counters(), counters())
def test_what_was_added_is_what_the_difference_says(earlier: Counters, added: Counters) -> None:
    later = Counters(
        earlier.requests + added.requests,
        {
            route: earlier.buckets.get(route, Counter()) + added.buckets.get(route, Counter())
            for route in {*earlier.buckets, *added.buckets}
        },
    )
    since = later.minus(earlier)
    assert since is not None
    assert since.requests == added.requests
    assert since.total() == added.total()
    for route, bounds in since.buckets.items():
        assert bounds == added.buckets.get(route, Counter())


@given(counters())
def test_a_source_that_did_nothing_has_added_nothing(c: Counters) -> None:
    since = c.minus(c)
    assert since is not None
    assert since.total() == 0


@given(counters(), keys)
def test_one_counter_that_went_down_means_a_restart_however_much_others_grew(earlier: Counters, key: Key) -> None:
    earlier.requests[key] += 1
    later = Counters(earlier.requests.copy())
    later.requests[key] -= 1
    later.requests["Other", "OK"] += 10_000
    assert later.minus(earlier) is None


def test_taking_the_difference_changes_neither_side() -> None:
    earlier, later = counted(3), counted(8)
    later.minus(earlier)
    assert (earlier, later) == (counted(3), counted(8))


def test_a_window_adds_what_came_between_its_ends_and_says_nothing_when_nothing_is_odd() -> None:
    notes: list[str] = []
    found = deltas({"a": counted(10), "b": counted(4)}, {"a": counted(15), "b": counted(4)}, notes, "pod")
    assert {name: c.total() for name, c in found.items()} == {"a": 5, "b": 0}  # the idle one is there
    assert notes == []


def test_a_pod_that_began_anew_is_counted_from_then_and_noted() -> None:
    notes: list[str] = []
    found = deltas({"a": counted(10)}, {"a": counted(3)}, notes, "pod")
    assert found["a"].total() == 3
    assert notes == ["pod a began anew during the window; counted from then"]


def test_a_pod_that_came_is_counted_and_noted() -> None:
    notes: list[str] = []
    found = deltas({}, {"a": counted(3)}, notes, "pod")
    assert found["a"].total() == 3
    assert notes == ["pod a came during the window"]


def test_a_pod_that_went_is_not_counted_but_noted() -> None:
    notes: list[str] = []
    assert deltas({"a": counted(3)}, {}, notes, "pod") == {}
    assert notes == ["pod a went away during the window"]


# --- Quantiles ---------------------------------------------------------------------------------------------------

BOUNDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, INF)


def histogram(values: list[float], bounds: tuple[float, ...] = BOUNDS) -> Counter[float]:
    return Counter({bound: sum(v <= bound for v in values) for bound in bounds})


@given(st.lists(st.floats(0.0001, 1.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.95, 0.99]))
def test_a_quantile_lies_in_the_bucket_of_the_exact_one(values: list[float], q: float) -> None:
    exact = sorted(values)[math.ceil(q * len(values)) - 1]
    at = bisect.bisect_left(BOUNDS, exact)
    found = quantile(histogram(values), q)
    assert found is not None
    low, high = (BOUNDS[at - 1] if at else 0.0), BOUNDS[at]
    assert low * 1e3 - 1e-6 <= found <= high * 1e3 + 1e-6


@given(st.lists(st.floats(0.0001, 5.0), min_size=1, max_size=50))
def test_quantiles_grow_with_the_share_asked_for(values: list[float]) -> None:
    found = [quantile(histogram(values), q) or 0 for q in (0.5, 0.95, 0.99)]
    assert found == sorted(found)


def test_within_a_bucket_a_quantile_is_linear() -> None:
    # 100 values spread evenly over 0 to 100 ms.
    even = Counter({0.1: 100, INF: 100})
    assert quantile(even, 0.5) == pytest.approx(50)
    assert quantile(even, 0.95) == pytest.approx(95)


def test_nothing_measured_has_no_quantile() -> None:
    assert quantile({}, 0.5) is None
    assert quantile(histogram([]), 0.5) is None
    assert quantiles([]) == (None, None, None)


def test_beyond_the_last_bound_a_quantile_is_that_bound() -> None:
    assert quantile({0.1: 1, INF: 100}, 0.5) == pytest.approx(100)


def test_without_any_bound_nothing_is_known_of_the_latency() -> None:
    assert quantile({INF: 100}, 0.5) is None


def test_quantiles_are_over_all_sources_and_routes_or_over_one_route() -> None:
    one = Counters(buckets={"Vote": Counter({0.1: 10, 0.2: 10, INF: 10}), "List": Counter({0.1: 0, 0.2: 90, INF: 90})})
    two = Counters(buckets={"Vote": Counter({0.1: 10, 0.2: 10, INF: 10})})
    assert quantiles([one, two], "Vote")[0] == pytest.approx(50)
    assert quantiles([one, two])[0] == pytest.approx(100 + 100 * 35 / 90)
    assert quantiles([one, two], "Other") == (None, None, None)


# --- Routes ------------------------------------------------------------------------------------------------------


def test_routes_are_listed_by_worst_success_first_then_by_name() -> None:
    a = Counters(Counter({("Fine", "OK"): 10, ("Bad", "OK"): 1, ("Bad", "Internal"): 3, ("Also", "OK"): 1}))
    b = Counters(Counter({("Meh", "OK"): 9, ("Meh", "Internal"): 1, ("Bad", "Unavailable"): 1, ("Idle", "OK"): 0}))
    found = routes([a, b], window_s=5)
    assert [r.route for r in found] == ["Bad", "Meh", "Also", "Fine"]  # nothing happened on Idle
    bad = found[0]
    assert (bad.requests, bad.rps, bad.errors) == (5, 1.0, {"Internal": 3, "Unavailable": 1})
    assert bad.success == pytest.approx(0.2)
    assert [r.success for r in found[2:]] == [1.0, 1.0]


def test_a_route_has_the_latency_of_all_pods_together() -> None:
    pods = [Counters(Counter({("Vote", "OK"): 4}), {"Vote": Counter({0.1: 4, INF: 4})}) for _ in range(2)]
    assert routes(pods, 1)[0].latency == quantiles(pods, "Vote")


def test_without_requests_there_are_no_routes() -> None:
    assert routes([Counters()], 10) == ()


@pytest.mark.parametrize("code", ["OK", "100", "200", "204", "302", "399"])
def test_success_is_grpcs_ok_or_an_http_status_below_400(code: str) -> None:
    assert is_ok(code)


@pytest.mark.parametrize(
    "code", ["", "ok", "Internal", "Unavailable", "0", "99", "400", "404", "500", "²", "-200", "2xx"]
)
def test_everything_else_is_an_error(code: str) -> None:
    assert not is_ok(code)


# --- A whole window ----------------------------------------------------------------------------------------------


class Cluster:
    """Stands in for Kube: one Service, its pods, and pages that the test writes.

    pages: (pod, port) → page, or None where the pod does not answer. Nodes tell nothing.
    """

    def __init__(self, pods: list[str], meshed: list[str] | None = None) -> None:
        self.pods = pods
        self.meshed = meshed or []
        self.pages: dict[tuple[str, int], str | None] = {}

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return {"spec": {"selector": {"app": "voting"}}} if name == "voting" else None

    def list(self, kind: str, namespace: str, selector: object = None) -> list[dict[str, Any]]:
        if kind == "Service":
            return [{"metadata": {"name": "voting"}}]
        names = self.pods if selector else [*self.pods, *self.meshed]
        return [self._pod(name, "ewma-proxy" if name in self.meshed else "app") for name in names]

    def pod_http(self, namespace: str, pod: str, port: int, path: str) -> str:
        page = self.pages.get((pod, port))
        if page is None:
            raise ApiFailure("no answer", 503)
        return page

    def call(self, method: str, path: str) -> str:
        raise ApiFailure("not allowed", 403)

    def serves(self, pod: str, ok: int, failed: int = 0) -> None:
        self.pages[pod, 9100] = "".join(
            f'grpc_server_handled_total{{grpc_method="Vote",grpc_code="{code}"}} {n}\n'
            for code, n in (("OK", ok), ("Internal", failed))
        )

    def forwards(self, client: str, service: str = "lab/voting:8080", **to: int) -> None:
        self.pages[client, 9191] = "".join(
            f'ewma_proxy_requests_total{{service="{service}",pod="{pod}",route="Vote",code="OK"}} {n}\n'
            for pod, n in to.items()
        )

    @staticmethod
    def _pod(name: str, container: str) -> dict[str, Any]:
        return {
            "metadata": {"name": name},
            "spec": {"nodeName": "node", "containers": [{"name": container}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }


class Waits:
    """What happens while the measuring waits, instead of waiting."""

    def __init__(self, during: Callable[[], None]) -> None:
        self.during = during
        self.asked: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        self.during()


WINDOW = Window("lab", "voting", seconds=10, warm_up=0)


@pytest.fixture
def during(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], None]], Waits]:
    """Put something into the window."""

    def put(action: Callable[[], None]) -> Waits:
        waits = Waits(action)
        monkeypatch.setattr(window, "_sleep", waits)
        return waits

    return put


During = Callable[[Callable[[], None]], Waits]


def test_a_window_counts_requests_errors_and_idle_pods(during: During) -> None:
    cluster = Cluster(["a", "b"])
    cluster.serves("a", 1000, 10)
    cluster.serves("b", 7)
    waits = during(lambda: cluster.serves("a", 1300, 12))
    sample = measure(cast(Kube, cluster), WINDOW)
    assert sample.counts == {"a": 302, "b": 0}
    assert sample.requests == 302
    assert sample.errors == {"Internal": 2}
    assert sample.sidecars is None
    assert sample.cpu_s == {}
    assert sample.notes == ()
    assert waits.asked == [10]


def test_a_pod_whose_first_page_is_missing_is_left_out_rather_than_counted_for_all_its_life(during: During) -> None:
    cluster = Cluster(["a", "b"])
    cluster.serves("a", 100)

    def action() -> None:
        cluster.serves("a", 400)
        cluster.serves("b", 1_000_000)

    during(action)
    sample = measure(cast(Kube, cluster), WINDOW)
    assert sample.counts == {"a": 300}
    assert sample.notes == ("b gave no metrics",)


def test_sidecars_are_counted_per_pod_served_and_only_for_this_service(during: During) -> None:
    cluster = Cluster(["a", "b"], meshed=["bot", "web"])
    cluster.serves("a", 0)
    cluster.serves("b", 0)
    cluster.forwards("bot", a=10, b=20)
    cluster.forwards("web", service="lab/catalogue:8080", c=5)

    def action() -> None:
        cluster.forwards("bot", a=110, b=130)
        cluster.forwards("web", service="lab/catalogue:8080", c=500)

    during(action)
    assert measure(cast(Kube, cluster), WINDOW).sidecars == {"a": 100, "b": 110}


def test_a_sidecar_whose_first_page_is_missing_is_left_out_too(during: During) -> None:
    cluster = Cluster(["a"], meshed=["bot", "web"])
    cluster.serves("a", 0)
    cluster.forwards("bot", a=10)

    def action() -> None:
        cluster.forwards("bot", a=15)
        cluster.forwards("web", a=1_000_000)

    during(action)
    sample = measure(cast(Kube, cluster), WINDOW)
    assert sample.sidecars == {"a": 5}
    assert sample.notes == ("the sidecar of web gave no metrics",)


def test_pods_that_give_nothing_at_all_end_the_measuring(during: During) -> None:
    during(lambda: None)
    with pytest.raises(LabError, match="nothing to count for lab/voting: a gave no metrics"):
        measure(cast(Kube, Cluster(["a"])), WINDOW)
    with pytest.raises(LabError, match="nothing to count for lab/voting: no pod is ready"):
        measure(cast(Kube, Cluster([])), WINDOW)


def test_a_service_that_does_not_exist_is_bad_input_and_those_that_do_are_named() -> None:
    with pytest.raises(BadInput, match="no Service 'votes' in namespace 'lab'; Services there: voting"):
        measure(cast(Kube, Cluster(["a"])), Window("lab", "votes"))

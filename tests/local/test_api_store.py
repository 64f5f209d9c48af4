"""The store by itself: versions, generations, concurrency, deletion, history."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lab.clusters.local.api import errors
from lab.clusters.local.api.store import Store
from tests.local.api_support import NODE, deployment, pod, service

NS = "default"


@pytest.fixture
def store() -> Store:
    return Store(allocate_cluster_ip=lambda s: s["spec"].get("clusterIP") or "127.9.0.2")


def test_create_gives_metadata_and_defaults(store: Store) -> None:
    made = store.create("deployments", NS, deployment("web"))
    assert {"uid", "resourceVersion", "creationTimestamp"} <= made["metadata"].keys()
    assert made["metadata"]["generation"] == 1
    assert made["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": "25%", "maxSurge": "25%"}
    assert made["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == 30
    assert made["spec"]["template"]["spec"]["containers"][0]["ports"][0]["protocol"] == "TCP"


def test_generate_name_makes_different_names(store: Store) -> None:
    given = pod("x")
    given["metadata"] = {"generateName": "web-"}
    names = {store.create("pods", NS, given)["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("web-") for name in names)


def test_objects_are_copied_in_and_out(store: Store) -> None:
    given = pod("a")
    made = store.create("pods", NS, given)
    given["spec"]["containers"][0]["image"] = made["spec"]["containers"][0]["image"] = "changed"
    store.get("pods", NS, "a")["metadata"]["name"] = "changed"
    assert store.get("pods", NS, "a")["spec"]["containers"][0]["image"] == "demo:1"


def test_update_with_an_old_version_is_a_conflict(store: Store) -> None:
    old = store.create("deployments", NS, deployment("web"))
    store.mutate("deployments", NS, "web", lambda d: d["spec"].update(replicas=5))
    with pytest.raises(errors.Conflict, match="the object has been modified"):
        store.update("deployments", NS, old)


def test_generation_grows_with_the_spec_only(store: Store) -> None:
    store.create("deployments", NS, deployment("web"))
    store.mutate("deployments", NS, "web", lambda d: d["metadata"]["labels"].update(x="y"))
    store.mutate("deployments", NS, "web", lambda d: d["status"].update(replicas=2), subresource="status")
    assert store.get("deployments", NS, "web")["metadata"]["generation"] == 1
    store.mutate("deployments", NS, "web", lambda d: d["spec"].update(replicas=3))
    assert store.get("deployments", NS, "web")["metadata"]["generation"] == 2


def test_a_write_touches_either_the_status_or_the_rest(store: Store) -> None:
    store.create("deployments", NS, deployment("web", replicas=1))

    def both(d: dict[str, Any]) -> None:
        d["spec"]["replicas"], d["status"] = 9, {"replicas": 9}

    assert store.mutate("deployments", NS, "web", both, subresource="status")["spec"]["replicas"] == 1
    store.mutate("deployments", NS, "web", lambda d: d.update(status={"replicas": 1}), subresource="status")
    assert store.mutate("deployments", NS, "web", both)["status"] == {"replicas": 1}


def test_a_write_that_changes_nothing_makes_no_event(store: Store) -> None:
    made = store.create("deployments", NS, deployment("web"))
    again = store.update("deployments", NS, made)
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"] == store.resource_version


@pytest.mark.parametrize(
    ("node", "phase", "grace", "stays"),
    [
        (None, "Pending", None, False),
        (NODE, "Running", None, True),
        (NODE, "Running", 5, True),
        (NODE, "Running", 0, False),
        (NODE, "Succeeded", None, False),
        (NODE, "Failed", 5, False),
    ],
)
def test_a_pod_waits_for_its_kubelet_only_when_one_runs_it(
    store: Store, node: str | None, phase: str, grace: int | None, stays: bool
) -> None:
    store.create("pods", NS, pod("a", node=node))
    store.mutate("pods", NS, "a", lambda p: p["status"].update(phase=phase), subresource="status")
    store.delete("pods", NS, "a", grace_seconds=grace)
    held = store.list("pods", NS)[0]
    assert bool(held) == stays
    if stays:
        assert held[0]["metadata"]["deletionGracePeriodSeconds"] == (30 if grace is None else grace)
        store.remove("pods", NS, "a", uid="another")
        assert store.list("pods", NS)[0], "remove with another uid must leave the pod"
        store.remove("pods", NS, "a", uid=held[0]["metadata"]["uid"])
        store.remove("pods", NS, "a")
        assert not store.list("pods", NS)[0]


def test_a_second_delete_can_only_shorten_the_grace(store: Store) -> None:
    store.create("pods", NS, pod("a", node=NODE))
    store.delete("pods", NS, "a", grace_seconds=10)
    assert store.delete("pods", NS, "a", grace_seconds=20)["metadata"]["deletionGracePeriodSeconds"] == 10
    assert store.delete("pods", NS, "a", grace_seconds=3)["metadata"]["deletionGracePeriodSeconds"] == 3


def test_delete_checks_the_uid_precondition(store: Store) -> None:
    made = store.create("configmaps", NS, {"metadata": {"name": "a"}})
    with pytest.raises(errors.Conflict, match="UID"):
        store.delete("configmaps", NS, "a", precondition_uid="other")
    store.delete("configmaps", NS, "a", precondition_uid=made["metadata"]["uid"])


def test_an_object_with_finalizers_goes_with_the_last_one(store: Store) -> None:
    store.create("configmaps", NS, {"metadata": {"name": "a", "finalizers": ["x/y"]}})
    assert store.delete("configmaps", NS, "a")["metadata"]["deletionTimestamp"]
    store.mutate("configmaps", NS, "a", lambda c: c["metadata"].pop("finalizers"))
    with pytest.raises(errors.NotFound):
        store.get("configmaps", NS, "a")


def test_a_namespace_goes_with_the_last_thing_in_it(store: Store) -> None:
    store.create("namespaces", None, {"metadata": {"name": "x"}})
    assert store.get("serviceaccounts", "x", "default")
    store.create("pods", "x", pod("a", node=NODE))
    assert store.delete("namespaces", None, "x")["status"]["phase"] == "Terminating"
    with pytest.raises(errors.Forbidden, match="being terminated"):
        store.create("configmaps", "x", {"metadata": {"name": "late"}})
    store.remove("pods", "x", "a")
    with pytest.raises(errors.NotFound):
        store.get("namespaces", None, "x")


def test_orphans_lose_their_owner_reference(store: Store) -> None:
    owner = store.create("deployments", NS, deployment("web"))
    child = pod("a")
    child["metadata"]["ownerReferences"] = [
        {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": owner["metadata"]["uid"]}
    ]
    store.create("pods", NS, child)
    store.delete("deployments", NS, "web", propagation="Orphan")
    assert store.get("pods", NS, "a")["metadata"]["ownerReferences"] == []


def test_cluster_ips_are_allocated_kept_and_released() -> None:
    released: list[str] = []
    store = Store(allocate_cluster_ip=lambda _: "127.9.0.7", release_cluster_ip=released.append)
    store.create("services", NS, service("web"))
    store.create("services", NS, service("headless", clusterIP="None"))
    assert store.get("services", NS, "headless")["spec"]["clusterIP"] == "None"
    assert store.update("services", NS, service("web"))["spec"]["clusterIP"] == "127.9.0.7"
    with pytest.raises(errors.Invalid, match="may not change once set"):
        store.update("services", NS, service("web", clusterIP="127.9.0.8"))
    store.delete("services", NS, "web")
    store.delete("services", NS, "headless")
    assert released == ["127.9.0.7"]


def _without_selector() -> dict[str, Any]:
    d = deployment("web")
    del d["spec"]["selector"]
    return d


def _with(path: str, value: Any, base: dict[str, Any] | None = None) -> dict[str, Any]:
    d = base or deployment("web")
    at: Any = d
    *steps, last = path.split("/")
    for step in steps:
        at = at[int(step)] if step.isdigit() else at[step]
    at[last] = value
    return d


_CONTAINER = "spec/template/spec/containers/0"


@pytest.mark.parametrize(
    ("plural", "obj", "message"),
    [
        (
            "deployments",
            deployment("Web"),
            'metadata.name: Invalid value: "Web": a lowercase RFC 1123 subdomain',
        ),
        ("deployments", _with("metadata", {}), "name or generateName is required"),
        ("deployments", _without_selector(), "spec.selector: Required value"),
        (
            "deployments",
            _with("spec/selector", {"matchLabels": {"a": "b"}}),
            "`selector` does not match template",
        ),
        (
            "deployments",
            _with("spec/replicas", -1),
            "spec.replicas: Invalid value: -1: must be greater than or",
        ),
        (
            "deployments",
            _with("spec/strategy", {"type": "Now"}),
            'Unsupported value: "Now": supported values',
        ),
        (
            "deployments",
            _with("spec/template/spec/containers", []),
            "spec.template.spec.containers: Required value",
        ),
        ("deployments", _with(f"{_CONTAINER}/image", ""), "containers[0].image: Required value"),
        (
            "deployments",
            _with(f"{_CONTAINER}/ports/0/containerPort", 0),
            "must be between 1 and 65535, inclusive",
        ),
        ("deployments", _with(f"{_CONTAINER}/livenessProbe", {}), "must specify a handler type"),
        (
            "deployments",
            _with(f"{_CONTAINER}/volumeMounts", [{"name": "v", "mountPath": "/"}]),
            'Not found: "v"',
        ),
        ("deployments", _with("metadata/labels", {"a": "b c"}), "metadata.labels: Invalid value"),
        ("services", service("9web"), "a DNS-1035 label must consist of"),
        ("services", service("web", ports=[]), "spec.ports: Required value"),
        ("services", service("web", type="Magic"), 'spec.type: Unsupported value: "Magic"'),
        (
            "pods",
            _with("spec/restartPolicy", "Maybe", pod("a")),
            'spec.restartPolicy: Unsupported value: "Maybe"',
        ),
        ("endpointslices", {"metadata": {"name": "a"}}, "addressType: Required value"),
    ],
)
def test_what_is_invalid_is_refused_in_kubernetes_words(
    store: Store, plural: str, obj: dict[str, Any], message: str
) -> None:
    with pytest.raises(errors.Invalid) as refused:
        store.create(plural, NS, obj)
    assert message in refused.value.message
    assert refused.value.status()["details"]["causes"]


def test_what_is_settled_cannot_change(store: Store) -> None:
    store.create("deployments", NS, deployment("web"))
    store.create("pods", NS, pod("a"))
    with pytest.raises(errors.Invalid, match="field is immutable"):
        store.mutate(
            "deployments", NS, "web",
            lambda d: (d["spec"].update(selector={"matchLabels": {"b": "c"}}),
                       d["spec"]["template"]["metadata"].update(labels={"b": "c"})),
        )  # fmt: skip
    with pytest.raises(errors.Invalid, match="pod updates may not change fields"):
        store.mutate("pods", NS, "a", lambda p: p["spec"]["containers"][0].update(command=["x"]))
    store.mutate("pods", NS, "a", lambda p: p["spec"].update(nodeName=NODE))
    with pytest.raises(errors.Invalid, match="pod updates may not change fields"):
        store.mutate("pods", NS, "a", lambda p: p["spec"].update(nodeName="another"))


def test_old_events_are_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.clusters.local.api.store.EVENTS_KEPT", 3)
    for i in range(5):
        about = {"kind": "Pod", "name": "a", "namespace": NS}
        store.create("events", NS, {"metadata": {"name": f"e{i}"}, "involvedObject": about})
    assert [e["metadata"]["name"] for e in store.list("events")[0]] == ["e2", "e3", "e4"]


def test_watch_tells_every_change_in_order_after_a_version(store: Store) -> None:
    async def scenario() -> list[tuple[str, str]]:
        _, since = store.list("pods", NS)
        store.create("pods", NS, pod("a"))
        store.create("configmaps", NS, {"metadata": {"name": "not-a-pod"}})
        store.mutate("pods", NS, "a", lambda p: p["metadata"]["labels"].update(x="y"))
        store.delete("pods", NS, "a")
        seen = []
        async for event in store.watch("pods", NS, since):
            assert event.resource_version == event.object["metadata"]["resourceVersion"]
            seen.append((event.type, event.object["metadata"]["name"]))
            if event.type == "DELETED":
                break
        return seen

    assert asyncio.run(scenario()) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]


def test_watch_without_a_version_begins_with_what_there_is(store: Store) -> None:
    async def scenario() -> list[str]:
        for name in ("a", "b"):
            store.create("pods", NS, pod(name))
        watch = store.watch("pods")
        first = [(await anext(watch)).object["metadata"]["name"] for _ in range(2)]
        store.create("pods", NS, pod("c"))
        return [*first, (await anext(watch)).object["metadata"]["name"]]

    assert asyncio.run(scenario()) == ["a", "b", "c"]


def test_a_version_older_than_the_history_is_gone_and_so_is_a_reader_left_behind() -> None:
    async def scenario() -> None:
        store = Store(history_limit=4)
        _, since = store.list("pods")
        slow = store.watch("pods", since=since)
        store.create("pods", NS, pod("p0"))
        assert (await anext(slow)).object["metadata"]["name"] == "p0"
        for i in range(1, 8):
            store.create("pods", NS, pod(f"p{i}"))
        with pytest.raises(errors.Gone):
            await anext(slow)
        with pytest.raises(errors.Gone):
            await anext(store.watch("pods", since=since))

    asyncio.run(scenario())

"""The manifests: names and ports that the rest of the lab relies on, and the rules of a hardened pod."""

from __future__ import annotations

from typing import Any

import pytest

from lab import manifests
from lab.errors import BadInput

Object = dict[str, Any]

SERVERS = {"catalogue": "grpc", "voting": "grpc", "web": "http"}
APPS = (*SERVERS, "bot")


def of_kind(kind: str, objects: list[Object] | None = None) -> dict[str, Object]:
    objects = manifests.load() if objects is None else objects
    return {o["metadata"]["name"]: o for o in objects if o["kind"] == kind}


def pod_spec(name: str) -> Object:
    spec: Object = of_kind("Deployment")[name]["spec"]["template"]["spec"]
    return spec


def container(name: str) -> Object:
    (only,) = pod_spec(name)["containers"]
    found: Object = only
    return found


def test_the_namespace_comes_first_and_every_service_before_the_first_deployment() -> None:
    kinds = [o["kind"] for o in manifests.load()]
    assert kinds[0] == "Namespace"
    first = kinds.index("Deployment")
    assert "Service" in kinds[:first]
    assert set(kinds[first:]) == {"Deployment"}


def test_servers_have_a_service_on_8080_and_the_bot_has_none() -> None:
    services = of_kind("Service")
    assert set(services) == set(SERVERS)
    for name, port in SERVERS.items():
        assert services[name]["spec"]["selector"] == {"app": name}
        (only,) = services[name]["spec"]["ports"]
        assert (only["name"], only["port"], only["targetPort"]) == (port, 8080, port)
        assert {"name": port, "containerPort": 8080} in container(name)["ports"]


def test_there_are_three_voting_pods_and_one_of_the_rest() -> None:
    replicas = {name: d["spec"]["replicas"] for name, d in of_kind("Deployment").items()}
    assert replicas == {"catalogue": 1, "voting": 3, "web": 1, "bot": 1}


def test_only_the_clients_of_grpc_are_marked_for_the_sidecar() -> None:
    marked = {
        name for name, d in of_kind("Deployment").items() if d["metadata"]["labels"].get("balance-lab/mesh") == "client"
    }
    assert marked == {"web", "bot"}


@pytest.mark.parametrize("name", APPS)
def test_a_deployments_pods_carry_the_labels_it_selects_and_roll_one_at_a_time(name: str) -> None:
    deployment = of_kind("Deployment")[name]
    labels = {"app": name, "app.kubernetes.io/part-of": "balance-lab"}
    assert deployment["spec"]["template"]["metadata"]["labels"] == labels
    assert deployment["spec"]["selector"]["matchLabels"] == {"app": name}
    assert deployment["spec"]["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }


@pytest.mark.parametrize("name", APPS)
def test_pods_meet_the_restricted_pod_security_standard(name: str) -> None:
    # https://kubernetes.io/docs/concepts/security/pod-security-standards/#restricted
    spec = pod_spec(name)
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(name)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & set(spec)
    assert set(container(name)["resources"]["requests"]) == {"cpu", "memory"}


@pytest.mark.parametrize("name", APPS)
def test_listeners_bind_the_pods_own_address_which_is_known_before_it_is_used(name: str) -> None:
    env = container(name)["env"]
    names = [e["name"] for e in env]
    values = {e["name"]: e.get("value") for e in env}
    paths = {e["name"]: e["valueFrom"]["fieldRef"]["fieldPath"] for e in env if "valueFrom" in e}
    assert paths == {
        "POD_IP": "status.podIP",
        "POD_NAME": "metadata.name",
        "POD_NAMESPACE": "metadata.namespace",
    }
    assert values["ADMIN"] == "$(POD_IP):9100"
    assert values.get("LISTEN") == ("$(POD_IP):8080" if name in SERVERS else None)
    # $(NAME) is expanded from the entries above it only.
    assert names.index("POD_IP") < min(names.index(n) for n in ("ADMIN", "LISTEN") if n in names)


@pytest.mark.parametrize("name", APPS)
def test_probes_ask_the_admin_port_and_readiness_is_asked_every_second(name: str) -> None:
    found = container(name)
    assert {"name": "admin", "containerPort": 9100} in found["ports"]
    assert found["readinessProbe"]["httpGet"] == {"path": "/ready", "port": "admin"}
    assert found["readinessProbe"]["periodSeconds"] == 1
    assert found["livenessProbe"]["httpGet"] == {"path": "/live", "port": "admin"}
    assert found["imagePullPolicy"] == "IfNotPresent"


def test_a_token_is_mounted_only_where_the_sidecar_will_need_one() -> None:
    accounts = of_kind("ServiceAccount")
    assert set(accounts) == {"web", "bot"}
    for name in ("web", "bot"):
        assert pod_spec(name)["serviceAccountName"] == name
    for name in ("catalogue", "voting"):
        assert pod_spec(name)["automountServiceAccountToken"] is False


def test_the_sidecar_may_read_services_and_endpointslices_of_its_namespace_and_nothing_else() -> None:
    assert not of_kind("ClusterRole")
    (role,) = of_kind("Role").values()
    reads = ["get", "list", "watch"]
    assert role["rules"] == [
        {"apiGroups": [""], "resources": ["services"], "verbs": reads},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": reads},
    ]
    (binding,) = of_kind("RoleBinding").values()
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert {s["name"] for s in binding["subjects"]} == {"web", "bot"}


def test_another_namespace_is_written_everywhere() -> None:
    objects = manifests.load(namespace="elsewhere")
    assert set(of_kind("Namespace", objects)) == {"elsewhere"}
    others = [o for o in objects if o["kind"] != "Namespace"]
    assert {o["metadata"]["namespace"] for o in others} == {"elsewhere"}
    (binding,) = of_kind("RoleBinding", objects).values()
    assert {s["namespace"] for s in binding["subjects"]} == {"elsewhere"}


def test_images_can_be_replaced_and_an_unknown_one_is_refused() -> None:
    images = {"demo-app": "registry.example/app:1", "ewma-proxy": "registry.example/proxy:1"}
    for deployment in of_kind("Deployment", manifests.load(images=images)).values():
        assert deployment["spec"]["template"]["spec"]["containers"][0]["image"] == "registry.example/app:1"
    assert manifests.sidecar_image(images) == "registry.example/proxy:1"
    assert manifests.sidecar_image() == "balance-lab/ewma-proxy:dev"
    with pytest.raises(BadInput, match="no image demo"):
        manifests.load(images={"demo": "x"})


def test_one_manifest_loads_by_its_name_and_an_unknown_name_is_refused() -> None:
    assert [o["kind"] for o in manifests.load("voting")] == ["Service", "Deployment"]
    with pytest.raises(BadInput, match="no manifest 'ballot'"):
        manifests.load("ballot")


def test_every_load_gives_objects_of_its_own() -> None:
    manifests.load("namespace")[0]["metadata"]["name"] = "changed"
    assert manifests.load("namespace")[0]["metadata"]["name"] == manifests.NAMESPACE

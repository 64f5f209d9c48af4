"""The environment of a container: exactly what its pod, its image and its namespace's Services give it.

Nothing of the daemon's own environment passes. Order, later wins: base, image, service variables, envFrom,
env; the lab's own marks last. Pure: everything it reads is handed in.
https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
https://kubernetes.io/docs/tasks/inject-data-application/define-interdependent-environment-variables/
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.clusters.local.addresses import Network
from lab.clusters.local.kubelet.runtime import CannotStart

SIDECAR = "ewma-proxy"
SIDECAR_INIT = "ewma-proxy-init"

Object = dict[str, Any]


@dataclass(frozen=True)
class Sources:
    """What values come from. config_map, secret: name → object, or None when there is none."""

    pod: Object
    number: int  # of the pod, in its address
    network: Network
    services: Iterable[Object]
    config_map: Callable[[str], Object | None]
    secret: Callable[[str], Object | None]


def environment(
    container: Object,
    sources: Sources,
    image: Mapping[str, str],
    base: Mapping[str, str],
    marks: Mapping[str, str],
) -> dict[str, str]:
    """The container's variables. Raises CannotStart when a value has no source and is not optional."""
    variables = {**base, **image, **service_variables(container["name"], sources)}
    for source in container.get("envFrom") or ():
        variables.update(_from_all(source, sources))
    for item in container.get("env") or ():
        value = _value(item, sources, variables)
        if value is not None:
            variables[item["name"]] = value
    return {**variables, **marks}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """$(NAME) → its value; an unknown name stays as it is; $$(NAME) → $(NAME).

    As k8s.io/kubernetes third_party/forked/golang/expansion.
    """

    def replaced(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        return variables.get(match[1], match[0])

    return re.sub(r"\$\$|\$\(([^)]*)\)", replaced, text)


def is_meshed(pod: Object) -> bool:
    """Whether the pod has the balancing sidecar among its containers."""
    spec = pod["spec"]
    return any(c["name"] == SIDECAR for c in (*(spec.get("initContainers") or ()), *spec["containers"]))


def stand_in_variables(container: str, sources: Sources) -> dict[str, str]:
    """What makes the sidecar stand in for cluster IPs by its addresses, whatever its manifest says of redirect rules:
    there is no network namespace to write any in.
    """
    if container == SIDECAR:
        return {"EWMA_PROXY_REDIRECT": sources.network.redirect(sources.number), "EWMA_PROXY_TRANSPARENT": ""}
    return {"EWMA_PROXY_INIT_WITH": "none"} if container == SIDECAR_INIT else {}


def service_variables(container: str, sources: Sources) -> dict[str, str]:
    """NAME_SERVICE_HOST and its kind for each Service of the pod's namespace, and for the API server.

    In a meshed pod the application finds the sidecar's address for the Service instead of the Service's own:
    there is no network namespace whose rules could redirect its connections.
    """
    found = {
        "KUBERNETES_SERVICE_HOST": sources.network.api,
        "KUBERNETES_SERVICE_PORT": "6443",
        "KUBERNETES_SERVICE_PORT_HTTPS": "6443",
    }
    if sources.pod["spec"].get("enableServiceLinks") is False:
        return found
    behind_sidecar = is_meshed(sources.pod) and container != SIDECAR
    for service in sources.services:
        address = service["spec"].get("clusterIP")
        if address and address != "None":
            if behind_sidecar:
                address = sources.network.stand_in(address, sources.number)
            found.update(_one_service(service, address))
    return found


def _one_service(service: Object, address: str) -> dict[str, str]:
    name = service["metadata"]["name"].upper().replace("-", "_")
    ports = service["spec"].get("ports") or []
    found = {f"{name}_SERVICE_HOST": address}
    for index, port in enumerate(ports):
        number, protocol = str(port["port"]), port.get("protocol", "TCP")
        url = f"{protocol.lower()}://{address}:{number}"
        prefix = f"{name}_PORT_{number}_{protocol}"
        if index == 0:
            found |= {f"{name}_SERVICE_PORT": number, f"{name}_PORT": url}
        if port.get("name"):
            found[f"{name}_SERVICE_PORT_{port['name'].upper().replace('-', '_')}"] = number
        found |= {
            prefix: url,
            f"{prefix}_PROTO": protocol.lower(),
            f"{prefix}_PORT": number,
            f"{prefix}_ADDR": address,
        }
    return found


def _value(item: Object, sources: Sources, variables: Mapping[str, str]) -> str | None:
    source = item.get("valueFrom")
    if not source:
        return expand(str(item.get("value") or ""), variables)
    if "fieldRef" in source:
        return field_value(sources.pod, source["fieldRef"]["fieldPath"])
    for kind, find, decode in (
        ("configMapKeyRef", sources.config_map, str),
        ("secretKeyRef", sources.secret, _decoded),
    ):
        if kind in source:
            return _key_of(source[kind], kind, find, decode)
    raise CannotStart(
        "CreateContainerConfigError",
        f"env {item['name']}: valueFrom {', '.join(source)} is not supported on local",
    )


def _key_of(
    reference: Object, kind: str, find: Callable[[str], Object | None], decode: Callable[[str], str]
) -> str | None:
    what = kind.removesuffix("KeyRef").lower()
    holder = find(reference["name"])
    data = (holder or {}).get("data") or {}
    if reference["key"] in data:
        return decode(data[reference["key"]])
    if reference.get("optional"):
        return None
    missing = f'{what} "{reference["name"]}" not found'
    if holder is not None:
        missing = f'couldn\'t find key {reference["key"]} in {what} "{reference["name"]}"'
    raise CannotStart("CreateContainerConfigError", missing)


def _from_all(source: Object, sources: Sources) -> dict[str, str]:
    for kind, find, decode in (
        ("configMapRef", sources.config_map, str),
        ("secretRef", sources.secret, _decoded),
    ):
        if kind in source:
            reference = source[kind]
            holder = find(reference["name"])
            if holder is None and not reference.get("optional"):
                what = kind.removesuffix("Ref").lower()
                raise CannotStart("CreateContainerConfigError", f'{what} "{reference["name"]}" not found')
            data = (holder or {}).get("data") or {}
            return {source.get("prefix", "") + key: decode(value) for key, value in data.items()}
    return {}


def field_value(pod: Object, path: str) -> str:
    """A field of the downward API as text.

    https://kubernetes.io/docs/concepts/workloads/pods/downward-api/#available-fields
    """
    plain = {
        "metadata.name": ("metadata", "name"),
        "metadata.namespace": ("metadata", "namespace"),
        "metadata.uid": ("metadata", "uid"),
        "spec.nodeName": ("spec", "nodeName"),
        "spec.serviceAccountName": ("spec", "serviceAccountName"),
        "status.podIP": ("status", "podIP"),
        "status.podIPs": ("status", "podIP"),
        "status.hostIP": ("status", "hostIP"),
        "status.hostIPs": ("status", "hostIP"),
    }
    if path in plain:
        part, name = plain[path]
        return str(pod[part].get(name, ""))
    match = re.fullmatch(r"metadata\.(labels|annotations)\['([^']+)'\]", path)
    if match:
        return str((pod["metadata"].get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        held = pod["metadata"].get(path.partition(".")[2]) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(held.items()))
    raise CannotStart("CreateContainerConfigError", f"fieldRef {path} is not supported")


def _decoded(value: str) -> str:
    return base64.b64decode(value).decode(errors="replace")

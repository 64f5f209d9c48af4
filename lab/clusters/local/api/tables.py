"""The tables behind `kubectl get`: per kind its columns, and the cells of one object.

Columns and words: kubernetes `pkg/printers/internalversion/printers.go`. A column marked wide shows with `-o wide`.
Pods have a file of their own: `pod_table.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from lab.clusters.local.api.durations import since
from lab.clusters.local.api.objects import Object, metadata
from lab.clusters.local.api.pod_table import POD_COLUMNS, pod_cells

Cells = list[str | int]


@dataclass(frozen=True)
class Printer:
    """columns: names, a trailing "*" marks wide ones, a leading "#" numbers. cells: one row, in the same order."""

    columns: tuple[str, ...]
    cells: Callable[[Object], Cells]


def table(plural: str, objects: Iterable[Object], meta: Object, *, include: str, header: bool = True) -> Object:
    """A meta.k8s.io/v1 Table. include: what rows carry of their object, "None", "Metadata" or "Object"."""
    printer = _PRINTERS.get(plural, _PLAIN)
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": meta,
        "columnDefinitions": [_column(name) for name in printer.columns] if header else [],
        "rows": [_row(printer, obj, include) for obj in objects],
    }


def partial(obj: Object) -> Object:
    """The object's metadata alone, as PartialObjectMetadata."""
    return {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata(obj)}


def _row(printer: Printer, obj: Object, include: str) -> Object:
    row: Object = {"cells": printer.cells(obj)}
    if include != "None":
        row["object"] = obj if include == "Object" else partial(obj)
    return row


def _column(name: str) -> Object:
    title = name.strip("#*")
    return {
        "name": title,
        "type": "integer" if name.startswith("#") else "string",
        "format": "name" if title == "Name" else "",
        "description": title,
        "priority": 1 if name.endswith("*") else 0,
    }


def _name(obj: Object) -> str:
    return str(metadata(obj).get("name", ""))


def _age(obj: Object) -> str:
    return since(metadata(obj).get("creationTimestamp"))


def _labels(labels: dict[str, str] | None) -> str:
    return ",".join(f"{k}={v}" for k, v in sorted((labels or {}).items())) or "<none>"


def _deployment(obj: Object) -> Cells:
    spec, status = obj["spec"], obj.get("status") or {}
    return [
        _name(obj), f"{status.get('readyReplicas', 0)}/{spec.get('replicas', 0)}", status.get("updatedReplicas", 0),
        status.get("availableReplicas", 0), _age(obj), *_template(spec),
    ]  # fmt: skip


def _replica_set(obj: Object) -> Cells:
    spec, status = obj["spec"], obj.get("status") or {}
    return [
        _name(obj), spec.get("replicas", 0), status.get("replicas", 0), status.get("readyReplicas", 0), _age(obj),
        *_template(spec),
    ]  # fmt: skip


def _template(spec: Object) -> list[str]:
    containers = spec["template"]["spec"].get("containers") or []
    names = ",".join(c.get("name", "") for c in containers)
    images = ",".join(c.get("image", "") for c in containers)
    return [names, images, _labels((spec.get("selector") or {}).get("matchLabels"))]


def _service(obj: Object) -> Cells:
    spec = obj["spec"]
    ports = ",".join(
        f"{p['port']}:{p['nodePort']}/{p['protocol']}" if p.get("nodePort") else f"{p['port']}/{p['protocol']}"
        for p in spec.get("ports") or []
    )
    ingress = ((obj.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    outside = [i.get("ip") or i.get("hostname", "") for i in ingress] + list(spec.get("externalIPs") or [])
    external = ",".join(outside) or ("<pending>" if spec["type"] == "LoadBalancer" else "<none>")
    if spec["type"] == "ExternalName":
        external = spec.get("externalName", "")
    address = spec.get("clusterIP") or "<none>"
    return [
        _name(obj),
        spec["type"],
        address,
        external,
        ports or "<none>",
        _age(obj),
        _labels(spec.get("selector")),
    ]


def _endpoint_slice(obj: Object) -> Cells:
    ports = [str(p.get("port", "*")) for p in obj.get("ports") or []]
    addresses = [a for e in obj.get("endpoints") or [] for a in e.get("addresses") or []]
    return [
        _name(obj),
        obj.get("addressType", ""),
        _few(ports, "<unset>"),
        _few(addresses, "<unset>"),
        _age(obj),
    ]


def _few(items: list[str], none: str) -> str:
    """At most three, and how many more there are."""
    more = f" + {len(items) - 3} more..." if len(items) > 3 else ""
    return ",".join(items[:3]) + more if items else none


def _event(obj: Object) -> Cells:
    about = obj.get("involvedObject") or {}
    source = obj.get("source") or {}
    first, count = obj.get("firstTimestamp") or obj.get("eventTime"), int(obj.get("count") or 1)
    last = obj.get("lastTimestamp") or first
    seen = f"{since(last)} (x{count} over {since(first)})" if count > 1 else since(last)
    component = source.get("component") or obj.get("reportingComponent", "")
    place = f"{component}, {source['host']}" if source.get("host") else component
    return [
        seen, obj.get("type", ""), obj.get("reason", ""), f"{about.get('kind', '').lower()}/{about.get('name', '')}",
        about.get("fieldPath", ""), place, str(obj.get("message", "")).strip(), since(first), count, _name(obj),
    ]  # fmt: skip


def _node(obj: Object) -> Cells:
    status = obj.get("status") or {}
    ready = next((c.get("status") for c in status.get("conditions") or [] if c.get("type") == "Ready"), None)
    word = "Ready" if ready == "True" else "NotReady" if ready else "Unknown"
    if (obj.get("spec") or {}).get("unschedulable"):
        word += ",SchedulingDisabled"
    role = "node-role.kubernetes.io/"
    roles = sorted(k.removeprefix(role) for k in metadata(obj).get("labels") or {} if k.startswith(role))
    addresses = {a.get("type"): a.get("address") for a in status.get("addresses") or []}
    info = status.get("nodeInfo") or {}
    return [
        _name(obj), word, ",".join(roles) or "<none>", _age(obj), info.get("kubeletVersion", ""),
        addresses.get("InternalIP") or "<none>", addresses.get("ExternalIP") or "<none>",
        info.get("osImage") or "<unknown>", info.get("kernelVersion") or "<unknown>",
        info.get("containerRuntimeVersion") or "<unknown>",
    ]  # fmt: skip


def _role_binding(obj: Object) -> Cells:
    ref = obj.get("roleRef") or {}
    names: dict[str, list[str]] = {"User": [], "Group": [], "ServiceAccount": []}
    for s in obj.get("subjects") or []:
        told = (
            f"{s.get('namespace', '')}/{s.get('name', '')}" if s.get("kind") == "ServiceAccount" else s.get("name", "")
        )
        names.setdefault(s.get("kind", ""), []).append(told)
    lists = (", ".join(names[kind]) for kind in ("User", "Group", "ServiceAccount"))
    return [_name(obj), f"{ref.get('kind', '')}/{ref.get('name', '')}", _age(obj), *lists]


def _data_size(obj: Object) -> int:
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


def _phase(obj: Object) -> str:
    return str((obj.get("status") or {}).get("phase", ""))


_TEMPLATE = ("Containers*", "Images*", "Selector*")
_PLAIN = Printer(("Name", "Created At"), lambda o: [_name(o), metadata(o).get("creationTimestamp", "")])
_PRINTERS: dict[str, Printer] = {
    "pods": Printer(POD_COLUMNS, pod_cells),
    "deployments": Printer(("Name", "Ready", "#Up-to-date", "#Available", "Age", *_TEMPLATE), _deployment),
    "replicasets": Printer(("Name", "#Desired", "#Current", "#Ready", "Age", *_TEMPLATE), _replica_set),
    "services": Printer(
        ("Name", "Type", "Cluster-IP", "External-IP", "Port(s)", "Age", "Selector*"), _service
    ),
    "endpointslices": Printer(("Name", "AddressType", "Ports", "Endpoints", "Age"), _endpoint_slice),
    "events": Printer(
        ("Last Seen", "Type", "Reason", "Object", "Subobject*", "Source*", "Message", "First Seen*", "#Count*",
         "Name*"),
        _event,
    ),
    "nodes": Printer(
        ("Name", "Status", "Roles", "Age", "Version", "Internal-IP*", "External-IP*", "OS-Image*",
         "Kernel-Version*", "Container-Runtime*"),
        _node,
    ),
    "namespaces": Printer(("Name", "Status", "Age"), lambda o: [_name(o), _phase(o), _age(o)]),
    "configmaps": Printer(("Name", "#Data", "Age"), lambda o: [_name(o), _data_size(o), _age(o)]),
    "secrets": Printer(
        ("Name", "Type", "#Data", "Age"), lambda o: [_name(o), o.get("type", ""), _data_size(o), _age(o)]
    ),
    "serviceaccounts": Printer(
        ("Name", "#Secrets", "Age"), lambda o: [_name(o), len(o.get("secrets") or []), _age(o)]
    ),
    "rolebindings": Printer(("Name", "Role", "Age", "Users*", "Groups*", "ServiceAccounts*"), _role_binding),
}  # fmt: skip

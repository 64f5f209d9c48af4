"""What a real API server refuses, with messages worded as it words them.

Runs after schema decoding (types are right) and defaults. Sources: kubernetes `pkg/apis/*/validation/validation.go`
and k8s.io/apimachinery `pkg/util/validation`. Pod specs have a file of their own: `pod_validation.py`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from lab.clusters.local.api.errors import Cause, Invalid
from lab.clusters.local.api.objects import Object, metadata
from lab.clusters.local.api.pod_validation import pod_spec_causes, pod_update_causes
from lab.clusters.local.api.resources import Resource
from lab.clusters.local.api.rules import (
    bad,
    dns_label,
    duplicate,
    label_key,
    label_value,
    port_number,
    required,
    service_name,
    subdomain,
    unsupported,
)
from lab.clusters.local.api.selectors import match_selector

ANNOTATIONS_BYTES = 256 * 1024
"""Largest total size of annotations (k8s.io/apimachinery TotalAnnotationSizeLimitB)."""


def on_create(resource: Resource, obj: Object) -> None:
    """Raises Invalid, naming every field that is wrong."""
    _refuse(resource, obj, [*_metadata(resource, obj), *_body(resource, obj)])


def on_update(resource: Resource, obj: Object, old: Object) -> None:
    """As for a new object, and what was settled must not change. Raises Invalid."""
    _refuse(resource, obj, [*_metadata(resource, obj), *_body(resource, obj), *_immutable(resource, obj, old)])


def invalid(resource: Resource, name: str, causes: Sequence[Cause]) -> Invalid:
    """The error for these causes, as `Deployment.apps "web" is invalid: spec.selector: Required value`."""
    kind = f"{resource.kind}.{resource.group}" if resource.group else resource.kind
    lines = [f"{c.field}: {c.message}" for c in causes]
    told = lines[0] if len(lines) == 1 else f"[{', '.join(lines)}]"
    # The details of this one error name the kind, where others name the resource, as in a real API server.
    return Invalid(
        f'{kind} "{name}" is invalid: {told}',
        plural=resource.kind,
        group=resource.group,
        name=name,
        causes=causes,
    )


def _refuse(resource: Resource, obj: Object, causes: Sequence[Cause]) -> None:
    if causes:
        raise invalid(resource, str(metadata(obj).get("name", "")), causes)


def _metadata(resource: Resource, obj: Object) -> Iterable[Cause]:
    meta = metadata(obj)
    name = meta.get("name", "")
    if not name:
        yield required("metadata.name", "name or generateName is required")
    elif resource.plural == "namespaces":
        yield from dns_label("metadata.name", name)
    elif resource.plural == "services":
        yield from service_name("metadata.name", name)
    elif resource.plural in ("roles", "rolebindings"):
        if name in (".", "..") or "/" in name or "%" in name:
            yield bad("metadata.name", name, "may not be '.' or '..' nor contain '/' or '%'")
    else:
        yield from subdomain("metadata.name", name)
    for key, value in (meta.get("labels") or {}).items():
        yield from label_key("metadata.labels", key)
        yield from label_value("metadata.labels", value)
    annotations = meta.get("annotations") or {}
    for key in annotations:
        yield from label_key("metadata.annotations", key.lower())
    if sum(len(k.encode()) + len(v.encode()) for k, v in annotations.items()) > ANNOTATIONS_BYTES:
        yield Cause(
            "FieldValueTooLong",
            f"Too long: may not be more than {ANNOTATIONS_BYTES} bytes",
            "metadata.annotations",
        )
    for i, owner in enumerate(meta.get("ownerReferences") or []):
        for field in ("apiVersion", "kind", "name", "uid"):
            if not owner.get(field):
                yield required(f"metadata.ownerReferences[{i}].{field}", "must not be empty")


def _body(resource: Resource, obj: Object) -> Iterable[Cause]:
    match resource.plural:
        case "pods":
            yield from pod_spec_causes(obj["spec"], "spec")
        case "deployments":
            yield from _workload(obj["spec"])
            kind = obj["spec"]["strategy"]["type"]
            if kind not in ("Recreate", "RollingUpdate"):
                yield unsupported("spec.strategy.type", kind, ["Recreate", "RollingUpdate"])
            yield from _rolling(obj["spec"]["strategy"].get("rollingUpdate") or {})
        case "replicasets":
            yield from _workload(obj["spec"])
        case "services":
            yield from _service(obj["spec"])
        case "configmaps" | "secrets":
            for field in ("data", "binaryData"):
                for key in obj.get(field) or {}:
                    if not re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key):
                        yield bad(
                            f"{field}[{key}]",
                            key,
                            "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
                        )
        case "endpointslices":
            yield from _endpoint_slice(obj)
        case "events":
            namespace = (obj.get("involvedObject") or {}).get("namespace") or "default"
            if namespace != metadata(obj).get("namespace"):
                yield bad("involvedObject.namespace", namespace, "does not match event.namespace")
        case "rolebindings":
            ref = obj.get("roleRef") or {}
            if ref.get("kind") not in ("Role", "ClusterRole"):
                yield unsupported("roleRef.kind", ref.get("kind", ""), ["Role", "ClusterRole"])
            if not ref.get("name"):
                yield required("roleRef.name", "")


def _workload(spec: Object) -> Iterable[Cause]:
    selector = spec.get("selector")
    template = spec["template"]
    labels = metadata(template).get("labels") or {}
    if spec["replicas"] < 0:
        yield bad("spec.replicas", spec["replicas"], "must be greater than or equal to 0")
    if selector is None:
        yield required("spec.selector", "")
    elif not selector.get("matchLabels") and not selector.get("matchExpressions"):
        yield bad("spec.selector", selector, "empty selector is invalid for deployment")
    else:
        wrong = list(_selector(selector))
        yield from wrong
        if not wrong and not match_selector(selector, labels):
            yield bad("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    for key, value in labels.items():
        yield from label_key("spec.template.metadata.labels", key)
        yield from label_value("spec.template.metadata.labels", value)
    yield from pod_spec_causes(template["spec"], "spec.template.spec")
    if template["spec"]["restartPolicy"] != "Always":
        yield unsupported("spec.template.spec.restartPolicy", template["spec"]["restartPolicy"], ["Always"])


def _selector(selector: Object) -> Iterable[Cause]:
    for key, value in (selector.get("matchLabels") or {}).items():
        yield from label_key("spec.selector.matchLabels", key)
        yield from label_value("spec.selector.matchLabels", value)
    for i, term in enumerate(selector.get("matchExpressions") or []):
        path = f"spec.selector.matchExpressions[{i}]"
        if not term.get("key"):
            yield required(f"{path}.key", "")
        operator = term.get("operator", "")
        if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
            yield bad(f"{path}.operator", operator, "not a valid selector operator")
        elif (operator in ("In", "NotIn")) != bool(term.get("values")):
            yield required(f"{path}.values", "must be specified when `operator` is 'In' or 'NotIn', and only then")


def _rolling(rolling: Object) -> Iterable[Cause]:
    amounts = {}
    for field in ("maxUnavailable", "maxSurge"):
        value = rolling.get(field, 0)
        if isinstance(value, str) and not re.fullmatch(r"[0-9]{1,9}%", value):
            yield bad(
                f"spec.strategy.rollingUpdate.{field}",
                value,
                "a valid percent string must be a numeric string followed by an ending '%'",
            )
        elif isinstance(value, int) and value < 0:
            yield bad(f"spec.strategy.rollingUpdate.{field}", value, "must be greater than or equal to 0")
        else:
            amounts[field] = int(value[:-1]) if isinstance(value, str) else value
    if rolling and len(amounts) == 2 and not any(amounts.values()):
        yield bad(
            "spec.strategy.rollingUpdate.maxUnavailable",
            rolling.get("maxUnavailable"),
            "may not be 0 when `maxSurge` is 0",
        )


def _service(spec: Object) -> Iterable[Cause]:
    kinds = ["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]
    if spec["type"] not in kinds:
        yield unsupported("spec.type", spec["type"], kinds)
    if spec["sessionAffinity"] not in ("None", "ClientIP"):
        yield unsupported("spec.sessionAffinity", spec["sessionAffinity"], ["ClientIP", "None"])
    ports = spec.get("ports") or []
    if not ports and spec["type"] != "ExternalName" and spec.get("clusterIP") != "None":
        yield required("spec.ports", "")
    names: set[str] = set()
    for i, port in enumerate(ports):
        path = f"spec.ports[{i}]"
        name = port.get("name", "")
        if len(ports) > 1 and not name:
            yield required(f"{path}.name", "")
        elif name:
            yield from dns_label(f"{path}.name", name)
            if name in names:
                yield duplicate(f"{path}.name", name)
        names.add(name)
        yield from port_number(f"{path}.port", port.get("port", 0))
        if port["protocol"] not in ("TCP", "UDP", "SCTP"):
            yield unsupported(f"{path}.protocol", port["protocol"], ["SCTP", "TCP", "UDP"])
        if isinstance(port.get("targetPort"), int):
            yield from port_number(f"{path}.targetPort", port["targetPort"])
    for key, value in (spec.get("selector") or {}).items():
        yield from label_key("spec.selector", key)
        yield from label_value("spec.selector", value)


def _endpoint_slice(obj: Object) -> Iterable[Cause]:
    kinds = ["FQDN", "IPv4", "IPv6"]
    if not obj.get("addressType"):
        yield required("addressType", "")
    elif obj["addressType"] not in kinds:
        yield unsupported("addressType", obj["addressType"], kinds)
    for i, endpoint in enumerate(obj.get("endpoints") or []):
        if not endpoint.get("addresses"):
            yield required(f"endpoints[{i}].addresses", "must contain at least 1 address")


def _immutable(resource: Resource, obj: Object, old: Object) -> Iterable[Cause]:
    match resource.plural:
        case "pods":
            yield from pod_update_causes(obj["spec"], old["spec"])
        case "deployments" | "replicasets":
            if obj["spec"].get("selector") != old["spec"].get("selector"):
                yield bad("spec.selector", obj["spec"].get("selector"), "field is immutable")
        case "services":
            before = old["spec"].get("clusterIP")
            same_type = "ExternalName" not in (obj["spec"]["type"], old["spec"]["type"])
            if same_type and before and obj["spec"].get("clusterIP") != before:
                yield bad("spec.clusterIPs[0]", [obj["spec"].get("clusterIP")], "may not change once set")
        case "rolebindings":
            if obj.get("roleRef") != old.get("roleRef"):
                yield bad("roleRef", obj.get("roleRef"), "cannot change roleRef")
        case "endpointslices":
            if obj.get("addressType") != old.get("addressType"):
                yield bad("addressType", obj.get("addressType"), "field is immutable")
        case "configmaps" | "secrets" if old.get("immutable"):
            for field in ("data", "binaryData", "immutable"):
                if obj.get(field) != old.get(field):
                    yield Cause("FieldValueForbidden", "Forbidden: field is immutable when `immutable` is set", field)

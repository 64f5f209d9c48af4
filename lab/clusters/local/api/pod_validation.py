"""What makes a pod spec unacceptable, and what of it may change later. See `validation.py`.

Source: kubernetes `pkg/apis/core/validation/validation.go` (ValidatePodSpec, ValidatePodUpdate), the parts that
matter to pods that run here.
"""

from __future__ import annotations

from collections.abc import Iterable

from lab.clusters.local.api.errors import Cause
from lab.clusters.local.api.objects import Object, copy_json
from lab.clusters.local.api.rules import (
    bad,
    dns_label,
    duplicate,
    not_found,
    port_name,
    port_number,
    required,
    unsupported,
)

_HANDLERS = ("exec", "httpGet", "tcpSocket", "grpc", "sleep")


def pod_spec_causes(spec: Object, path: str) -> Iterable[Cause]:
    """Everything wrong with a pod spec (defaults applied) found at `path`."""
    volumes: set[str] = set()
    for i, volume in enumerate(spec.get("volumes") or []):
        name = volume.get("name", "")
        yield from _name(f"{path}.volumes[{i}].name", name, volumes)
    if not spec.get("containers"):
        yield required(f"{path}.containers", "")
    names: set[str] = set()
    for field in ("initContainers", "containers"):
        for i, container in enumerate(spec.get(field) or []):
            yield from _container(container, f"{path}.{field}[{i}]", names, volumes)
    if spec["restartPolicy"] not in ("Always", "OnFailure", "Never"):
        yield unsupported(f"{path}.restartPolicy", spec["restartPolicy"], ["Always", "OnFailure", "Never"])
    grace = spec["terminationGracePeriodSeconds"]
    if grace < 0:
        yield bad(f"{path}.terminationGracePeriodSeconds", grace, "must be greater than or equal to 0")


def pod_update_causes(new: Object, old: Object) -> Iterable[Cause]:
    """A pod's spec is settled once made, but for a few fields."""
    if _settled(new, old) != _settled(old, old):
        yield Cause(
            "FieldValueForbidden",
            "Forbidden: pod updates may not change fields other than `spec.containers[*].image`,"
            "`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to "
            "existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously "
            "negative)",
            "spec",
        )


def _settled(spec: Object, old: Object) -> Object:
    """The spec without what may change: images, deadlines, tolerations, and the node while there is none yet."""
    kept: Object = copy_json(spec)
    for field in ("activeDeadlineSeconds", "tolerations", "terminationGracePeriodSeconds"):
        kept.pop(field, None)
    if not old.get("nodeName"):
        kept.pop("nodeName", None)
    for field in ("initContainers", "containers"):
        for container in kept.get(field) or []:
            container.pop("image", None)
    return kept


def _name(path: str, name: str, seen: set[str]) -> Iterable[Cause]:
    if not name:
        yield required(path, "")
    else:
        yield from dns_label(path, name)
        if name in seen:
            yield duplicate(path, name)
    seen.add(name)


def _container(container: Object, path: str, names: set[str], volumes: set[str]) -> Iterable[Cause]:
    yield from _name(f"{path}.name", container.get("name", ""), names)
    if not container.get("image"):
        yield required(f"{path}.image", "")
    for i, port in enumerate(container.get("ports") or []):
        yield from port_number(f"{path}.ports[{i}].containerPort", port.get("containerPort", 0))
        if port.get("name"):
            yield from port_name(f"{path}.ports[{i}].name", port["name"])
        if port["protocol"] not in ("TCP", "UDP", "SCTP"):
            yield unsupported(f"{path}.ports[{i}].protocol", port["protocol"], ["SCTP", "TCP", "UDP"])
    for i, variable in enumerate(container.get("env") or []):
        if not variable.get("name"):
            yield required(f"{path}.env[{i}].name", "")
        if variable.get("value") and variable.get("valueFrom"):
            yield bad(f"{path}.env[{i}].valueFrom", "", "may not be specified when `value` is not empty")
    for i, mount in enumerate(container.get("volumeMounts") or []):
        if mount.get("name") not in volumes:
            yield not_found(f"{path}.volumeMounts[{i}].name", mount.get("name", ""))
        if not mount.get("mountPath"):
            yield required(f"{path}.volumeMounts[{i}].mountPath", "")
    if container.get("imagePullPolicy") not in (None, "Always", "IfNotPresent", "Never"):
        yield unsupported(f"{path}.imagePullPolicy", container["imagePullPolicy"], ["Always", "IfNotPresent", "Never"])
    for field in ("livenessProbe", "readinessProbe", "startupProbe"):
        if container.get(field) is not None:
            yield from _probe(container[field], f"{path}.{field}", field)
    for hook, handler in (container.get("lifecycle") or {}).items():
        if isinstance(handler, dict):
            yield from _handler(handler, f"{path}.lifecycle.{hook}")


def _probe(probe: Object, path: str, field: str) -> Iterable[Cause]:
    yield from _handler(probe, path)
    for name in (
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ):
        if probe.get(name, 0) < 0:
            yield bad(f"{path}.{name}", probe[name], "must be greater than or equal to 0")
    if field != "readinessProbe" and probe.get("successThreshold", 1) != 1:
        yield bad(f"{path}.successThreshold", probe["successThreshold"], "must be 1")


def _handler(handler: Object, path: str) -> Iterable[Cause]:
    given = [name for name in _HANDLERS if handler.get(name) is not None]
    if not given:
        yield required(path, "must specify a handler type")
    for extra in given[1:]:
        yield Cause("FieldValueForbidden", "Forbidden: may not specify more than 1 handler type", f"{path}.{extra}")
    for name in given[:1]:
        port = handler[name].get("port")
        if isinstance(port, int):
            yield from port_number(f"{path}.{name}.port", port)
        elif name in ("httpGet", "tcpSocket", "grpc") and not port:
            yield required(f"{path}.{name}.port", "")
        if name == "exec" and not handler[name].get("command"):
            yield required(f"{path}.exec.command", "")

"""Label and field selectors: parsing and matching. Pure.

Grammar: https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors
(`a=b,c!=d,e in (f,g),h notin (i),j,!k,n>1`) and field selectors (`metadata.name=x,status.phase!=Running`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from lab.clusters.local.api.errors import BadRequest
from lab.clusters.local.api.objects import Object, metadata

Predicate = Callable[[Object], bool]

_KEY = r"(?:[A-Za-z0-9](?:[-A-Za-z0-9.]*[A-Za-z0-9])?/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?"
_VALUE = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
_EQUALITY = re.compile(rf"({_KEY})\s*(==|=|!=|>|<)\s*(.*)", re.S)
_SET = re.compile(rf"({_KEY})\s+(in|notin)\s*\(([^()]*)\)", re.S)
_EXISTS = re.compile(rf"(!?)\s*({_KEY})")


@dataclass(frozen=True)
class Requirement:
    """One term. operator: in, notin, exists, absent, > or <."""

    key: str
    operator: str
    values: tuple[str, ...] = ()

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels satisfy this term; `notin` (and `!=`) also holds when the label is absent."""
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "absent":
                return value is None
            case _:
                return _compare(value, self.operator, self.values[0])


def parse_labels(text: str) -> list[Requirement]:
    """A labelSelector query as requirements that must all hold; empty text matches everything. Raises BadRequest."""
    return [_parse_term(term.strip()) for term in _split_terms(text)] if text.strip() else []


def match_labels(requirements: list[Requirement], labels: Mapping[str, str]) -> bool:
    """Whether all requirements hold."""
    return all(requirement.matches(labels) for requirement in requirements)


def match_selector(selector: Mapping[str, Any] | None, labels: Mapping[str, str]) -> bool:
    """Whether a metav1.LabelSelector (matchLabels, matchExpressions) selects these labels.

    None selects nothing, an empty selector everything.
    """
    if selector is None:
        return False
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent"}
    return all(
        Requirement(e["key"], operators[e["operator"]], tuple(e.get("values") or ())).matches(labels)
        for e in selector.get("matchExpressions") or []
    )


def object_filter(plural: str, label_selector: str, field_selector: str) -> Predicate:
    """One test for both selectors of a request. Raises BadRequest for a bad selector or an unsupported field."""
    requirements = parse_labels(label_selector)
    fields = _parse_fields(plural, field_selector)

    def keep(obj: Object) -> bool:
        return match_labels(requirements, metadata(obj).get("labels") or {}) and all(
            (field_value(obj, path) == value) == equal for path, value, equal in fields
        )

    return keep


def name_in_selector(field_selector: str) -> str | None:
    """The name a field selector asks for exactly, if any."""
    for path, value, equal in _parse_fields("", field_selector, check=False):
        if path == "metadata.name" and equal:
            return value
    return None


_FIELDS: Mapping[str, frozenset[str]] = {
    "pods": frozenset(
        {"spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "spec.hostNetwork",
         "status.phase", "status.podIP", "status.nominatedNodeName"}
    ),
    "events": frozenset(
        {
            f"involvedObject.{f}"
            for f in ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
        }
        | {"reason", "reportingComponent", "source", "type"}
    ),
    "namespaces": frozenset({"status.phase"}),
    "nodes": frozenset({"spec.unschedulable"}),
    "secrets": frozenset({"type"}),
    "services": frozenset({"spec.clusterIP", "spec.type"}),
    "replicasets": frozenset({"status.replicas"}),
}  # fmt: skip


def field_value(obj: Object, path: str) -> str:
    """The value at a dotted path as a field selector compares it; absent is the empty string."""
    if path == "source":
        path = "source.component"
    value: Any = obj
    for part in path.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "false" if path in ("spec.hostNetwork", "spec.unschedulable") else ""
    return str(value)


def _parse_fields(plural: str, text: str, *, check: bool = True) -> list[tuple[str, str, bool]]:
    parsed = []
    for term in text.split(",") if text.strip() else []:
        path, operator, value = _partition_field(term)
        known = path in ("metadata.name", "metadata.namespace") or path in _FIELDS.get(plural, frozenset())
        if check and not known:
            raise BadRequest(f"field label not supported: {path}")
        parsed.append((path, value, operator != "!="))
    return parsed


def _partition_field(term: str) -> tuple[str, str, str]:
    for operator in ("!=", "==", "="):
        path, found, value = term.partition(operator)
        if found:
            return path.strip(), operator, value.strip()
    raise BadRequest(f"invalid field selector: {term!r}; it is written as path=value or path!=value")


def _split_terms(text: str) -> list[str]:
    """Split at commas that are not inside parentheses."""
    terms, depth, start = [], 0, 0
    for i, char in enumerate(text):
        depth += (char == "(") - (char == ")")
        if char == "," and depth == 0:
            terms.append(text[start:i])
            start = i + 1
    return [*terms, text[start:]]


def _parse_term(term: str) -> Requirement:
    if found := _EXISTS.fullmatch(term):
        return Requirement(found[2], "absent" if found[1] else "exists")
    if found := _SET.fullmatch(term):
        return Requirement(found[1], found[2], tuple(_value(v, term) for v in found[3].split(",")))
    if found := _EQUALITY.fullmatch(term):
        key, operator, value = found[1], found[2], _value(found[3], term)
        if operator in "<>" and not re.fullmatch(r"-?\d{1,18}", value):
            raise BadRequest(f"unable to parse requirement: {term!r}: for {operator!r} the value must be an integer")
        return Requirement(key, {"=": "in", "==": "in", "!=": "notin"}.get(operator, operator), (value,))
    raise BadRequest(f"unable to parse requirement: {term!r} is not a label selector term")


def _value(text: str, term: str) -> str:
    value = text.strip()
    if len(value) > 63 or not _VALUE.fullmatch(value):
        raise BadRequest(f"unable to parse requirement: {term!r}: {value!r} is not a label value")
    return value


def _compare(value: str | None, operator: str, bound: str) -> bool:
    if value is None or not re.fullmatch(r"-?\d{1,18}", value, re.A):
        return False
    return int(value) > int(bound) if operator == ">" else int(value) < int(bound)

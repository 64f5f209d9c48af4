"""Writes `schema.json`: the fields of every type served here, read from the official Python client's models.

Run after the client was updated: `python -m lab.clusters.local.api.schema_build`. Nothing imports this at run time;
loading the client only to know field names would cost the API server a second and fifty megabytes.

Form: {type: {field: field type}}, where a field type is str, int, float, bool, time, bytes, any, int-or-string,
quantity, another type's name, "[T]" for a list or "{T}" for a map with string keys.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from lab.clusters.local.api.resources import RESOURCES

OUTPUT = Path(__file__).with_name("schema.json")

EXTRA_TYPES = (
    "V1Scale", "V1Eviction", "V1DeleteOptions", "AuthenticationV1TokenRequest", "V1SelfSubjectAccessReview",
    "V1SelfSubjectReview", "V1SelfSubjectRulesReview", "V1Binding",
)  # fmt: skip
"""Types of subresources and reviews, beside the resources themselves."""

_PLAIN = {"str": "str", "int": "int", "float": "float", "bool": "bool", "datetime": "time", "bytes": "bytes"}

# The generator writes IntOrString as `object` and Quantity as `str`; these are the fields meant.
_INT_OR_STRING = {"port", "targetPort", "maxUnavailable", "maxSurge"}
_QUANTITIES = {
    "limits", "requests", "capacity", "allocatable", "allocatedResources", "overhead", "sizeLimit", "divisor",
    "hard", "used",
}  # fmt: skip


def build() -> dict[str, dict[str, str]]:
    """The schema of all types reachable from the resources served."""
    import kubernetes.client as client

    waiting = [_root(client, r.kind) for r in RESOURCES.values()] + list(EXTRA_TYPES)
    schema: dict[str, dict[str, str]] = {}
    while waiting:
        name = waiting.pop()
        if name in schema or not hasattr(client, name):
            continue
        model: Any = getattr(client, name)
        fields = {}
        for attribute, kind in model.openapi_types.items():
            field = model.attribute_map[attribute]
            fields[field] = _field_type(field, kind)
            waiting += re.findall(r"[A-Z]\w+", fields[field])
        schema[name] = dict(sorted(fields.items()))
    return dict(sorted(schema.items()))


def render(schema: dict[str, dict[str, str]]) -> str:
    """The file's text: one type per line."""
    lines = [f"{json.dumps(name)}: {json.dumps(fields)}" for name, fields in schema.items()]
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _root(client: Any, kind: str) -> str:
    return next(name for name in (f"V1{kind}", f"CoreV1{kind}") if hasattr(client, name))


def _field_type(field: str, kind: str) -> str:
    if found := re.fullmatch(r"(?:List|list)\[(.*)\]", kind):
        return f"[{_field_type('', found[1])}]"
    if found := re.fullmatch(r"(?:Dict|dict)[\[(]str, (.*)[\])]", kind):
        return f"{{{_field_type(field, found[1])}}}"
    if field in _QUANTITIES and kind == "str":
        return "quantity"
    if kind == "object":
        return "int-or-string" if field in _INT_OR_STRING else "any"
    return _PLAIN.get(kind, kind)


if __name__ == "__main__":
    OUTPUT.write_text(render(build()))

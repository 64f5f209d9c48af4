"""Typed decoding: a JSON object against the fields its kind has.

After `decode` every field has the type the Kubernetes API gives it, so no later code meets a surprise. Unknown
fields are dropped and named; nulls are dropped; managedFields are not kept here and dropped. The field table is
`schema.json`, written by `schema_build.py`.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

from lab.clusters.local.api.errors import BadRequest
from lab.clusters.local.api.objects import Object

_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)", re.A)
_QUANTITY = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?", re.A)
_INT64 = 2**63


@cache
def schema() -> dict[str, dict[str, str]]:
    """{type: {field: field type}}; the forms of a field type are told in `schema_build.py`."""
    loaded: dict[str, dict[str, str]] = json.loads(Path(__file__).with_name("schema.json").read_text())
    return loaded


def type_of(kind: str) -> str:
    """The schema's name for a kind: `V1Pod` for `Pod`."""
    return next(n for n in (f"V1{kind}", f"CoreV1{kind}", f"AuthenticationV1{kind}") if n in schema())


def field_type(type_name: str, field: str) -> str:
    """The type of a field, "any" when there is no such type or field."""
    return schema().get(type_name, {}).get(field, "any")


def decode(kind: str, value: Any) -> tuple[Object, list[str]]:
    """The object with known, well-typed fields only, and the paths of the unknown ones.

    Raises BadRequest naming the first field of a wrong type.
    """
    unknown: list[str] = []
    try:
        decoded: Object = _struct(type_of(kind), value, "", unknown)
    except _WrongType as e:
        raise BadRequest(f"{kind} cannot be handled as a {kind}: json: {e}") from None
    return decoded, unknown


class _WrongType(Exception):
    def __init__(self, value: Any, path: str, wanted: str) -> None:
        super().__init__(f"cannot unmarshal {_json_type(value)} into field {path or 'object'} of type {wanted}")


def _struct(type_name: str, value: Any, path: str, unknown: list[str]) -> Object:
    if not isinstance(value, dict):
        raise _WrongType(value, path, type_name)
    fields = schema()[type_name]
    decoded: Object = {}
    for key, item in value.items():
        here = f"{path}.{key}" if path else key
        if key not in fields:
            unknown.append(here)
        elif item is not None and key != "managedFields":
            decoded[key] = _value(fields[key], item, here, unknown)
    return decoded


def _value(kind: str, value: Any, path: str, unknown: list[str]) -> Any:
    if kind.startswith("["):
        if not isinstance(value, list):
            raise _WrongType(value, path, "list")
        return [_value(kind[1:-1], item, f"{path}[{i}]", unknown) for i, item in enumerate(value)]
    if kind.startswith("{"):
        if not isinstance(value, dict):
            raise _WrongType(value, path, "map")
        return {k: _value(kind[1:-1], v, f"{path}[{k}]", unknown) for k, v in value.items() if v is not None}
    if kind in schema():
        return _struct(kind, value, path, unknown)
    return _scalar(kind, value, path)


def _scalar(kind: str, value: Any, path: str) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    match kind:
        case "str" if isinstance(value, str):
            return value
        case "int" if isinstance(value, int) and number and -_INT64 <= value < _INT64:
            return value
        case "float" if number:
            return value
        case "bool" if isinstance(value, bool):
            return value
        case "int-or-string" if isinstance(value, str) or (number and isinstance(value, int)):
            return value
        case "quantity" if number or (isinstance(value, str) and _QUANTITY.fullmatch(value)):
            return str(value)
        case "time" if isinstance(value, str) and _TIME.fullmatch(value):
            return value
        case "bytes" if isinstance(value, str) and _is_base64(value):
            return value
        case "any":
            return value
    raise _WrongType(value, path, kind)


def _is_base64(text: str) -> bool:
    try:
        base64.b64decode(text.encode(), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _json_type(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    names = {dict: "object", list: "array", str: "string", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), "value")

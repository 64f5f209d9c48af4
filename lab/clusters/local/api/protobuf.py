"""Reads request bodies in Kubernetes' protobuf form, which kubectl's typed commands send (`create namespace`, …).

Answers are JSON always: those clients accept it. The body is the magic `k8s\\0` and a runtime.Unknown message
(k8s.io/apimachinery `pkg/runtime/generated.proto`) around the object's own. Field numbers: `protobuf_fields.json`.
Wire format: https://protobuf.dev/programming-guides/encoding/. The result is plain JSON, as bytes from the wire;
types are checked after it, as for every body.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from lab.clusters.local.api.schema import field_type, schema, type_of

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
_MAGIC = b"k8s\x00"
_MAX_DEPTH = 64

Wire = int | bytes


def parse(raw: bytes) -> dict[str, Any]:
    """The object in the body, with the kind and apiVersion of its envelope. Raises ValueError."""
    if not raw.startswith(_MAGIC):
        raise ValueError("it does not begin as a Kubernetes protobuf message does")
    envelope = dict(_fields(raw[len(_MAGIC) :]))
    type_meta = {number: _text(value) for number, value in _fields(_bytes(envelope.get(1, b"")))}
    kind = type_meta.get(2, "")
    try:
        type_name = type_of(kind)
    except StopIteration:
        raise ValueError(f"there is no kind {kind!r} here") from None
    found = _message(type_name, _numbers()[type_name], _bytes(envelope.get(2, b"")), {}, 0)
    return {**found, "kind": kind, "apiVersion": type_meta.get(1, "")}


@cache
def _numbers() -> dict[str, dict[str, Any]]:
    loaded: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("protobuf_fields.json").read_text())
    return loaded


def _message(type_name: str, numbers: dict[str, Any], raw: bytes, into: dict[str, Any], depth: int) -> dict[str, Any]:
    if depth > _MAX_DEPTH:
        raise ValueError(f"it is nested deeper than {_MAX_DEPTH}")
    for number, wire in _fields(raw):
        field = numbers.get(str(number))
        if isinstance(field, dict):
            _message(type_name, field, _bytes(wire), into, depth + 1)
        elif field is not None:
            _put(into, field, field_type(type_name, field), wire, depth + 1)
    return into


def _put(into: dict[str, Any], field: str, kind: str, wire: Wire, depth: int) -> None:
    if kind.startswith("["):
        into.setdefault(field, []).append(_value(kind[1:-1], wire, depth))
        return
    if kind.startswith("{"):
        entry = dict(_fields(_bytes(wire)))
        into.setdefault(field, {})[_text(entry.get(1, b""))] = _value(kind[1:-1], entry.get(2, b""), depth)
        return
    value = _value(kind, wire, depth)
    # Go writes unset fields too; "" is one that JSON leaves out, and so is port 0.
    if value is None or value == "" or (value == 0 and kind == "int-or-string" and field in ("port", "targetPort")):
        return
    into[field] = value


def _value(kind: str, wire: Wire, depth: int) -> Any:
    match kind:
        case "str":
            return _text(wire)
        case "int":
            number = _number(wire)
            return number - 2**64 if number >= 2**63 else number
        case "bool":
            return _number(wire) != 0
        case "float":
            return struct.unpack("<d", _bytes(wire))[0]
        case "bytes":
            return base64.b64encode(_bytes(wire)).decode()
        case "quantity":
            return _text(dict(_fields(_bytes(wire))).get(1, b"0"))
        case "time":
            return _time(_bytes(wire))
        case "int-or-string":
            parts = dict(_fields(_bytes(wire)))
            return _text(parts.get(3, b"")) if parts.get(1) == 1 else _value("int", parts.get(2, 0), depth)
        case _ if kind.startswith("["):  # a list as a map's value is a message whose field 1 repeats
            return [_value(kind[1:-1], item, depth) for _, item in _fields(_bytes(wire))]
        case _ if kind in schema():
            return _message(kind, _numbers()[kind], _bytes(wire), {}, depth)
    return None


def _time(raw: bytes) -> str | None:
    parts = dict(_fields(raw))
    seconds = _value("int", parts.get(1, 0), 0)
    if not seconds:
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, OSError) as e:
        raise ValueError("a time is out of range") from e


def _fields(raw: bytes) -> Iterator[tuple[int, Wire]]:
    """(number, value) of each field of a message; groups, which Kubernetes does not use, are an error."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        match tag & 7:
            case 0:
                value, at = _varint(raw, at)
                yield tag >> 3, value
                continue
            case 1:
                size = 8
            case 2:
                size, at = _varint(raw, at)
            case 5:
                size = 4
            case other:
                raise ValueError(f"wire type {other} is not known")
        if size > len(raw) - at:
            raise ValueError("it ends in the middle of a field")
        yield tag >> 3, raw[at : at + size]
        at += size


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(raw):
            raise ValueError("it ends in the middle of a number")
        value |= (raw[at] & 0x7F) << shift
        at += 1
        if raw[at - 1] < 0x80:
            return value & (2**64 - 1), at
    raise ValueError("a number is longer than ten bytes")


def _bytes(wire: Wire) -> bytes:
    if isinstance(wire, int):
        raise ValueError("a number stands where a message is expected")
    return wire


def _number(wire: Wire) -> int:
    if isinstance(wire, bytes):
        raise ValueError("bytes stand where a number is expected")
    return wire


def _text(wire: Wire) -> str:
    return _bytes(wire).decode("utf-8")

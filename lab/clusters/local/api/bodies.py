"""Request bodies: read within bounds, parsed from JSON, YAML or protobuf, checked to be plain JSON of a sane shape.

Everything that can be wrong with bytes from the wire ends here, as BadRequest, TooLarge or UnsupportedMedia.
"""

from __future__ import annotations

import json
import math
from datetime import date, datetime
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from starlette.requests import Request

from lab.clusters.local.api import protobuf
from lab.clusters.local.api.errors import BadRequest, TooLarge, UnsupportedMedia

MAX_BYTES = 3 * 1024 * 1024
"""Largest request body (the real API server's default)."""

MAX_DEPTH = 64
MAX_VALUES = 300_000
"""Deepest nesting and most values in one body: far beyond any manifest, and YAML aliases cannot blow it up."""

JSON_TYPES = ("application/json", "application/json-patch+json", "application/merge-patch+json",
              "application/strategic-merge-patch+json")  # fmt: skip
YAML_TYPES = ("application/yaml", "application/apply-patch+yaml")


async def read(request: Request) -> bytes:
    """The whole body. Raises TooLarge past MAX_BYTES, without reading on."""
    pieces, size = [], 0
    async for piece in request.stream():
        size += len(piece)
        if size > MAX_BYTES:
            raise TooLarge(f"Request entity too large: limit is {MAX_BYTES}")
        pieces.append(piece)
    return b"".join(pieces)


def media_type(request: Request, default: str = "application/json") -> str:
    """The body's media type without parameters, lower case."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() or default


def parse(raw: bytes, kind: str) -> Any:
    """The body as plain JSON values. Raises BadRequest or UnsupportedMedia (CBOR, say)."""
    if kind not in JSON_TYPES and kind not in YAML_TYPES and kind != protobuf.MEDIA_TYPE:
        known = ", ".join((*JSON_TYPES, *YAML_TYPES, protobuf.MEDIA_TYPE))
        raise UnsupportedMedia(f"the body of the request was in an unknown format {kind!r}; accepted are: {known}")
    try:
        if kind == protobuf.MEDIA_TYPE:
            return protobuf.parse(raw)
        text = raw.decode("utf-8")
        value = _json(text) if kind in JSON_TYPES else _yaml(text)
        _check_unicode(text, value)
        return value
    except (ValueError, RecursionError) as e:
        raise BadRequest(f"the body of the request could not be read: {e}") from e


def parse_object(raw: bytes, kind: str) -> dict[str, Any]:
    """As `parse`; the body must be an object."""
    value = parse(raw, kind)
    if not isinstance(value, dict):
        raise BadRequest("the body of the request must be an object")
    return value


def _json(text: str) -> Any:
    def refuse(constant: str) -> Any:
        raise ValueError(f"{constant} is not JSON")

    return _plain(json.loads(text, parse_constant=refuse), 0, [0])


def _yaml(text: str) -> Any:
    if text.lstrip()[:1] in ("{", "["):  # kubectl sends JSON under the YAML media type
        return _json(text)
    try:
        return _plain(YAML(typ="safe", pure=True).load(text), 0, [0])
    except YAMLError as e:
        raise ValueError(" ".join(str(e).split())) from e


def _plain(value: Any, depth: int, seen: list[int]) -> Any:
    seen[0] += 1
    if depth > MAX_DEPTH or seen[0] > MAX_VALUES:
        raise ValueError(f"it is nested deeper than {MAX_DEPTH} or has more than {MAX_VALUES} values")
    if isinstance(value, dict):
        return {k if isinstance(k, str) else json.dumps(k): _plain(v, depth + 1, seen) for k, v in value.items()}
    if isinstance(value, list):
        return [_plain(item, depth + 1, seen) for item in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("a number is out of range")
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"a {type(value).__name__} is not JSON")


def _check_unicode(text: str, value: Any) -> None:
    """A lone surrogate (\\ud800) is valid JSON syntax but no text."""
    if "\\u" in text or "\\U" in text:
        json.dumps(value, ensure_ascii=False).encode("utf-8")

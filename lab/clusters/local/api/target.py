"""What a request is about: its path and query, parsed once and checked.

Paths: /api/v1/… and /apis/GROUP/VERSION/…, then [namespaces/NS/]PLURAL[/NAME[/SUBRESOURCE[/REST]]].
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import unquote

from starlette.requests import Request

from lab.clusters.local.api.errors import BadRequest, NotFound
from lab.clusters.local.api.resources import RESOURCES, Resource


@dataclass(frozen=True)
class Target:
    """namespace is None for all namespaces or a resource without; rest is the raw path after a subresource."""

    resource: Resource
    namespace: str | None
    name: str | None
    subresource: str | None
    rest: str

    @property
    def plural(self) -> str:
        return self.resource.plural


def raw_path(request: Request) -> str:
    """The path as it was sent, still percent-encoded."""
    sent: bytes = request.scope.get("raw_path") or request.url.path.encode()
    return sent.partition(b"?")[0].decode("ascii", "replace")


def parse_path(path: str) -> Target:
    """The target of a resource path. Raises NotFound."""
    prefix, _, remaining = path.strip("/").partition("/")
    if prefix == "api":
        group, (version, remaining) = "", _cut(remaining)
    else:
        group, remaining = _cut(remaining)
        version, remaining = _cut(remaining)
    namespace = None
    first, after = _cut(remaining)
    if first == "namespaces" and after.count("/") >= 1:
        name, deeper = _cut(after)
        plural, _ = _cut(deeper)
        if plural not in RESOURCES["namespaces"].subresources:
            namespace, first, after = name, plural, _cut(deeper)[1]
    resource = RESOURCES.get(first)
    if resource is None or (resource.group, resource.version) != (group, version):
        raise NotFound("the server could not find the requested resource")
    if namespace is not None and not resource.namespaced:
        raise NotFound("the server could not find the requested resource")
    name, after = _cut(after)
    subresource, rest = _cut(after)
    if subresource and subresource not in resource.subresources:
        raise NotFound("the server could not find the requested resource")
    return Target(resource, namespace, name or None, subresource or None, rest)


def flag(query: Mapping[str, str], name: str) -> bool:
    """A boolean parameter, as Go's ParseBool takes it. Raises BadRequest."""
    text = query.get(name, "")
    if text in ("", "0", "f", "F", "false", "FALSE", "False"):
        return False
    if text in ("1", "t", "T", "true", "TRUE", "True"):
        return True
    raise BadRequest(f"invalid value for {name}: {text!r} is not a boolean")


def whole(query: Mapping[str, str], name: str) -> int | None:
    """A parameter that is a whole number ≥ 0, None when absent. Raises BadRequest."""
    text = query.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 12:
        raise BadRequest(f"invalid value for {name}: {text!r} is not a number of 0 or more")
    return int(text)


def dry_run(query: Mapping[str, str]) -> bool:
    """Whether dryRun=All is asked for. Raises BadRequest for any other value."""
    text = query.get("dryRun", "")
    if text not in ("", "All"):
        raise BadRequest(f'Invalid value: "{text}": dryRun: Unsupported value; supported values: "All"')
    return text == "All"


def _cut(path: str) -> tuple[str, str]:
    first, _, rest = path.partition("/")
    return unquote(first), rest

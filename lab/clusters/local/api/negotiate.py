"""Which form an answer takes: plain JSON, a Table, or metadata alone, by the Accept header.

https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lab.clusters.local.api.errors import NotAcceptable

Form = Literal["object", "table", "metadata", "discovery"]

_FORMS: dict[str, Form] = {
    "Table": "table",
    "PartialObjectMetadata": "metadata",
    "PartialObjectMetadataList": "metadata",
    "APIGroupDiscoveryList": "discovery",
}
_VERSIONS = {"table": "v1", "metadata": "v1", "discovery": "v2"}


@dataclass(frozen=True)
class Accepted:
    """form: what is sent. parameters: those of the media range that was chosen."""

    form: Form
    content_type: str


def accepted(header: str | None) -> Accepted:
    """The first form of the Accept header we can give. Raises NotAcceptable (protobuf only, say)."""
    if not header or not header.strip():
        return Accepted("object", "application/json")
    for media_range in header.split(","):
        kind, *rest = (part.strip() for part in media_range.split(";"))
        parameters = dict(part.split("=", 1) for part in rest if "=" in part)
        if kind.lower() not in ("application/json", "application/*", "*/*"):
            continue
        wanted = parameters.get("as")
        if wanted is None:
            return Accepted("object", "application/json")
        form = _FORMS.get(wanted)
        if form is not None and parameters.get("v") == _VERSIONS[form]:
            group = parameters.get("g", "meta.k8s.io")
            return Accepted(form, f"application/json;g={group};v={_VERSIONS[form]};as={wanted}")
    raise NotAcceptable("only the following media types are accepted: application/json")

"""One manifest: the sidecar in, the sidecar out. Pure; what comes in is not changed.

`undo(inject(d)) == d`, `inject(inject(d)) == inject(d)`. Knows Deployments; nothing of YAML or clusters.
"""

from __future__ import annotations

import copy
from typing import Any

from lab.inject.sidecar import CONTAINER, Options, container

ANNOTATION = "balance-lab/injected"
VERSION = "v1"
_CREATED = "v1-annotations-created"
"""The template had no annotations (or metadata) before: undo removes the empty ones again."""
_CREATED_META = "v1-metadata-created"

Document = dict[str, Any]


class InjectError(Exception):
    """The sidecar cannot go in there; one line with the reason and what to do."""

    exit_code = 2


def inject(doc: Document, options: Options) -> Document:
    """The document with the sidecar; one that has it already gets the current options. Raises InjectError."""
    _check(doc)
    doc = undo(doc)
    template = doc["spec"]["template"]
    mark = VERSION
    if not isinstance(template.get("metadata"), dict):
        if template.get("metadata") is None and "metadata" in template:
            raise InjectError(f"{_name(doc)}: spec.template.metadata is empty; remove it or fill it")
        template["metadata"] = {}
        mark = _CREATED_META
    meta = template["metadata"]
    if meta.get("annotations") is None:
        if "annotations" in meta:
            raise InjectError(f"{_name(doc)}: spec.template.metadata.annotations is empty; remove it or fill it")
        meta["annotations"] = {}
        mark = mark if mark == _CREATED_META else _CREATED
    meta["annotations"][ANNOTATION] = mark
    template["spec"]["containers"].insert(0, container(options))
    return doc


def undo(doc: Document) -> Document:
    """The document without the sidecar; one that has none stays as it is."""
    doc = copy.deepcopy(doc)
    template = _mapping(_mapping(doc.get("spec")).get("template"))
    meta = _mapping(template.get("metadata"))
    annotations = _mapping(meta.get("annotations"))
    mark = annotations.get(ANNOTATION)
    if mark is None:
        return doc
    del annotations[ANNOTATION]
    if mark in (_CREATED, _CREATED_META) and not annotations:
        del meta["annotations"]
        if mark == _CREATED_META and not meta:
            del template["metadata"]
    containers = _mapping(template.get("spec")).get("containers")
    if isinstance(containers, list):
        own = next((i for i, c in enumerate(containers) if _mapping(c).get("name") == CONTAINER), None)
        if own is not None:
            del containers[own]
    return doc


def is_injectable(doc: object) -> bool:
    """Is it something the sidecar goes into?"""
    return isinstance(doc, dict) and doc.get("kind") == "Deployment"


def _check(doc: Document) -> None:
    name = _name(doc)
    template = _mapping(doc.get("spec")).get("template")
    spec = template.get("spec") if isinstance(template, dict) else None
    containers = spec.get("containers") if isinstance(spec, dict) else None
    if (
        not isinstance(template, dict)
        or not isinstance(spec, dict)
        or not isinstance(containers, list)
        or not containers
    ):
        raise InjectError(f"{name}: has no spec.template.spec.containers; is it a whole Deployment?")
    if not all(isinstance(c, dict) for c in containers):
        raise InjectError(f"{name}: a container is not a mapping")
    if spec.get("hostNetwork"):
        raise InjectError(f"{name}: has hostNetwork, so its traffic cannot be told from the node's; remove hostNetwork")
    if spec.get("automountServiceAccountToken") is False:
        raise InjectError(
            f"{name}: automountServiceAccountToken is false, but the sidecar finds endpoints with that token"
        )
    meta = template.get("metadata")
    if meta is not None and not isinstance(meta, dict):
        raise InjectError(f"{name}: spec.template.metadata is not a mapping")
    annotations = _mapping(meta).get("annotations")
    if annotations is not None and not isinstance(annotations, dict):
        raise InjectError(f"{name}: spec.template.metadata.annotations is not a mapping")
    # Kubernetes wants names to differ over both lists.
    init = spec.get("initContainers")
    others = [_mapping(c) for c in (init if isinstance(init, list) else [])]
    if ANNOTATION not in _mapping(annotations):
        others += containers
    if any(c.get("name") == CONTAINER for c in others):
        raise InjectError(f"{name}: has a container {CONTAINER} of its own; rename it")


def _mapping(value: object) -> Document:
    """The value itself if it is a mapping, else an empty one: manifests come from people."""
    return value if isinstance(value, dict) else {}


def _name(doc: Document) -> str:
    meta = doc.get("metadata")
    name = meta.get("name", "?") if isinstance(meta, dict) else "?"
    return f"{doc.get('kind', '?')}/{name}"

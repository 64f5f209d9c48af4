"""One manifest: the sidecar in, the sidecar out. Pure; what comes in is not changed.

`undo(inject(d)) == d`, `inject(inject(d)) == inject(d)`. Knows Deployments; nothing of YAML or clusters.
"""

from __future__ import annotations

import copy
from typing import Any

from lab.inject.sidecar import CONTAINER, INIT, Options, container, init_container

ANNOTATION = "balance-lab/injected"
VERSION = "v2"
"""Its value: the version, and after it, with dots between, what was not there before: undo removes it again if it is
empty then.
"""
_META, _ANNOTATIONS, _INITS = "metadata", "annotations", "initContainers"

Document = dict[str, Any]


class InjectError(Exception):
    """The sidecar cannot go in there; one line with the reason and what to do."""

    exit_code = 2


def inject(doc: Document, options: Options) -> Document:
    """The document with the sidecar; one that has it already gets the current options. Raises InjectError."""
    _check(doc)
    doc = undo(doc)
    template = doc["spec"]["template"]
    made = [
        *_make(doc, ("spec", "template", _META), {}),
        *_make(doc, ("spec", "template", _META, _ANNOTATIONS), {}),
        *_make(doc, ("spec", "template", "spec", _INITS), []),
    ]
    template["metadata"]["annotations"][ANNOTATION] = ".".join([VERSION, *made])
    # Last: the app's own init containers still reach everything by themselves, as the proxy does not run yet.
    template["spec"]["initContainers"].append(init_container(options))
    template["spec"]["containers"].insert(0, container(options))
    return doc


def _make(doc: Document, path: tuple[str, ...], empty: Any) -> list[str]:
    """Have something at `path`; its last key in a list if it was not there. Raises InjectError where it is null."""
    *way, key = path
    parent = doc
    for step in way:
        parent = parent[step]
    if key not in parent:
        parent[key] = empty
        return [key]
    if parent[key] is None:
        raise InjectError(f"{_name(doc)}: {'.'.join(path)} is empty; remove it or fill it")
    return []


def undo(doc: Document) -> Document:
    """The document without the sidecar; one that has none stays as it is."""
    doc = copy.deepcopy(doc)
    template = _mapping(_mapping(doc.get("spec")).get("template"))
    meta = _mapping(template.get("metadata"))
    annotations = _mapping(meta.get("annotations"))
    mark = annotations.get(ANNOTATION)
    if mark is None:
        return doc
    made = str(mark).split(".")[1:]
    del annotations[ANNOTATION]
    spec = _mapping(template.get("spec"))
    _take_out(spec.get("containers"), CONTAINER)
    _take_out(spec.get("initContainers"), INIT)
    for parent, key in ((spec, _INITS), (meta, _ANNOTATIONS), (template, _META)):
        if key in made and not parent.get(key, True):
            del parent[key]
    return doc


def _take_out(containers: object, name: str) -> None:
    """Remove the container of this name."""
    if isinstance(containers, list):
        own = next((i for i, c in enumerate(containers) if _mapping(c).get("name") == name), None)
        if own is not None:
            del containers[own]


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
    inits = spec.get("initContainers")
    if inits is not None and not isinstance(inits, list):
        raise InjectError(f"{name}: spec.template.spec.initContainers is not a list")
    ours = ((CONTAINER, containers), (INIT, inits or [])) if ANNOTATION in _mapping(annotations) else ()
    for c in [*containers, *(inits or [])]:
        its_name = _mapping(c).get("name")
        if its_name in (CONTAINER, INIT) and not any(its_name == n and c in where for n, where in ours):
            raise InjectError(f"{name}: has a container {its_name} of its own; rename it")


def _mapping(value: object) -> Document:
    """The value itself if it is a mapping, else an empty one: manifests come from people."""
    return value if isinstance(value, dict) else {}


def _name(doc: Document) -> str:
    meta = doc.get("metadata")
    name = meta.get("name", "?") if isinstance(meta, dict) else "?"
    return f"{doc.get('kind', '?')}/{name}"

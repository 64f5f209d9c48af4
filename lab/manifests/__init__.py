"""The demo app as plain YAML, the same for every cluster, and the one way the lab reads it.

Complete as the files stand, for kubectl; namespace and images can be replaced here. Knows no cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.resources import files
from typing import Any

from ruamel.yaml import YAML

from lab.errors import BadInput

Object = dict[str, Any]

NAMESPACE = "balance-lab"
# What `images` may override: name → the image the manifests and the sidecar have by default.
IMAGES: dict[str, str] = {
    "demo-app": "balance-lab/demo-app:dev",
    "ewma-proxy": "balance-lab/ewma-proxy:dev",
}
# In the order of applying: what others stand in comes first, servers come before their clients.
NAMES = ("namespace", "sidecar-rbac", "catalogue", "voting", "web", "bot")
ALL = "all"


def load(name: str = ALL, *, namespace: str = NAMESPACE, images: Mapping[str, str] | None = None) -> list[Object]:
    """The objects of one manifest (see NAMES) or of all, in the order to apply them.

    All Services come before the first Deployment: a pod learns of a Service (VOTING_SERVICE_HOST) only if
    that was there before it (https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables).
    images: entries of IMAGES to replace, e.g. {"demo-app": "registry.example/demo-app:1"}. Raises BadInput.
    """
    if name != ALL and name not in NAMES:
        raise BadInput(f"there is no manifest {name!r}", f"there are: {ALL}, {', '.join(NAMES)}")
    replace = {IMAGES[key]: image for key, image in _known(images).items()}
    objects = [o for n in (NAMES if name == ALL else (name,)) for o in _read(n)]
    for found in objects:
        _set_namespace(found, namespace)
        for container in _containers(found):
            container["image"] = replace.get(container["image"], container["image"])
    return sorted(objects, key=lambda o: o["kind"] == "Deployment")


def sidecar_image(images: Mapping[str, str] | None = None) -> str:
    """The sidecar's image, after the same overrides. Raises BadInput."""
    return _known(images).get("ewma-proxy", IMAGES["ewma-proxy"])


def _known(images: Mapping[str, str] | None) -> Mapping[str, str]:
    images = images or {}
    unknown = sorted(set(images) - set(IMAGES))
    if unknown:
        raise BadInput(f"there is no image {', '.join(unknown)}", f"there are: {', '.join(IMAGES)}")
    return images


def _read(name: str) -> Iterator[Object]:
    text = files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    yield from YAML(typ="safe", pure=True).load_all(text)


def _set_namespace(found: Object, namespace: str) -> None:
    """Wherever it is written: the object's own, the Namespace's name, the subjects of a RoleBinding."""
    if found["kind"] == "Namespace":
        found["metadata"]["name"] = namespace
    else:
        found["metadata"]["namespace"] = namespace
    for subject in found.get("subjects", ()):
        subject["namespace"] = namespace


def _containers(found: Object) -> list[Object]:
    if found["kind"] != "Deployment":
        return []
    spec = found["spec"]["template"]["spec"]
    return [*spec.get("initContainers", ()), *spec["containers"]]

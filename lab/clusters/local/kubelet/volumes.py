"""Which volume mounts a container without a mount namespace can have.

One: an emptyDir at /tmp, which it finds through TMPDIR. Everything else is refused with a reason, because a
process that looks for a file at a path where nothing is mounted would fail in a way nobody understands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lab.clusters.local.kubelet.runtime import CannotStart


def temporary_folder(pod: dict[str, Any], container: dict[str, Any], pod_folder: Path) -> Path:
    """The folder for the container's TMPDIR, made if needed. Raises CannotStart for other mounts."""
    volumes = {v["name"]: v for v in pod["spec"].get("volumes") or ()}
    folder: Path = pod_folder / "tmp" / container["name"]
    for mount in container.get("volumeMounts") or ():
        volume = volumes.get(mount["name"], {})
        if "emptyDir" not in volume or mount["mountPath"].rstrip("/") != "/tmp":
            raise CannotStart(
                "CreateContainerConfigError",
                f"volume {mount['name']!r} at {mount['mountPath']}: pods are plain processes here, so "
                "only an emptyDir at /tmp can be mounted (it becomes TMPDIR); give settings as env instead",
            )
        folder = pod_folder / "volumes" / mount["name"]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder

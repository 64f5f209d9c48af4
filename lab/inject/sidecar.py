"""What the sidecar's two containers look like: a function each, so that they are the same everywhere.

Knows the proxy's settings and Kubernetes' words; nothing of the pod it goes into.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

CONTAINER = "ewma-proxy"
INIT = "ewma-proxy-init"
ADMIN_PORT = 9191
PORT = 4140
"""Where redirected connections come in, on loopback; the init container redirects to the same one by default."""

UID = 65532


@dataclass(frozen=True)
class Options:
    """image: the sidecar's. pull_policy: as in a container."""

    image: str = "balance-lab/ewma-proxy:dev"
    pull_policy: str = "IfNotPresent"


def container(options: Options) -> dict[str, Any]:
    """The container. It stands first in the pod: its postStart hook holds the app back until it is ready."""
    return {
        "name": CONTAINER,
        "image": options.image,
        "imagePullPolicy": options.pull_policy,
        "env": [
            _field("POD_IP", "status.podIP"),
            _field("EWMA_PROXY_NAMESPACE", "metadata.namespace"),
            # Of the pod's own addresses, so that the API server's pod proxy reaches it.
            {"name": "EWMA_PROXY_ADMIN", "value": f"$(POD_IP):{ADMIN_PORT}"},
            {"name": "EWMA_PROXY_TRANSPARENT", "value": str(PORT)},
        ],
        "ports": [{"name": "ewma-admin", "containerPort": ADMIN_PORT, "protocol": "TCP"}],
        "lifecycle": {"postStart": {"exec": {"command": ["/ewma-proxy", "await"]}}},
        "readinessProbe": {"httpGet": {"path": "/ready", "port": ADMIN_PORT}, "periodSeconds": 1},
        "livenessProbe": {"httpGet": {"path": "/live", "port": ADMIN_PORT}, "periodSeconds": 10},
        "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": UID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def init_container(options: Options) -> dict[str, Any]:
    """The container that writes the pod's redirect rules: as root with NET_ADMIN and nothing else, and gone after."""
    return {
        "name": INIT,
        "image": options.image,
        "imagePullPolicy": options.pull_policy,
        "args": ["init", "--port", str(PORT), "--proxy-uid", str(UID)],
        "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": False,
            "runAsUser": 0,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }


def _field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}

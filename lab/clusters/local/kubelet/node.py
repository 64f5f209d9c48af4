"""The Node object: what there is to schedule on. https://kubernetes.io/docs/concepts/architecture/nodes/"""

from __future__ import annotations

import os
import platform
from typing import Any

import psutil

from lab.clusters.local.addresses import Network
from lab.clusters.local.api.objects import timestamp
from lab.clusters.local.api.store import Store
from lab.clusters.local.kubelet.runtime import NODE_NAME

MOST_PODS = 254
"""As many as there are pod numbers."""


def register(store: Store, network: Network) -> None:
    """Create the node, ready."""
    labels = {
        "kubernetes.io/hostname": NODE_NAME,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine()),
        "node-role.kubernetes.io/control-plane": "",
    }
    store.create("nodes", None, {"metadata": {"name": NODE_NAME, "labels": labels}, "spec": {}})
    store.mutate("nodes", None, NODE_NAME, lambda node: node.update(status=_status(network)), subresource="status")


def _status(network: Network) -> dict[str, Any]:
    capacity = {
        "cpu": str(os.cpu_count() or 1),
        "memory": f"{psutil.virtual_memory().total // 1024}Ki",
        "pods": str(MOST_PODS),
    }
    now = timestamp()
    return {
        "capacity": capacity,
        "allocatable": capacity,
        "addresses": [
            {"type": "InternalIP", "address": network.api},
            {"type": "Hostname", "address": NODE_NAME},
        ],
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "KubeletReady",
                "message": "kubelet is posting ready status",
                "lastHeartbeatTime": now,
                "lastTransitionTime": now,
            }
        ],
        "nodeInfo": {
            "architecture": platform.machine(),
            "bootID": "",
            "containerRuntimeVersion": "local://processes",
            "kernelVersion": platform.release(),
            "kubeProxyVersion": "",
            "kubeletVersion": "local",
            "machineID": "",
            "operatingSystem": "linux",
            "osImage": platform.system(),
            "systemUUID": "",
        },
    }

"""The cluster's certificate authority and the kubeconfigs that trust it.

The CA lives in the daemon's memory and is made anew with each `up`; only its certificate, the server's key
pair and kubeconfigs are written, readable by the user alone.
"""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trustme


@dataclass(frozen=True)
class ServerTls:
    """Paths of PEM files: the CA's certificate, the server's certificate chain and its private key."""

    ca: Path
    cert: Path
    key: Path

    def ca_pem(self) -> bytes:
        return self.ca.read_bytes()


def issue(folder: Path, address: str) -> ServerTls:
    """A new CA and a server certificate for `address` and the API server's usual names."""
    authority = trustme.CA(organization_name="grpc-balance-lab")
    server = authority.issue_cert(address, "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
    tls = ServerTls(folder / "ca.crt", folder / "server.crt", folder / "server.key")
    write_private(tls.ca, authority.cert_pem.bytes())
    write_private(tls.cert, b"".join(part.bytes() for part in server.cert_chain_pems))
    write_private(tls.key, server.private_key_pem.bytes())
    return tls


def kubeconfig(*, server: str, ca_pem: bytes, token: str, context: str, user: str, namespace: str = "default") -> str:
    """A kubeconfig (JSON, which is YAML too) with one context.

    https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
    """
    config: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": context,
                "cluster": {
                    "server": server,
                    "certificate-authority-data": base64.b64encode(ca_pem).decode(),
                },
            }
        ],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": context, "user": user, "namespace": namespace}}],
        "current-context": context,
    }
    return json.dumps(config, indent=2) + "\n"


def write_private(path: Path, content: bytes | str) -> None:
    """Write a file that only the user may read (0600), whole or not at all."""
    data = content.encode() if isinstance(content, str) else content
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    partial.replace(path)

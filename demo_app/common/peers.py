"""Where the other services are and how to keep one long connection to each. Knows no method of theirs.

On Kubernetes the address is that of the Service's environment variables (docs: "Discovering services"); a
target given by hand comes before it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from demo_app.common import config

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # The app hides no failure: no retries, not even gRPC's transparent ones.
    ("grpc.enable_retries", 0),
    # Channels to one target would share a connection otherwise: one channel, one connection.
    ("grpc.use_local_subchannel_pool", 1),
    # A restarted upstream is found again within a second, not within two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 1000),
)


def peer_option(name: str, fallback: str) -> Any:
    """The option --NAME-target: from NAME_TARGET, NAME_SERVICE_HOST and _PORT, or `fallback`."""
    upper = name.upper()
    return config.option(
        f"{upper}_TARGET",
        _from_service(upper, fallback),
        config.target,
        f"gRPC target of {name}, e.g. dns:///{name}:8080; if unset, {upper}_SERVICE_HOST and _PORT, else {fallback}",
    )


def connect(target: str) -> grpc.aio.Channel:
    """A channel with a connection of its own (pick_first: one connection however many addresses)."""
    return grpc.aio.insecure_channel(target, options=CHANNEL_OPTIONS)


def _from_service(upper: str, fallback: str) -> Callable[[config.Lookup], str]:
    def find(lookup: config.Lookup) -> str:
        host = lookup(f"{upper}_SERVICE_HOST")
        if not host:
            return fallback
        port = lookup(f"{upper}_SERVICE_PORT") or "8080"
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    return find

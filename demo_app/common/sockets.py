"""Bound sockets, or one clear line when the address is not to be had. Knows nothing of who listens."""

from __future__ import annotations

import os
import socket

from demo_app.common.errors import PortTakenError


def bind(address: str, what: str) -> socket.socket:
    """A listening TCP socket on HOST:PORT (port 0: any free one). Raises PortTakenError."""
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, int(port)), family=family, backlog=256)
    except OSError as e:
        raise port_taken(address, what, os.strerror(e.errno) if e.errno else str(e)) from e


def port_taken(address: str, what: str, why: str) -> PortTakenError:
    return PortTakenError(f"cannot listen on {address} for {what}: {why}; free it or choose another address")


def bound_address(sock: socket.socket) -> str:
    """HOST:PORT as bound, IPv6 in brackets."""
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

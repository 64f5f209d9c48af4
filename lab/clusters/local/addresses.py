"""Who has which loopback address: one table for the API server, Services and pods.

    127.X.0.1   API server (port 6443), node, DNS      X: 1-254, one per lab
    127.X.0.s   Service number s, s = 2-254            its cluster IP
    127.X.p.1   pod number p, p = 1-254
    127.X.p.s   where the sidecar of a meshed pod p stands in for Service s

Linux answers on all of 127.0.0.0/8 without configuration (RFC 1122 section 3.2.1.3; `ip route show table
local`), so no interface has to be made and no root is needed. Knows nothing of sockets.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

API_PORT = 6443
DNS_PORT = 1053

_FIRST_SERVICE = 2
_LAST = 254


@dataclass(frozen=True)
class Network:
    """All addresses of one lab; x: its number, 1-254."""

    x: int

    @property
    def api(self) -> str:
        return f"127.{self.x}.0.1"

    @property
    def api_url(self) -> str:
        return f"https://{self.api}:{API_PORT}"

    def cluster_ip(self, s: int) -> str:
        return f"127.{self.x}.0.{s}"

    def pod_ip(self, p: int) -> str:
        return f"127.{self.x}.{p}.1"

    def redirect(self, p: int) -> str:
        """EWMA_PROXY_REDIRECT of pod number p: cluster IPs → the addresses where its sidecar stands in for
        them.
        """
        return f"127.{self.x}.0.0/24=127.{self.x}.{p}.0/24"

    def stand_in(self, cluster_ip: str, p: int) -> str:
        """Where the sidecar of pod p listens for the Service with this cluster IP."""
        return f"127.{self.x}.{p}.{cluster_ip.rsplit('.', 1)[1]}"


def numbers_to_try(uid: int, name: str) -> Iterator[int]:
    """Every X once, beginning at one that depends on user and lab name, so that a lab tends to keep its
    addresses.
    """
    digest = hashlib.sha256(f"{uid}/{name}".encode()).digest()
    first = int.from_bytes(digest[:4], "big") % _LAST
    for step in range(_LAST):
        yield (first + step) % _LAST + 1


class Numbers:
    """Numbers lowest..highest, each given to one holder at a time.

    A returned number is given out again as late as possible: a client that still knows an old pod's address
    should meet nobody there rather than a stranger.
    """

    def __init__(self, lowest: int, highest: int) -> None:
        self._lowest, self._highest = lowest, highest
        self._taken: set[int] = set()
        self._next = lowest

    def take(self, wanted: int | None = None) -> int:
        """A free number, or the wanted one. Raises ValueError (a reason for a person)."""
        if wanted is not None:
            if not self._lowest <= wanted <= self._highest:
                raise ValueError(f"the number must be {self._lowest}-{self._highest}")
            if wanted in self._taken:
                raise ValueError("provided IP is already allocated")
            self._taken.add(wanted)
            return wanted
        size = self._highest - self._lowest + 1
        for step in range(size):
            number = self._lowest + (self._next - self._lowest + step) % size
            if number not in self._taken:
                self._taken.add(number)
                self._next = number + 1
                return number
        raise ValueError(f"all {size} addresses are in use")

    def give_back(self, number: int) -> None:
        self._taken.discard(number)


def pod_numbers() -> Numbers:
    return Numbers(1, _LAST)


class ClusterIPs:
    """Cluster IPs, in the form in which the API server's store asks for them."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._numbers = Numbers(_FIRST_SERVICE, _LAST)

    def allocate(self, service: dict[str, Any]) -> str:
        """An address for a new Service: spec.clusterIP if it asks for one. Raises ValueError (the reason)."""
        wanted = service.get("spec", {}).get("clusterIP") or ""
        if not wanted:
            return self._network.cluster_ip(self._numbers.take())
        prefix, _, last = wanted.rpartition(".")
        if prefix != f"127.{self._network.x}.0" or not last.isdigit():
            raise ValueError(f"the provided IP is not in the range {self._network.cluster_ip(0)}/24 of this cluster")
        return self._network.cluster_ip(self._numbers.take(int(last)))

    def release(self, address: str) -> None:
        self._numbers.give_back(int(address.rpartition(".")[2]))

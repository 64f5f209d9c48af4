"""Names of Services as a DNS server (UDP): cluster IPs, and the pods' addresses for headless Services.

https://github.com/kubernetes/dns/blob/master/docs/specification.md, A records only; what does not exist is
NXDOMAIN. A process here has no resolv.conf of its own, so containers find this server's address in
BALANCE_LAB_DNS.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, cast

from dnslib import QTYPE, RCODE, RR, A, DNSError, DNSRecord

from lab.clusters.local.api.errors import NotFound
from lab.clusters.local.api.store import Store
from lab.clusters.local.controllers.endpointslice import SERVICE_LABEL

log = logging.getLogger("balance-lab.dns")

DOMAIN = "cluster.local"
TTL_S = 5


class DnsServer(asyncio.DatagramProtocol):
    def __init__(self, store: Store, default_namespace: str = "default") -> None:
        self._store = store
        self._default_namespace = default_namespace
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        try:
            answer = self.answer(data)
        except DNSError as e:
            log.debug("not a DNS query from %s: %s", addr, e)
            return
        if self._transport is not None:
            self._transport.sendto(answer, addr)

    def answer(self, query: bytes) -> bytes:
        """A query's packet → the reply's. Raises DNSError."""
        asked = DNSRecord.parse(query)
        reply = asked.reply()
        addresses = self.lookup(str(asked.q.qname))
        if addresses is None:
            reply.header.rcode = RCODE.NXDOMAIN
        elif asked.q.qtype in (QTYPE.A, QTYPE.ANY):
            for address in addresses:
                reply.add_answer(RR(asked.q.qname, QTYPE.A, rdata=A(address), ttl=TTL_S))
        return bytes(reply.pack())

    def lookup(self, name: str) -> list[str] | None:
        """The addresses of SERVICE, SERVICE.NAMESPACE or SERVICE.NAMESPACE.svc[.cluster.local]; None: no such
        name.
        """
        labels = name.rstrip(".").lower().removesuffix(f".{DOMAIN}").split(".")
        if len(labels) == 3 and labels[2] == "svc":
            labels.pop()
        if not 1 <= len(labels) <= 2:
            return None
        service, namespace = labels[0], labels[1] if len(labels) == 2 else self._default_namespace
        try:
            found = self._store.get("services", namespace, service)
        except NotFound:
            return None
        address = found["spec"].get("clusterIP")
        if address and address != "None":
            return [address]
        return self._ready_pods(namespace, service)

    def _ready_pods(self, namespace: str, service: str) -> list[str]:
        return sorted(
            address
            for one in self._store.list("endpointslices", namespace)[0]
            if (one["metadata"].get("labels") or {}).get(SERVICE_LABEL) == service
            for endpoint in one.get("endpoints") or ()
            if (endpoint.get("conditions") or {}).get("ready")
            for address in endpoint["addresses"]
        )

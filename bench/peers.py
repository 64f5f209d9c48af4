"""The proxies that are compared: for each one its configuration and command line.

All: one worker, no access log, HTTP/2 in the clear on both sides, upstream connections kept. Knows how each is
configured and nothing of what is measured.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.tools import find


@dataclass(frozen=True)
class Peer:
    """`command(folder, port, endpoints)`: writes what configuration it needs into the folder, gives the command."""

    name: str
    title: str
    tool: str
    command: Callable[[Path, int, list[str]], list[str]]
    #: Balances requests, not connections.
    l7: bool = True


def _ours(folder: Path, port: int, endpoints: list[str]) -> list[str]:
    listen = ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{port + 1}"]
    return [find("ewma-proxy"), *listen, "--endpoints", ",".join(endpoints), "--log-level", "warn"]


def _nghttpx(folder: Path, port: int, endpoints: list[str]) -> list[str]:
    backends = [f"--backend={e.replace(':', ',')};;proto=h2" for e in endpoints]
    conf = folder / "nghttpx.conf"
    conf.write_text("\n".join(line.removeprefix("--") for line in backends) + "\n")
    flags = ["--workers=1", "--errorlog-file=/dev/null", "--backend-keep-alive-timeout=1h", "--no-ocsp"]
    return [find("nghttpx"), f"--conf={conf}", f"--frontend=127.0.0.1,{port};no-tls", *flags]


def _haproxy(mode: str) -> Callable[[Path, int, list[str]], list[str]]:
    def command(folder: Path, port: int, endpoints: list[str]) -> list[str]:
        h2 = " proto h2" if mode == "http" else ""
        servers = [f"  server s{i} {e}{h2}" for i, e in enumerate(endpoints)]
        reuse = ["  http-reuse always"] if mode == "http" else []
        conf = folder / f"haproxy-{mode}.cfg"
        lines = [
            "global",
            "  nbthread 1",
            "  maxconn 5000",
            "defaults",
            f"  mode {mode}",
            "  timeout connect 1s",
            "  timeout client 1h",
            "  timeout server 1h",
            "frontend f",
            f"  bind 127.0.0.1:{port}{h2}",
            "  default_backend b",
            "backend b",
            *reuse,
            "  balance roundrobin",
            *servers,
        ]
        conf.write_text("\n".join(lines) + "\n")
        return [find("haproxy"), "-db", "-q", "-f", str(conf)]

    return command


def _nginx(folder: Path, port: int, endpoints: list[str]) -> list[str]:
    temporary = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"  {kind}_temp_path {folder}/nginx-{kind};\n" for kind in temporary)
    servers = "".join(f"    server {e};\n" for e in endpoints)
    conf = folder / "nginx.conf"
    conf.write_text(
        f"""user root;
worker_processes 1; daemon off; pid {folder}/nginx.pid; error_log /dev/null;
events {{ worker_connections 16384; }}
http {{
  access_log off; keepalive_requests 1000000000; keepalive_timeout 1h; http2_max_concurrent_streams 1000;
  client_max_body_size 0; client_body_buffer_size 128k;
{paths}
  upstream b {{
{servers}
    keepalive 256; keepalive_requests 1000000000; keepalive_timeout 1h;
  }}
  server {{ listen 127.0.0.1:{port} http2; location / {{ grpc_pass grpc://b; }} }}
}}
"""
    )
    return [find("nginx"), "-p", str(folder), "-c", str(conf)]


def _envoy(folder: Path, port: int, endpoints: list[str]) -> list[str]:
    def address(host: str, number: str | int) -> str:
        return f"{{ socket_address: {{ address: {host}, port_value: {number} }} }}"

    manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"
    options = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    protocol = f'{{ "@type": {options}, explicit_http_config: {{ http2_protocol_options: {{}} }} }}'
    hosts = "".join(f"        - endpoint: {{ address: {address(*e.split(':'))} }}\n" for e in endpoints)
    conf = folder / "envoy.yaml"
    conf.write_text(
        f"""static_resources:
  listeners:
  - address: {address("127.0.0.1", port)}
    filter_chains:
    - filters:
      - name: hcm
        typed_config:
          "@type": {manager}
          codec_type: HTTP2
          stat_prefix: f
          route_config:
            virtual_hosts:
            - {{ name: v, domains: ["*"], routes: [{{ match: {{ prefix: / }}, route: {{ cluster: b }} }}] }}
          http_filters:
          - {{ name: router, typed_config: {{ "@type": {router} }} }}
  clusters:
  - name: b
    connect_timeout: 1s
    lb_policy: LEAST_REQUEST
    circuit_breakers:
      thresholds: [{{ max_connections: 100000, max_pending_requests: 100000, max_requests: 100000 }}]
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {protocol}
    load_assignment:
      cluster_name: b
      endpoints:
      - lb_endpoints:
{hosts}"""
    )
    return [find("envoy"), "-c", str(conf), "--concurrency", "1", "--disable-hot-restart", "--log-level", "off"]


PEERS = {
    peer.name: peer
    for peer in (
        Peer("ours", "ewma-proxy", "ewma-proxy", _ours),
        Peer("tcp", "HAProxy, TCP mode (floor)", "haproxy", _haproxy("tcp"), l7=False),
        Peer("nghttpx", "nghttpx", "nghttpx", _nghttpx),
        Peer("haproxy", "HAProxy, HTTP/2", "haproxy", _haproxy("http")),
        Peer("nginx", "nginx", "nginx", _nginx),
        Peer("envoy", "Envoy", "envoy", _envoy),
    )
}

"""Run the catalogue service: python -m demo_app.catalogue."""

from __future__ import annotations

import os
import sys

import grpc

from demo_app.catalogue.service import SERVICE, CatalogueService
from demo_app.common import config, lifecycle
from demo_app.common.server import ServerOptions, serve
from demo_app.proto import catalogue_pb2_grpc


async def main() -> int:
    options = config.load(
        ServerOptions,
        sys.argv[1:],
        os.environ.get,
        prog="demo_app.catalogue",
        about="Tell who can be voted for.",
        example="python -m demo_app.catalogue --listen 127.0.0.1:8081 --admin 127.0.0.1:9101",
    )
    service = CatalogueService(options.pod or lifecycle.pod_name())

    def register(server: grpc.aio.Server) -> None:
        catalogue_pb2_grpc.add_CatalogueServicer_to_server(service, server)  # type: ignore[no-untyped-call]  # generated

    return await serve(options, (SERVICE,), register)


if __name__ == "__main__":
    lifecycle.run(main)

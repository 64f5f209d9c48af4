"""Run the voting service: python -m demo_app.voting."""

from __future__ import annotations

import os
import sys

import grpc

from demo_app.common import config, lifecycle
from demo_app.common.server import ServerOptions, serve
from demo_app.proto import voting_pb2_grpc
from demo_app.voting.service import SERVICE, VotingService


async def main() -> int:
    options = config.load(
        ServerOptions,
        sys.argv[1:],
        os.environ.get,
        prog="demo_app.voting",
        about="Count votes: one RPC per candidate, each reply naming the pod that served it.",
        example="python -m demo_app.voting --listen 127.0.0.1:8081 --admin 127.0.0.1:9101 --pod voting-a",
    )
    service = VotingService(options.pod or lifecycle.pod_name())

    def register(server: grpc.aio.Server) -> None:
        voting_pb2_grpc.add_VotingServicer_to_server(service, server)  # type: ignore[no-untyped-call]  # generated

    return await serve(options, (SERVICE,), register)


if __name__ == "__main__":
    lifecycle.run(main)

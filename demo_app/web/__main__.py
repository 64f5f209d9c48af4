"""Run the web front: python -m demo_app.web."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass

from demo_app.common import config, lifecycle
from demo_app.common.admin import admin_app
from demo_app.common.http import HttpServer
from demo_app.common.metrics import new_registry
from demo_app.common.peers import peer_option
from demo_app.web.app import web_app
from demo_app.web.upstreams import Upstreams


@dataclass(frozen=True)
class WebOptions:
    """Options of the web front."""

    catalogue_target: str = peer_option("catalogue", "127.0.0.1:8081")
    voting_target: str = peer_option("voting", "127.0.0.1:8080")
    listen: str = config.option("LISTEN", "127.0.0.1:8080", config.address, "HTTP address, HOST:PORT")
    admin: str = config.option("ADMIN", "127.0.0.1:9100", config.address, "admin HTTP address, HOST:PORT")
    pre_drain: float = config.option(
        "PRE_DRAIN_SECONDS", "1", config.number(0), "seconds to go on serving after SIGTERM"
    )


async def main() -> int:
    options = config.load(
        WebOptions,
        sys.argv[1:],
        os.environ.get,
        prog="demo_app.web",
        about="Serve the voting page.",
        example="python -m demo_app.web --listen 127.0.0.1:8000 --voting-target 127.0.0.1:8080",
    )
    signals = lifecycle.StopSignals()
    registry = new_registry()
    admin = HttpServer(admin_app(registry, lambda: not signals.stop.is_set()), options.admin, "admin")
    upstreams = Upstreams(options.catalogue_target, options.voting_target)
    front = HttpServer(web_app(upstreams, registry), options.listen, "the page")
    await front.start()
    await admin.start()
    lifecycle.say(f"serving http://{front.address}/, admin on {admin.address}")
    await signals.stop.wait()
    lifecycle.say(f"draining: serving {options.pre_drain:g} s more")
    await lifecycle.wait_for(signals.quick, options.pre_drain)
    await front.stop()
    await upstreams.close()
    await admin.stop()
    return 0


if __name__ == "__main__":
    lifecycle.run(main)

"""Run the bot: python -m demo_app.bot."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import dataclass

from demo_app.bot.load import Load
from demo_app.bot.record import Record
from demo_app.common import config, lifecycle
from demo_app.common.admin import admin_app
from demo_app.common.http import HttpServer
from demo_app.common.metrics import new_registry
from demo_app.common.peers import connect, peer_option

PROGRESS_S = 10.0


@dataclass(frozen=True)
class BotOptions:
    """Options of the bot."""

    voting_target: str = peer_option("voting", "127.0.0.1:8080")
    admin: str = config.option("ADMIN", "127.0.0.1:9100", config.address, "admin HTTP address, HOST:PORT")
    rate: float = config.option("BOT_RATE", "200", config.number(0, above=True), "requests a second, open loop")
    channels: int = config.option(
        "BOT_CHANNELS", "1", config.integer(1, 1000), "channels, each with a connection of its own"
    )
    max_in_flight: int = config.option(
        "BOT_MAX_IN_FLIGHT", "256", config.integer(1), "requests in flight at most; more are dropped and counted"
    )
    timeout: float = config.option(
        "BOT_TIMEOUT_SECONDS", "5", config.number(0, above=True), "deadline of each request in seconds"
    )
    requests: int | None = config.option("BOT_REQUESTS", None, config.integer(1), "stop after so many requests")
    duration: float | None = config.option(
        "BOT_DURATION_SECONDS", None, config.number(0, above=True), "stop after so many seconds"
    )
    json: bool = config.option("BOT_JSON", "false", config.switch, "print the report as JSON at the end")


async def main() -> int:
    options = config.load(
        BotOptions,
        sys.argv[1:],
        os.environ.get,
        prog="demo_app.bot",
        about="Vote at a steady rate and tell which pods answered. Runs for ever unless given a limit.",
        example="python -m demo_app.bot --voting-target 127.0.0.1:8080 --requests 1000 --json",
    )
    signals = lifecycle.StopSignals()
    registry = new_registry()
    admin = HttpServer(admin_app(registry, lambda: not signals.stop.is_set()), options.admin, "admin")
    await admin.start()
    record = Record(registry)
    await vote(options, record, signals)
    await admin.stop()
    print(json.dumps(record.report()) if options.json else record.line(), flush=True)
    return 0


async def vote(options: BotOptions, record: Record, signals: lifecycle.StopSignals) -> None:
    """Send until a limit or a signal, with a line of progress now and then."""
    channels = [connect(options.voting_target) for _ in range(options.channels)]
    load = Load(
        channels,
        record,
        rate=options.rate,
        max_in_flight=options.max_in_flight,
        timeout_s=options.timeout,
    )
    lifecycle.say(f"voting at {options.voting_target}: {options.rate:g} a second, {options.channels} channel(s)")
    sending = asyncio.create_task(load.run(options.requests, options.duration))
    sending.add_done_callback(lambda _: signals.stop.set())
    while not await lifecycle.wait_for(signals.stop, PROGRESS_S):
        lifecycle.say(record.line())
    load.stop()
    hurry = asyncio.create_task(signals.quick.wait())
    await asyncio.wait((sending, hurry), return_when=asyncio.FIRST_COMPLETED)
    hurry.cancel()
    for channel in channels:
        await channel.close(None)
    await sending


if __name__ == "__main__":
    lifecycle.run(main)

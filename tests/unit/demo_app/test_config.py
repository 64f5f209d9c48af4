"""Options: where they come from, and what a person reads when they are wrong."""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence

import pytest

from demo_app.bot.__main__ import BotOptions
from demo_app.common import config
from demo_app.common.errors import ConfigError
from tests.unit.demo_app.harness import ANY_PORT, run


def load(argv: Sequence[str] = (), env: Mapping[str, str] | None = None) -> BotOptions:
    return config.load(BotOptions, argv, (env or {}).get, prog="bot", about="", example="")


def test_a_flag_comes_before_the_environment_and_that_before_the_default() -> None:
    assert load().rate == 200
    assert load(env={"BOT_RATE": "50"}).rate == 50
    assert load(["--rate", "7"], {"BOT_RATE": "50"}).rate == 7
    assert load(env={"BOT_RATE": ""}).rate == 200


def test_peers_come_from_a_target_or_from_the_services_environment() -> None:
    service = {"VOTING_SERVICE_HOST": "127.9.0.2", "VOTING_SERVICE_PORT": "8080"}
    assert load(env=service).voting_target == "127.9.0.2:8080"
    assert load(env=service | {"VOTING_TARGET": "dns:///voting:8080"}).voting_target == "dns:///voting:8080"
    assert load(env={"VOTING_SERVICE_HOST": "fd00::1"}).voting_target == "[fd00::1]:8080"


def test_every_bad_value_is_in_one_message() -> None:
    with pytest.raises(ConfigError) as refused:
        load(["--rate", "0", "--channels", "many"], {"ADMIN": "nowhere", "BOT_DURATION_SECONDS": "nan"})
    said = str(refused.value)
    assert "\n" not in said
    assert all(
        part in said for part in ("--rate is '0'", "--channels is 'many'", "ADMIN is", "BOT_DURATION_SECONDS is")
    )


@pytest.mark.parametrize("text", ["8080", "host:", "host:http", "host:70000", "::1:80", "host:-1"])
def test_an_address_is_a_host_and_a_port(text: str) -> None:
    with pytest.raises(ValueError):
        config.address(text)


@pytest.mark.parametrize("module", ["voting", "catalogue", "web", "bot"])
def test_bad_options_end_a_process_with_2_and_one_line(module: str) -> None:
    ended = run(f"demo_app.{module}", "--admin", "x", ADMIN="y", POD_NAME="p")
    assert ended.returncode == 2
    assert ended.stderr.count("\n") == 1
    assert "--admin is 'x'" in ended.stderr


def test_a_taken_port_ends_a_process_with_3_and_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flags in (("--listen", address, "--admin", ANY_PORT), ("--listen", ANY_PORT, "--admin", address)):
            ended = run("demo_app.voting", *flags)
            assert ended.returncode == 3
            assert ended.stderr.count("\n") == 1
            assert address in ended.stderr


def test_help_shows_an_example() -> None:
    ended = run("demo_app.bot", "--help")
    assert ended.returncode == 0
    assert "example:\n  python -m demo_app.bot" in ended.stdout

"""The command refuses nonsense in one line, and says of each missing program how to get it."""

import subprocess
import sys
from pathlib import Path

import pytest

from bench import tools
from bench.__main__ import options
from bench.backends import endpoints, message
from bench.peers import PEERS


def test_unknown_peers_and_cases_are_usage_errors(capsys: pytest.CaptureFixture[str]) -> None:
    for argv in (["--peers", "squid"], ["--cases", "8x17"], ["--rounds", "0"]):
        with pytest.raises(SystemExit) as e:
            options(argv)
        assert e.value.code == 2
    assert "squid: unknown; there are ours," in capsys.readouterr().err


def test_quick_is_a_part_of_the_whole() -> None:
    quick, whole = options(["--quick"]), options([])
    assert set(quick.peers) < set(whole.peers)
    assert set(quick.cases) < set(whole.cases)
    assert (quick.rounds, whole.rounds) == (3, 5)


def test_missing_programs_are_named_with_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools.Tool, "path", lambda self: None)
    with pytest.raises(tools.Missing, match=r"haproxy: not found; get it with Debian haproxy\nnginx"):
        tools.require(["haproxy", "nginx"])


def test_help_shows_an_example() -> None:
    done = subprocess.run([sys.executable, "-m", "bench", "--help"], capture_output=True, text=True, check=True)
    assert "python -m bench --quick" in done.stdout


def test_a_thousand_endpoints_are_a_thousand_addresses() -> None:
    assert len(set(endpoints(1000))) == 1000
    assert all(e.startswith("127.") for e in endpoints(1000))


def test_every_peer_gets_all_endpoints(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.peers.find", lambda name: f"/bin/{name}")
    for peer in PEERS.values():
        command = peer.command(tmp_path, 8000, endpoints(3))
        said = " ".join(command) + "".join(f.read_text() for f in tmp_path.iterdir())
        assert all(e.split(":")[0] in said for e in endpoints(3)), peer.name


def test_a_message_is_a_grpc_message() -> None:
    assert message(10) == b"\0\0\0\0\x0c\x0a\x0a" + b"x" * 10
    assert len(message(65536)) == 5 + 1 + 3 + 65536

"""h2spec's 145 cases: direct, through nghttpx, through us. What fails through us must be in exceptions.toml."""

from __future__ import annotations

import contextlib
import subprocess
import tomllib
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.tools import StrictServer, nghttpd, nghttpx, strict_server, tool
from tests.proxy.harness import proxy

EXCEPTIONS = tomllib.loads(Path(__file__).with_name("exceptions.toml").read_text())


def h2spec(port: int, report: Path) -> tuple[int, set[str]]:
    """Runs all cases; how many there were and the ids of those that failed, as `http2/5.1/3`."""
    command = [tool("h2spec"), "-h", "127.0.0.1", "-p", str(port), "-o", "2", "-j", str(report)]
    subprocess.run(command, capture_output=True, timeout=300, check=False)
    count, failed = 0, set()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for number, case in enumerate(suite.iter("testcase"), 1):
            count += 1
            if case.find("failure") is not None or case.find("error") is not None:
                # The package is the section's path, the position within it the case's number.
                failed.add(f"{case.get('package')}/{number}")
    return count, failed


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("hello from the back end\n")
    return tmp_path


@contextlib.contextmanager
def through(what: str, files: Path) -> Iterator[int]:
    with nghttpd(files) as direct:
        if what == "nghttpd":
            yield direct
        elif what == "nghttpx":
            with nghttpx(direct) as port:
                yield port
        else:
            with proxy([f"127.0.0.1:{direct}"]) as p:
                yield p.port


def test_all_145_cases_pass_but_the_listed_ones(files: Path, tmp_path: Path) -> None:
    with through("ewma-proxy", files) as port:
        count, failed = h2spec(port, tmp_path / "report.xml")
    assert count == 145
    unlisted = failed - set(EXCEPTIONS["ewma-proxy"])
    assert not unlisted


@pytest.mark.parametrize("what", ["nghttpd", pytest.param("nghttpx", marks=pytest.mark.long)])
def test_the_back_end_alone_and_another_proxy_show_that_the_suite_works(what: str, files: Path, tmp_path: Path) -> None:
    """Some of their cases race, so which ones fail is told and not held against them."""
    with through(what, files) as port:
        count, failed = h2spec(port, tmp_path / "report.xml")
    print(f"{what}: {count - len(failed)} of {count}; not in exceptions.toml: {sorted(failed - set(EXCEPTIONS[what]))}")
    assert count == 145
    assert len(failed) <= 10


def test_no_malformed_request_reaches_the_back_end(tmp_path: Path) -> None:
    server: StrictServer
    with strict_server() as server, proxy([server.address]) as p:
        count, failed = h2spec(p.port, tmp_path / "report.xml")
        assert count == 145
        assert failed <= set(EXCEPTIONS["ewma-proxy"])
        assert server.faults == []
        assert {method for method, _ in server.requests} <= {"GET", "POST", "HEAD", "OPTIONS"}
        assert {path for _, path in server.requests} == {"/"}

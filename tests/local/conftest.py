"""One lab for all tests of the local cluster that need one, in a state folder of its own."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.clusters.local.provider import LocalCluster
from tests.local.lab_support import Lab


@pytest.fixture(scope="package")
def state_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """XDG_STATE_HOME for all of this folder; given back before others run, with its addresses and port."""
    home = tmp_path_factory.mktemp("state")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(home))
        yield home


@pytest.fixture(scope="package")
def running_lab(state_home: Path) -> Iterator[Lab]:
    cluster = LocalCluster(f"test-{secrets.token_hex(3)}")
    cluster.up(lambda line: None)
    try:
        lab = Lab(cluster)
        yield lab
        lab.http.close()
    finally:
        report = cluster.down(lambda line: None)
        assert not report.killed, f"these did not end when asked to: {report.killed}"


@pytest.fixture
def lab(running_lab: Lab) -> Iterator[Lab]:
    """The running lab, with a namespace for this test alone as its default."""
    with running_lab.in_new_namespace() as mine:
        yield mine
        mine.http.close()

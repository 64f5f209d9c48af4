"""docs/faults.md names tests that exist."""

from __future__ import annotations

import re

from tests.pages import ROOT

FOLDERS = {"wire/": "tests/proxy/", "suites/": "tests/conformance/"}


def test_every_test_that_is_named_exists() -> None:
    named = re.findall(r"`([\w./]+)::(\w+)`", (ROOT / "docs/faults.md").read_text())
    assert len(named) > 40
    for file, test in named:
        for short, folder in FOLDERS.items():
            file = file.replace(short, folder, 1) if file.startswith(short) else file
        path = ROOT / (file if "/" in file else f"proxy/tests/{file}")
        assert re.search(rf"\b(fn|def) {test}\(", path.read_text()), f"{file} has no {test}"

"""The tables in docs/ list what there is: options, metrics, admin pages, fields of the report, dependencies.

Adding one without documenting it fails here, with the line to add and where.
"""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
import urllib.error
from collections.abc import Iterable
from typing import Any

import jsonschema
import pytest

from tests import pages
from tests.pages import ROOT
from tests.proxy.harness import proxy, proxy_binary

PROXY = ROOT / "docs/proxy.md"
REPORT = ROOT / "docs/report.md"
DEPENDENCIES = ROOT / "docs/dependencies.md"
SCHEMA = json.loads((ROOT / "lab/report/schema.json").read_text())


def rows(options: Iterable[str], heading: str) -> str:
    return "\n".join([f"docs/proxy.md, section {heading}, lacks or has otherwise:", *options])


def test_the_table_of_options_is_what_the_proxy_says_of_itself() -> None:
    said = subprocess.run([proxy_binary(), "--help"], capture_output=True, text=True, timeout=10, check=True).stdout
    found = re.findall(r"^  --(\S+) (\S+) +(.+?)(?: \[([^\]]*)\])? \(env (\w+)\)$", said, re.M)
    assert len(found) > 10, said
    wanted = {f"--{flag} {value}": (env, default, text) for flag, value, text, default, env in found}
    table = pages.table(PROXY, "option")
    missing = [
        f"| `{name}` | `{env}` | {f'`{default}`' if default else ''} | {text} |"
        for name, (env, default, text) in wanted.items()
        if table.get(name) != (env, default, text)
    ]
    assert not missing, rows(missing, "Options")
    gone = set(table) - set(wanted)
    assert not gone, f"docs/proxy.md, section Options: these rows describe no option of ewma-proxy --help: {gone}"


def test_metrics_and_admin_pages_are_listed() -> None:
    with proxy(["127.0.0.1:1"]) as p:
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", p.get("/metrics"), re.M))
        with pytest.raises(urllib.error.HTTPError) as nothing:
            p.get("/nothing")
        said = set(re.findall(r"/[a-z]+", nothing.value.read().decode()))
    table = pages.table(PROXY, "metric")
    missing = [f"| `{n}` | {kind} | LABELS | WHAT |" for n, kind in kinds.items() if table.get(n, ("",))[0] != kind]
    assert not missing, rows(missing, "Metrics")
    # Only where there is discovery.
    gone = set(table) - set(kinds) - {"ewma_proxy_discovery_age_seconds"}
    assert not gone, f"docs/proxy.md, section Metrics: the proxy has no {gone}"
    shown = set(pages.table(PROXY, "path"))
    missing = [f"| `{path}` | WHAT IT ANSWERS |" for path in sorted(said - shown)]
    assert not missing, rows(missing, "Admin")
    assert shown == said, f"docs/proxy.md, section Admin: the proxy has no {shown - said}"


def fields(schema: dict[str, Any], prefix: str = "") -> Iterable[str]:
    for name, inner in schema.get("properties", {}).items():
        yield prefix + name
        yield from fields(inner, f"{prefix}{name}.")
        yield from fields(inner.get("items", {}), f"{prefix}{name}[].")


def test_every_field_of_the_report_is_explained() -> None:
    table, wanted = pages.table(REPORT, "field"), set(fields(SCHEMA))
    missing = sorted(wanted - set(table))
    assert not missing, f"docs/report.md: add the rows {[f'| `{name}` | TYPE | MEANING |' for name in missing]}"
    gone = set(table) - wanted
    assert not gone, f"docs/report.md: lab/report/schema.json has no {gone}"
    assert SCHEMA["properties"]["schema"]["const"] in table["schema"][1]


def test_the_example_of_a_report_is_one() -> None:
    (example,) = pages.outputs(REPORT).values()
    report = json.loads(example)
    jsonschema.validate(report, SCHEMA)
    assert sum(pod["requests"] for pod in report["pods"]) == report["requests"]


def names(requirements: Iterable[str]) -> set[str]:
    return {re.split(r"[<>=!~\[; ]", r)[0] for r in requirements}


def crates(folder: str, *kinds: str) -> tuple[str, set[str]]:
    cargo = tomllib.loads((ROOT / folder / "Cargo.toml").read_text())
    return f"{folder}/Cargo.toml", {name for kind in kinds for name in cargo.get(kind, {})} - {"ewma-proxy"}


@pytest.mark.parametrize(
    "section", ["to run", "to build", "to develop and test", "in `ewma-proxy`", "to measure", "to fuzz"]
)
def test_every_dependency_has_its_reason(section: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"]["optional-dependencies"]
    where = {
        "to run": ("pyproject.toml", names(project["project"]["dependencies"])),
        "to build": ("pyproject.toml", names(project["build-system"]["requires"] + extras["build"])),
        "to develop and test": ("pyproject.toml", names(extras["dev"])),
        "in `ewma-proxy`": crates("proxy", "dependencies", "build-dependencies"),
        "to measure": crates("proxy", "dev-dependencies"),
        "to fuzz": crates("proxy/fuzz", "dependencies", "dev-dependencies"),
    }
    file, wanted = where[section]
    text = DEPENDENCIES.read_text()
    parts = {part.splitlines()[0]: part for part in text.split("\n## ")}
    heading = next(h for h in parts if section in h)
    found = re.findall(r"^\| `([^`]+)` \| .{10,} \|$", parts[heading], re.M)
    missing = sorted(wanted - set(found))
    assert not missing, f"docs/dependencies.md, section {heading}: add | `NAME` | what for | for {missing}"
    gone = set(found) - wanted
    assert not gone, f"docs/dependencies.md, section {heading}: {file} has no {gone}"


def test_the_states_of_a_stream_are_drawn_as_the_proxy_has_them() -> None:
    code = (ROOT / "proxy/src/core/h2/stream.rs").read_text()
    table = code[code.index("match (self, input)") : code.index("S::Closed, _) => return None")]
    states = {"Open", "HalfLocal", "HalfRemote"}  # Closed has no arrow but to its end.
    arrows = set()
    for start, inputs, end in re.findall(r"\((S::\w+|_), ((?:I::\w+(?: \| )?)+)\) => S::(\w+)", table):
        for i in re.findall(r"I::(\w+)", inputs):
            arrows |= {(s, end, i) for s in (states if start == "_" else {start[3:]}) if s != end}
    drawn = set(re.findall(r"^    (\w+) --> (\w+) : (\w+)$", (ROOT / "docs/architecture.md").read_text(), re.M))
    assert len(arrows) == 7
    assert drawn == arrows, "docs/architecture.md, section States of a stream, differs from h2/stream.rs"

"""Writes `protobuf_fields.json`: the field numbers of every type in `schema.json`, read from Kubernetes' .proto files.

Run after an update, with the folders of the two Go modules that hold them:
`python -m lab.clusters.local.api.protobuf_build .../k8s.io/api@v0.37.0 .../k8s.io/apimachinery@v0.37.0`
(`go mod download -json k8s.io/api@v0.37.0` prints the folder). Nothing imports this at run time.

Form: {type: {number: field}}; where the field is a struct that JSON writes inline (a volume's source in the volume),
its own {number: field} stands in place of the name.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from lab.clusters.local.api.schema import schema

OUTPUT = Path(__file__).with_name("protobuf_fields.json")

_PACKAGES = (
    "core/v1", "apps/v1", "discovery/v1", "rbac/v1", "authentication/v1", "authorization/v1", "autoscaling/v1",
    "policy/v1",
)  # fmt: skip
_META = "pkg/apis/meta/v1"

Messages = dict[str, dict[int, tuple[str, str]]]


def build(api: Path, machinery: Path) -> dict[str, dict[str, Any]]:
    """The numbers of all types; a type without a message (there are none today) is an error."""
    folders = [("meta", machinery / _META)] + [(p.partition("/")[0], api / p) for p in _PACKAGES]
    packages = {name: _messages((folder / "generated.proto").read_text()) for name, folder in folders}
    return {type_name: _numbers(type_name, packages) for type_name in schema()}


def render(table: dict[str, dict[str, Any]]) -> str:
    """The file's text: one type per line."""
    return "{\n" + ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in table.items()) + "\n}\n"


def _numbers(type_name: str, packages: dict[str, Messages]) -> dict[str, Any]:
    found = re.fullmatch(r"([A-Z][a-z]+)?V1(\w+)", type_name)
    assert found is not None, type_name
    prefix, message = found.groups()
    order = [prefix.lower()] if prefix else list(packages)
    package = next(name for name in order if message in packages[name])
    return _inline(packages[package], message, set(schema()[type_name]))


def _inline(messages: Messages, message: str, fields: set[str]) -> dict[str, Any]:
    """The numbers of one message: a field JSON does not know is a struct whose fields JSON writes in its place."""
    numbers: dict[str, Any] = {}
    for number, (name, kind) in messages[message].items():
        if (known := next((f for f in fields if f.lower() == name.lower()), None)) is not None:
            numbers[str(number)] = known
        elif kind in messages:
            numbers[str(number)] = _inline(messages, kind, fields)
    return numbers


def _messages(text: str) -> Messages:
    """{message: {number: (field, type)}} of a .proto file without nested messages."""
    text = re.sub(r"//.*", "", text)
    found: Messages = {}
    for name, body in re.findall(r"message (\w+) \{(.*?)\n\}", text, re.S):
        fields = re.findall(r"(?:optional|repeated|map<string, ?([\w.]+)>)\s*([\w.]+)?\s+(\w+) = (\d+);", body)
        found[name] = {int(n): (field, kind.rpartition(".")[2]) for _, kind, field, n in fields}
    return found


if __name__ == "__main__":
    OUTPUT.write_text(render(build(Path(sys.argv[1]), Path(sys.argv[2]))))

"""Options from flags, then environment, then default; every bad value is reported in one message.

A dataclass with fields made by `option()` is the whole description: flag, environment name, parser, help.
Knows no particular process.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from demo_app.common.errors import ConfigError

T = TypeVar("T")
Lookup = Callable[[str], str | None]


def option(
    env: str,
    default: str | Callable[[Lookup], str] | None,
    parse: Callable[[str], T],
    help: str,  # argparse's word
    *,
    flag: str | None = None,
) -> Any:
    """A dataclass field read from --flag (the field's name by default), else `env`, else `default` (text).

    default None: the option is None unless given; a function finds the default in the
    environment. `parse` raises ValueError saying what is wanted.
    """
    meta = {"env": env, "default": default, "parse": parse, "help": help, "flag": flag}
    return dataclasses.field(metadata=meta)


def load(cls: type[T], argv: Sequence[str], lookup: Lookup, *, prog: str, about: str, example: str) -> T:
    """Read `cls` (a dataclass of `option()` fields) from `argv` and `lookup` (e.g. os.environ.get).

    Raises ConfigError naming every bad value and where it came from. --help and unknown flags exit as in
    argparse (0 and 2). A `check(self) -> list[str]` on `cls` adds complaints about combinations.
    """
    fields = dataclasses.fields(cls)  # type: ignore[arg-type]
    flags = _flags(fields, argv, prog, about, example)
    values: dict[str, Any] = {}
    bad: list[str] = []
    for field in fields:
        where, text = _text(field, flags, lookup)
        if text is None:
            values[field.name] = None
            continue
        try:
            values[field.name] = field.metadata["parse"](text)
        except ValueError as e:
            bad.append(f"{where} is {text!r}: {e}")
    if not bad:
        made = cls(**values)
        bad = list(getattr(made, "check", list)())
        if not bad:
            return made
    raise ConfigError(f"{prog}: {'; '.join(bad)} (see --help)")


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """A parser of whole numbers in [low, high]."""

    def parse(text: str) -> int:
        want = f"want a whole number of at least {low}" + (f" and at most {high}" if high is not None else "")
        try:
            value = int(text)
        except ValueError:
            raise ValueError(want) from None
        if value < low or (high is not None and value > high):
            raise ValueError(want)
        return value

    return parse


def number(low: float, *, above: bool = False) -> Callable[[str], float]:
    """A parser of finite numbers of at least `low` (or above it)."""

    def parse(text: str) -> float:
        want = f"want a number {'above' if above else 'of at least'} {low:g}"
        try:
            value = float(text)
        except ValueError:
            raise ValueError(want) from None
        if not (low < value < float("inf") or (value == low and not above)):
            raise ValueError(want)
        return value

    return parse


def address(text: str) -> str:
    """HOST:PORT with a port of 0-65535; IPv6 in brackets. Port 0 lets the system choose."""
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError("want HOST:PORT, e.g. 127.0.0.1:8080")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ValueError("want IPv6 in brackets, e.g. [::1]:8080")
    return text


def target(text: str) -> str:
    """A gRPC target (gRPC name resolution): HOST:PORT or SCHEME:REST such as dns:///voting:8080."""
    if not text.strip() or any(c.isspace() for c in text) or ":" not in text:
        raise ValueError("want a gRPC target, e.g. dns:///voting:8080 or 127.0.0.1:8080")
    return text


def words(text: str) -> str:
    """Any text that is not blank."""
    if not text.strip():
        raise ValueError("want some text")
    return text


def _flags(
    fields: Sequence[dataclasses.Field[Any]], argv: Sequence[str], prog: str, about: str, example: str
) -> dict[str, Any]:
    parser = argparse.ArgumentParser(
        prog=f"python -m {prog}",
        description=about,
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    for field in fields:
        meta = field.metadata
        default = f", default {meta['default']}" if isinstance(meta["default"], str) else ""
        help_text = f"{meta['help']} (env {meta['env']}{default})".replace("%", "%%")
        if meta["parse"] is switch:
            parser.add_argument(_flag(field), dest=field.name, action="store_const", const="true", help=help_text)
        else:
            parser.add_argument(_flag(field), dest=field.name, metavar="VALUE", help=help_text)
    return vars(parser.parse_args(argv))


def switch(text: str) -> bool:
    """true or false; as a flag it takes no value."""
    if text not in ("true", "false"):
        raise ValueError("want true or false")
    return text == "true"


def _flag(field: dataclasses.Field[Any]) -> str:
    return field.metadata["flag"] or "--" + field.name.replace("_", "-")


def _text(field: dataclasses.Field[Any], flags: dict[str, Any], lookup: Lookup) -> tuple[str, str | None]:
    given = flags[field.name]
    if given is not None:
        return _flag(field), given
    env = field.metadata["env"]
    # An empty variable counts as not set: manifests often carry one.
    found = lookup(env) or None
    if found is not None:
        return env, found
    default = field.metadata["default"]
    return f"default of {_flag(field)}", default(lookup) if callable(default) else default

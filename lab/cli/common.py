"""What the commands share: options, progress lines, output. Prints; decides nothing."""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import click

from lab.errors import BadInput
from lab.report import Report, picture
from lab.steps.context import Lab

P = ParamSpec("P")
R = TypeVar("R")


def lab_options(command: Callable[..., R]) -> Callable[..., R]:
    """--on, --name, --namespace and the Lab they mean, as the first argument."""

    @click.option("--on", default="local", show_default=True, metavar="CLUSTER", help="local, kind or context:NAME.")
    @click.option("--name", default="default", show_default=True, help="Which lab, where there are several.")
    @click.option("--namespace", "-n", default="balance-lab", show_default=True, help="Namespace of the app.")
    @click.option(
        "--kind-image", metavar="IMAGE", envvar="BALANCE_LAB_KIND_IMAGE", help="Node image for --on kind. [kind's own]"
    )
    @click.option(
        "--image",
        "images",
        multiple=True,
        metavar="NAME=IMAGE",
        help="Another image for demo-app or ewma-proxy, such as one of your registry. Repeatable.",
    )
    @functools.wraps(command)
    def wrapped(on: str, name: str, namespace: str, kind_image: str | None, images: tuple[str, ...], **rest: Any) -> R:
        from lab.clusters import open_cluster

        lab = Lab(open_cluster(on, name, kind_image or None), namespace, Progress(), _images(images))
        try:
            return command(lab, **rest)
        finally:
            lab.close()

    return wrapped


def _images(given: tuple[str, ...]) -> dict[str, str] | None:
    """NAME=IMAGE pairs as a table. Raises BadInput."""
    from lab.manifests import IMAGES

    table = {}
    for pair in given:
        name, equals, image = pair.partition("=")
        if name not in IMAGES or not equals or not image:
            raise BadInput(f"--image {pair!r} is not NAME=IMAGE", f"NAME is one of: {', '.join(IMAGES)}")
        table[name] = image
    return table or None


class Progress:
    """Lines on standard error, each with the seconds since the start."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def __call__(self, line: str) -> None:
        print(f"{time.monotonic() - self._start:6.1f} s  {line}", file=sys.stderr, flush=True)


def fancy() -> bool:
    """Colours and block characters? Only on a terminal that wants them."""
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def show(report: Report) -> None:
    print(picture(report, width=_width(), color=fancy()), flush=True)


def _width() -> int:
    import shutil

    return max(60, min(shutil.get_terminal_size((80, 24)).columns, 120))


def write_json(value: Any, to: str) -> None:
    """JSON to a file, or to standard output for `-`. Raises BadInput if the file cannot be written."""
    text = json.dumps(value, indent=2, ensure_ascii=False) + "\n"
    if to == "-":
        sys.stdout.write(text)
        return
    try:
        Path(to).write_text(text)
    except OSError as e:
        raise BadInput(f"cannot write {to}: {e.strerror}", "give another file, or - for standard output") from e


def check_json_target(to: str | None) -> None:
    """Fail before the work and not after it."""
    if to and to != "-":
        folder = Path(to).resolve().parent
        if Path(to).is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
            raise BadInput(f"cannot write {to}", "give a file in a folder that exists and is yours to write")

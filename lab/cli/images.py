"""`lab images …`: the container images that kind and other real clusters need. Parses, calls, prints."""

from __future__ import annotations

from pathlib import Path

import click

from lab.cli.common import Progress
from lab.errors import BadInput


@click.group(name="images", epilog="Example: lab images build && lab images save lab-images.tar")
def command() -> None:
    """Build, save and load the container images that real clusters need; the embedded cluster needs none."""


@command.command(epilog="Example: lab images build ewma-proxy")
@click.argument("name", nargs=-1)
@click.option("--python-image", default="python:3.11-slim-bookworm", show_default=True, help="Base of demo-app.")
def build(name: tuple[str, ...], python_image: str) -> int:
    """Build the images NAME (default: all) from this checkout; those made of the same bytes are left alone."""
    from lab.images import NAMES
    from lab.images import build as build_image

    unknown = [n for n in name if n not in NAMES]
    if unknown:
        raise BadInput(f"there is no image {unknown[0]!r}", f"there are: {', '.join(NAMES)}")
    progress = Progress()
    for one in name or NAMES:
        print(build_image(one, progress, python_image), flush=True)
    return 0


@command.command(epilog="Example: lab images save lab-images.tar")
@click.argument("file")
def save(file: str) -> int:
    """Write both images to FILE, for a machine without internet."""
    from lab.images import archive, ensure

    progress = Progress()
    size = archive.save(ensure(progress), Path(file), progress)
    print(f"{file}: {size / 1e6:.0f} MB")
    return 0


@command.command(epilog="Example: lab images load lab-images.tar")
@click.argument("file")
def load(file: str) -> int:
    """Read images from FILE into docker."""
    from lab.images import archive

    for image in archive.load(Path(file), Progress()):
        print(image)
    return 0


@command.command(epilog="Example: lab images node && make lab-up CLUSTER=kind KIND_IMAGE=kind-node:debian")
def node() -> int:
    """Make kind's node image, docker, kind and kubectl from Debian packages alone, where no registry answers.

    As root, on Debian 12. Takes five minutes the first time. Installs system packages.
    """
    return _recipe("node")


@command.command(epilog="Example: lab images base")
def base() -> int:
    """Make a local python:3.11-slim-bookworm from Debian packages alone, where no registry answers.

    As root, on Debian 12, after `lab images node`. Installs system packages.
    """
    return _recipe("base")


def _recipe(name: str) -> int:
    from lab.images import recipes

    recipes.run(name)
    return 0

"""Context → docker image. An image that was made of the same bytes is not made again.

The bytes' digest is a label of the image. Knows docker's command line (the same docker that kind uses, whatever
context or rootless socket it is set to) and nothing of clusters.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from lab.images import context
from lab.images.context import HERE, Progress
from lab.images.docker import docker, exists
from lab.images.errors import ImageFailure
from lab.programs import ProgramFailure

NAMES = {"ewma-proxy": "balance-lab/ewma-proxy:dev", "demo-app": "balance-lab/demo-app:dev"}
LABEL = "balance-lab.source"
PYTHON_IMAGE = "python:3.11-slim-bookworm"
BUILD_S = 600.0


def ensure(progress: Progress, python_image: str = PYTHON_IMAGE) -> list[str]:
    """Both images, built where they are missing or of other bytes; their names. Raises ImageFailure."""
    return [build(name, progress, python_image) for name in NAMES]


def build(name: str, progress: Progress, python_image: str = PYTHON_IMAGE) -> str:
    """One image of NAMES; its full name. Raises ImageFailure."""
    folder = Path(tempfile.mkdtemp(prefix="balance-lab-image-"))
    try:
        if name == "ewma-proxy":
            context.ewma_proxy(folder, progress)
            arguments = []
        else:
            context.demo_app(folder, progress)
            arguments = ["--build-arg", f"PYTHON_IMAGE={python_image}"]
        recipe = HERE / f"{name}.Dockerfile"
        shutil.copy(recipe, folder / "Dockerfile")
        source = context.digest(folder)
        if label(NAMES[name]) == source:
            return NAMES[name]
        if name == "demo-app":
            _need_base(python_image)
        progress(f"building {NAMES[name]}")
        docker(
            "build", "--network", "none", "--label", f"{LABEL}={source}", "--tag", NAMES[name], *arguments, str(folder),
            timeout_s=BUILD_S,
        )  # fmt: skip
        return NAMES[name]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def label(image: str) -> str | None:
    """The digest of what an image was built from; None: there is no such image here."""
    if not exists(image):
        return None
    return docker("image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', image).strip() or None


def _need_base(image: str) -> None:
    """Have the base image; pull it where it is missing."""
    if exists(image):
        return
    try:
        docker("pull", "--quiet", image, timeout_s=BUILD_S)
    except ProgramFailure as e:
        raise ImageFailure(
            f"the base image {image} is not here and cannot be pulled",
            "where no registry answers, make it from Debian packages: lab images base",
        ) from e

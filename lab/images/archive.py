"""Images ↔ one file, for rooms without internet. Knows docker's save and load; nothing of what is in the images."""

from __future__ import annotations

import os
from pathlib import Path

from lab.errors import BadInput
from lab.images.context import Progress
from lab.images.docker import docker

MOVE_S = 600.0


def save(images: list[str], file: Path, progress: Progress) -> int:
    """Write images to a file; its size in bytes. Raises BadInput, ProgramFailure. A failed write leaves no file."""
    if file.is_dir() or not file.resolve().parent.is_dir():
        raise BadInput(f"cannot write {file}", "give a file in a folder that exists")
    progress(f"writing {', '.join(images)} to {file}")
    part = file.with_name(f"{file.name}.part")
    try:
        docker("save", "--output", str(part), *images, timeout_s=MOVE_S)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
    return file.stat().st_size


def load(file: Path, progress: Progress) -> list[str]:
    """Read a file's images into docker; their names. Raises BadInput, ProgramFailure."""
    if not file.is_file():
        raise BadInput(f"there is no file {file}", "make one with: lab images save FILE")
    progress(f"reading {file}")
    said = docker("load", "--input", str(file), timeout_s=MOVE_S)
    return [line.partition(": ")[2] for line in said.splitlines() if line.startswith("Loaded image: ")]
